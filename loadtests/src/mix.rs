//! What is sent: a weighted mix of request bodies, each a function of the seed and the
//! request's number, so that a run can be repeated to the byte on any number of threads.

mod grammar;
mod memory;
mod prose;
mod range;
mod reasoning;
mod template;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

pub use grammar::GrammarBody;
pub use memory::MemoryBody;
pub use range::IntRange;
pub use reasoning::ReasoningBody;
pub use template::JsonBody;
pub(crate) use template::check_kind;

/// Most entries of a mix.
const ENTRIES_MAX: usize = 32;

/// A body to be posted to one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// Position of the kind in [`Mix::kinds`].
    pub kind: usize,
    /// JSON.
    pub body: Bytes,
}

/// `echo`: waits, computes, and returns its text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EchoBody {
    /// Milliseconds of waiting.
    #[serde(default)]
    pub sleep_ms: IntRange<60_000>,
    /// Milliseconds of computing.
    #[serde(default)]
    pub spin_ms: IntRange<60_000>,
    /// Length of the text.
    #[serde(default)]
    pub text_bytes: IntRange<1_000_000>,
}

/// One sort of request.
#[derive(Clone, Debug)]
pub enum Body {
    /// Diagnostics: real waiting and computing.
    Echo(EchoBody),
    /// English text with real mistakes.
    Grammar(GrammarBody),
    /// Passages stored, then recalled.
    Memory(MemoryBody),
    /// A family tree and questions about it.
    Reasoning(ReasoningBody),
    /// Any other kind: JSON with placeholders.
    Json(JsonBody),
}

impl Body {
    /// The usual body of a built-in kind; an empty object for any other.
    #[must_use]
    pub fn usual(kind: &str) -> Self {
        match kind {
            "echo" => Self::Echo(EchoBody {
                text_bytes: IntRange::exactly(40),
                ..EchoBody::default()
            }),
            "grammar" => Self::Grammar(GrammarBody::default()),
            "memory" => Self::Memory(MemoryBody::default()),
            "reasoning" => Self::Reasoning(ReasoningBody::default()),
            other => Self::Json(JsonBody::empty(other)),
        }
    }

    fn kind(&self) -> &str {
        match self {
            Self::Echo(_) => "echo",
            Self::Grammar(_) => "grammar",
            Self::Memory(_) => "memory",
            Self::Reasoning(_) => "reasoning",
            Self::Json(body) => body.kind(),
        }
    }
}

/// A body with everything that can be made once made.
#[derive(Clone, Debug)]
enum Maker {
    Echo(EchoBody),
    Grammar(GrammarBody),
    Memory(memory::Maker),
    Reasoning(reasoning::Maker),
    Json(JsonBody),
}

impl Maker {
    fn new(body: &Body, seed: u64) -> Self {
        match body {
            Body::Echo(body) => Self::Echo(body.clone()),
            Body::Grammar(body) => Self::Grammar(body.clone()),
            Body::Memory(body) => Self::Memory(memory::Maker::new(body, seed)),
            Body::Reasoning(body) => Self::Reasoning(reasoning::Maker::new(body, seed)),
            Body::Json(body) => Self::Json(body.clone()),
        }
    }

    fn make(&self, index: u64, rng: &mut fastrand::Rng) -> Bytes {
        match self {
            Self::Echo(body) => echo(body, rng),
            Self::Grammar(body) => body.make(index, rng),
            Self::Memory(maker) => maker.make(index, rng),
            Self::Reasoning(maker) => maker.make(rng),
            Self::Json(body) => body.make(index, rng),
        }
    }
}

fn echo(body: &EchoBody, rng: &mut fastrand::Rng) -> Bytes {
    let mut object = serde_json::Map::new();
    let length = usize::try_from(body.text_bytes.draw(rng)).unwrap_or(0);
    if length > 0 {
        object.insert("text".to_owned(), json!(prose::letters(length, rng)));
    }
    for (key, ms) in [
        ("sleep_ms", body.sleep_ms.draw(rng)),
        ("spin_ms", body.spin_ms.draw(rng)),
    ] {
        if ms > 0 {
            object.insert(key.to_owned(), json!(ms));
        }
    }
    to_bytes(&serde_json::Value::Object(object))
}

fn to_bytes(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A weighted choice of bodies.
#[derive(Clone, Debug)]
pub struct Mix {
    seed: u64,
    entries: Vec<Entry>,
    weight_total: u64,
    kinds: Vec<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    weight: u64,
    kind: usize,
    body: Body,
    maker: Maker,
}

impl Entry {
    fn new(weight: u64, kind: usize, body: Body, seed: u64) -> Self {
        Self {
            weight,
            kind,
            maker: Maker::new(&body, seed),
            body,
        }
    }
}

impl Mix {
    /// A mix of bodies, each with its weight.
    ///
    /// # Errors
    /// When there are no entries, too many, or all weigh nothing.
    pub fn new(seed: u64, bodies: Vec<(u32, Body)>) -> Result<Self, String> {
        if bodies.is_empty() || bodies.len() > ENTRIES_MAX {
            let n = bodies.len();
            return Err(format!(
                "{n} [[requests]]; a scenario has 1 to {ENTRIES_MAX}"
            ));
        }
        let mut mix = Self {
            seed,
            entries: Vec::with_capacity(bodies.len()),
            weight_total: 0,
            kinds: Vec::new(),
        };
        for (weight, body) in bodies {
            let kind = mix.kind_position(body.kind());
            mix.weight_total += u64::from(weight);
            mix.entries
                .push(Entry::new(u64::from(weight), kind, body, seed));
        }
        if mix.weight_total == 0 {
            return Err("all weights of [[requests]] are 0".to_owned());
        }
        Ok(mix)
    }

    /// A mix of one body.
    #[must_use]
    pub fn only(seed: u64, body: Body) -> Self {
        let kind = body.kind().to_owned();
        Self {
            seed,
            entries: vec![Entry::new(1, 0, body, seed)],
            weight_total: 1,
            kinds: vec![kind],
        }
    }

    /// The same mix with other draws.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        let again = |e: Entry| Entry::new(e.weight, e.kind, e.body, seed);
        Self {
            seed,
            entries: self.entries.into_iter().map(again).collect(),
            ..self
        }
    }

    /// The kinds that requests go to, each once.
    #[must_use]
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// The request with this number.
    #[must_use]
    pub fn request(&self, index: u64) -> Prepared {
        let mut rng = rng_of(self.seed, index);
        let mut draw = rng.u64(0..self.weight_total);
        for entry in &self.entries {
            if draw < entry.weight {
                return Prepared {
                    kind: entry.kind,
                    body: entry.maker.make(index, &mut rng),
                };
            }
            draw -= entry.weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// Requests that remove what a run leaves behind.
    #[must_use]
    pub fn cleanup(&self) -> Vec<Prepared> {
        let leftovers = |entry: &Entry| match &entry.maker {
            Maker::Memory(maker) => maker.cleanup(),
            Maker::Echo(_) | Maker::Grammar(_) | Maker::Reasoning(_) | Maker::Json(_) => Vec::new(),
        };
        self.entries
            .iter()
            .flat_map(|entry| {
                leftovers(entry).into_iter().map(|body| Prepared {
                    kind: entry.kind,
                    body,
                })
            })
            .collect()
    }

    fn kind_position(&mut self, kind: &str) -> usize {
        let found = self.kinds.iter().position(|known| known == kind);
        found.unwrap_or_else(|| {
            self.kinds.push(kind.to_owned());
            self.kinds.len() - 1
        })
    }
}

/// A generator of its own for each request. The odd constant spreads neighbouring numbers
/// over the whole range, so that neighbours share nothing.
fn rng_of(seed: u64, index: u64) -> fastrand::Rng {
    let mut spread = (seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(index);
    spread = (spread ^ (spread >> 31)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    fastrand::Rng::with_seed(spread ^ (spread >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn body(mix: &Mix, index: u64) -> Value {
        serde_json::from_slice(&mix.request(index).body).unwrap()
    }

    #[test]
    fn the_seed_and_the_number_decide_the_body() {
        for kind in ["echo", "grammar", "memory", "reasoning", "mine"] {
            let mix = |seed| Mix::only(seed, Body::usual(kind));
            for index in [0, 1, 999] {
                assert_eq!(mix(7).request(index), mix(7).request(index), "{kind}");
            }
        }
        let mix = Mix::only(7, Body::usual("grammar"));
        assert_ne!(mix.request(1), mix.request(2));
    }

    #[test]
    fn weights_are_kept() {
        let echo = |ms| {
            Body::Echo(EchoBody {
                sleep_ms: IntRange::exactly(ms),
                ..EchoBody::default()
            })
        };
        let mix = Mix::new(1, vec![(3, echo(1)), (1, echo(2)), (0, echo(3))]).unwrap();
        let mut seen = [0_u32; 4];
        for index in 0..4_000 {
            seen[body(&mix, index)["sleep_ms"].as_u64().unwrap() as usize] += 1;
        }
        assert!((2_850..3_150).contains(&seen[1]), "{seen:?}");
        assert_eq!(seen[1] + seen[2], 4_000);
    }

    #[test]
    fn an_echo_has_the_length_that_was_asked_for_and_nothing_it_need_not_have() {
        let mix = Mix::only(1, Body::usual("echo"));
        let value = body(&mix, 0);
        assert_eq!(value["text"].as_str().unwrap().len(), 40);
        assert_eq!(value.as_object().unwrap().len(), 1);
    }

    #[test]
    fn a_mix_without_weight_is_refused() {
        assert!(Mix::new(1, Vec::new()).is_err());
        assert!(Mix::new(1, vec![(0, Body::usual("echo"))]).is_err());
    }
}
