//! `memory`: stores, recalls and forgets passages in isolated namespaces.
//!
//! A namespace is a log; what a process holds of it in memory, with its full-text index, follows
//! from the log (`replica`), is made when it is needed and dropped when it was not used for long
//! (`namespaces`). No two namespaces share anything but code: neither a log, nor an index, nor the
//! statistics that scores come from.

mod namespaces;
mod operation;
mod recall;
mod recent;
mod replica;
mod request;
mod snapshots;
mod terms;
mod text_index;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::json;
use tidepool_core::Kind;
use tidepool_handler::{
    Call, Failure, Handler, Idempotent, Instance, KindSpec, Reply, StartError, Work,
};
use tidepool_store::Log;

use namespaces::{CaughtUp, Counted, Namespaces};
use recall::{Match, Recalled, Strategy, Wanted};
use request::{Action, Request};

/// Most tags that `stats` lists: those of most passages.
const STATS_TAGS_MAX: usize = 100;

/// Where memory is kept, and how much of it.
#[derive(Clone)]
pub struct MemoryConfig {
    /// Holds the log of each namespace, in streams named `memory/<namespace>`.
    pub log: Arc<dyn Log>,
    /// Most passages of a namespace, whoever stores them.
    pub items_max: usize,
    /// Most bytes of texts, tags and ids of a namespace.
    pub bytes_max: usize,
    /// Most namespaces that are kept ready in memory.
    pub open_max: usize,
    /// Most memory that they take, in bytes, about; a single one may take more.
    pub open_bytes_max: usize,
}

impl MemoryConfig {
    /// Usual limits: a million passages or 256 MiB in each namespace; 64 namespaces or 1 GiB ready.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            items_max: 1_000_000,
            bytes_max: 256 << 20,
            open_max: 64,
            open_bytes_max: 1 << 30,
        }
    }
}

/// The kind `memory`.
///
/// # Panics
/// Never: its name is a constant that is a valid one.
#[must_use]
pub fn memory(config: MemoryConfig) -> Arc<dyn Handler> {
    let spec = KindSpec {
        kind: Kind::new("memory").expect("a valid name"),
        summary: "Stores, recalls (BM25, tags, times) and forgets passages in a namespace.",
        input_schema: request::input_schema(),
        output_schema: schema_for!(MemoryOutput).to_value(),
        limits: json!({
            "namespace_len_max": request::NAMESPACE_LEN_MAX,
            "items_max": request::ITEMS_MAX,
            "text_len_max": request::TEXT_LEN_MAX,
            "id_len_max": request::ID_LEN_MAX,
            "ids_max": request::IDS_MAX,
            "tags_max": request::TAGS_MAX,
            "tag_len_max": request::TAG_LEN_MAX,
            "query_len_max": request::QUERY_LEN_MAX,
            "limit_max": request::LIMIT_MAX,
            "namespace_items_max": config.items_max,
            "namespace_bytes_max": config.bytes_max,
        }),
        example: json!({
            "op": "store",
            "namespace": "notes",
            "items": [{ "id": "tide", "text": "High water is at noon.", "tags": ["sea"] }],
        }),
        idempotent: Idempotent::Where("op", &["recall", "stats"]),
        slots_default: 4,
        affinity: Some("namespace"),
    };
    Arc::new(Memory {
        spec,
        namespaces: Arc::new(Namespaces::new(config)),
    })
}

struct Memory {
    spec: KindSpec,
    namespaces: Arc<Namespaces>,
}

impl Handler for Memory {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        Ok(Arc::new(MemoryInstance {
            namespaces: Arc::clone(&self.namespaces),
        }))
    }
}

struct MemoryInstance {
    namespaces: Arc<Namespaces>,
}

impl Instance for MemoryInstance {
    fn call(&self, call: Call) -> Work {
        let namespaces = Arc::clone(&self.namespaces);
        Work::compute(move || answer(&namespaces, &call))
    }
}

fn answer(namespaces: &Namespaces, call: &Call) -> Reply {
    let Request { namespace, action } = Request::read(call, Timestamp::now())?;
    if let Some(stop) = call.context.stopped() {
        return Err(stop.into());
    }
    let output = match action {
        Action::Store(items) => {
            let ids = items.iter().map(|item| item.id.clone()).collect();
            let version = namespaces.store(&namespace, items, &call.context)?.0;
            MemoryOutput::Stored { ids, version }
        }
        Action::Recall(wanted) => {
            let (recalled, caught_up) = namespaces.recall(&namespace, &wanted, &call.context)?;
            recalled_output(recalled, caught_up, &wanted)?
        }
        Action::Forget(ids) => {
            let (forgotten, version) = namespaces.forget(&namespace, ids, &call.context)?;
            MemoryOutput::Forgotten {
                forgotten,
                version: version.0,
            }
        }
        Action::Stats => counted_output(namespaces.count(&namespace, &call.context)?),
    };
    call.reply(&output)
}

/// What `memory` answers, by operation.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum MemoryOutput {
    /// To `store`: durable from now on.
    Stored {
        /// Ids of the items, in their order.
        ids: Vec<String>,
        /// Version of the namespace with them; it only grows.
        version: u64,
    },
    /// To `recall`.
    Recalled {
        /// Best first.
        matches: Vec<MatchOutput>,
        /// Version of the namespace that was searched.
        version: u64,
        /// How the answer came about.
        plan: PlanOutput,
    },
    /// To `forget`: durable from now on.
    Forgotten {
        /// How many passages there were of those to forget.
        forgotten: usize,
        /// Version of the namespace without them; it only grows.
        version: u64,
    },
    /// To `stats`.
    Stats {
        /// Number of passages.
        items: usize,
        /// Bytes of their texts, tags and ids.
        bytes: usize,
        /// Version of the namespace.
        version: u64,
        /// Number of passages with each tag; the 100 most frequent ones.
        tags: BTreeMap<String, usize>,
    },
}

#[derive(Serialize, JsonSchema)]
struct MatchOutput {
    id: String,
    text: String,
    /// BM25: comparable within one answer only. 0 when the query has no words.
    score: f32,
    tags: Vec<String>,
    /// RFC 3339.
    at: String,
}

#[derive(Serialize, JsonSchema)]
struct PlanOutput {
    /// `bm25` over the terms, or `newest` first because the query has no words.
    strategy: &'static str,
    /// What the query came down to: words in lower case, reduced to their stems.
    terms: Vec<String>,
    /// Passages looked at: those with any of the terms, or all.
    candidates: usize,
    /// Those of them that passed the filters.
    admitted: usize,
    /// Filters that were given.
    filters: Vec<&'static str>,
    /// Version that this process had in memory before; 0 when none.
    caught_up_from: u64,
    /// Version that it read the log up to.
    caught_up_to: u64,
}

fn recalled_output(
    recalled: Recalled,
    caught_up: CaughtUp,
    wanted: &Wanted,
) -> Result<MemoryOutput, Failure> {
    let filters = [
        ("tags", !wanted.tags.is_empty()),
        ("since", wanted.since_us.is_some()),
        ("until", wanted.until_us.is_some()),
    ];
    Ok(MemoryOutput::Recalled {
        matches: recalled
            .matches
            .into_iter()
            .map(match_output)
            .collect::<Result<_, _>>()?,
        version: caught_up.to.0,
        plan: PlanOutput {
            strategy: match recalled.strategy {
                Strategy::Bm25 => "bm25",
                Strategy::Newest => "newest",
            },
            terms: recalled.terms,
            candidates: recalled.candidates,
            admitted: recalled.admitted,
            filters: filters
                .into_iter()
                .filter_map(|(name, is_given)| is_given.then_some(name))
                .collect(),
            caught_up_from: caught_up.from.0,
            caught_up_to: caught_up.to.0,
        },
    })
}

fn match_output(Match { score, item }: Match) -> Result<MatchOutput, Failure> {
    let at = Timestamp::from_microsecond(item.at_us).map_err(|error| Failure::Internal {
        cause: format!("a stored time is out of range: {error}"),
    })?;
    Ok(MatchOutput {
        id: item.id.clone(),
        text: item.text.clone(),
        score,
        tags: item.tags.clone(),
        at: at.to_string(),
    })
}

fn counted_output(counted: Counted) -> MemoryOutput {
    let mut tags: Vec<(String, usize)> = counted.tags.into_iter().collect();
    tags.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    tags.truncate(STATS_TAGS_MAX);
    MemoryOutput::Stats {
        items: counted.items,
        bytes: counted.bytes,
        version: counted.version.0,
        tags: tags.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
