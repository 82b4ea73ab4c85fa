//! Watches the pool through the operator API while the load runs. Best effort: when it does
//! not answer, the load goes on and the report says what was not seen.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::client::{bearer, below, plain};
use crate::scaling::{DECISIONS_MAX, Decision, PoolSample};

/// Least time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Most samples of a run; long runs are looked at less often.
const SAMPLES_MAX: u32 = 5_000;
/// Longest that a look may take.
const TIMEOUT: Duration = Duration::from_millis(900);
/// Most events that one look fetches; the next look goes on after them.
const EVENTS_PER_LOOK: &str = "200";
/// Longest sentence that is kept.
const SENTENCE_CHARS_MAX: usize = 400;
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Where the operator API is.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) url: Url,
    pub(crate) token: Option<String>,
}

/// Looks at one pool again and again.
pub(crate) struct Watcher {
    http: reqwest::Client,
    operator: Operator,
    pool: String,
    /// Start of the run on the clock of the events.
    start_ms: u64,
    start: Instant,
    every: Duration,
    /// The newest event seen, as milliseconds and sequence; the next look asks for what came
    /// after.
    since: (u64, u64),
    pub(crate) samples: Vec<PoolSample>,
    pub(crate) decisions: Vec<Decision>,
    /// The first thing that went wrong.
    pub(crate) trouble: Option<String>,
}

/// What this crate reads of a pool; the rest may change without harm.
#[derive(Deserialize)]
struct PoolView {
    ready: u32,
    #[serde(default)]
    starting: u32,
    #[serde(default)]
    draining: u32,
    target: u32,
    score: Option<f64>,
}

#[derive(Deserialize)]
struct EventView {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Value,
}

impl Watcher {
    /// A watcher of `pool` for a run of `duration` that begins at `start`.
    pub(crate) fn new(
        operator: Operator,
        pool: &str,
        start: Instant,
        duration: Duration,
    ) -> Result<Self, String> {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let until_start = start.saturating_duration_since(Instant::now());
        let start_ms = u64::try_from((since_epoch + until_start).as_millis()).unwrap_or(0);
        Ok(Self {
            http: plain(TIMEOUT)?,
            operator,
            pool: pool.to_owned(),
            start_ms,
            start,
            every: EVERY.max(duration / SAMPLES_MAX),
            since: (start_ms, 0),
            samples: Vec::new(),
            decisions: Vec::new(),
            trouble: None,
        })
    }

    /// Looks until dropped.
    pub(crate) async fn run(&mut self) {
        let mut ticks = tokio::time::interval_at(self.start.into(), self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// One look at the pool and at what was decided since the last one.
    pub(crate) async fn look(&mut self) {
        let at_s = self.start.elapsed().as_secs_f64();
        let path = format!("/v1/pools/{}", self.pool);
        match self.get::<PoolView>(&path, &[]).await {
            Ok(view) if self.samples.len() < SAMPLES_MAX as usize + 2 => {
                self.samples.push(PoolSample {
                    at_s,
                    ready: view.ready,
                    starting: view.starting,
                    draining: view.draining,
                    target: view.target,
                    score: view.score.filter(|score| score.is_finite()),
                });
            }
            Ok(_) => {}
            Err(trouble) => self.note(trouble),
        }
        let since = format!("{}-{}", self.since.0, self.since.1);
        let query = [
            ("since", since.as_str()),
            ("pool", self.pool.as_str()),
            ("limit", EVENTS_PER_LOOK),
        ];
        match self.get::<Vec<EventView>>("/v1/events", &query).await {
            Ok(events) => events.into_iter().for_each(|event| self.hear(event)),
            Err(trouble) => self.note(trouble),
        }
    }

    fn hear(&mut self, event: EventView) {
        let Some(id) = position(&event.id).filter(|id| *id > self.since) else {
            return;
        };
        self.since = id;
        if event.kind == "io.tidepool.scaling.decided"
            && self.decisions.len() < DECISIONS_MAX
            && let Some(decision) = decision(&event, self.start_ms)
        {
            self.decisions.push(decision);
        }
    }

    fn note(&mut self, trouble: String) {
        self.trouble.get_or_insert(trouble);
    }

    async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, String> {
        let failed = |what: String| format!("GET {path} of the operator API: {what}");
        let mut request = self
            .http
            .get(below(&self.operator.url, path))
            .query(query)
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.operator.token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        let mut response = request.send().await.map_err(|e| failed(cause(&e)))?;
        if !response.status().is_success() {
            return Err(failed(format!("HTTP {}", response.status().as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(cause(&e)))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(failed("the answer is too long".to_owned()));
            }
        }
        serde_json::from_slice(&body).map_err(|e| failed(e.to_string()))
    }
}

/// The innermost reason, which is the one that helps.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A change of the target; holds are left out, and so is anything not understood.
fn decision(event: &EventView, start_ms: u64) -> Option<Decision> {
    let number = |key: &str| u32::try_from(event.data.get(key)?.as_u64()?).ok();
    let (from, to) = (number("from")?, number("to")?);
    let (at_ms, _) = position(&event.id)?;
    let sentence = event
        .data
        .get("sentence")
        .and_then(Value::as_str)
        .unwrap_or("");
    (from != to).then(|| Decision {
        at_s: (at_ms as f64 - start_ms as f64) / 1e3,
        from,
        to,
        sentence: printable(sentence),
    })
}

/// Milliseconds and sequence of an event's id.
fn position(id: &str) -> Option<(u64, u64)> {
    let (ms, seq) = id.split_once('-')?;
    Some((ms.parse().ok()?, seq.parse().ok()?))
}

/// What comes from a server is shown on a terminal: no control characters, bounded.
fn printable(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(SENTENCE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(data: Value) -> EventView {
        EventView {
            id: "12500-3".to_owned(),
            kind: "io.tidepool.scaling.decided".to_owned(),
            data,
        }
    }

    #[test]
    fn a_change_is_told_with_its_time_and_sentence() {
        let event = event(json!({ "from": 1, "to": 4, "sentence": "grew\u{1b}[31m" }));
        let told = decision(&event, 10_000).unwrap();
        assert_eq!((told.at_s, told.from, told.to), (2.5, 1, 4));
        assert_eq!(told.sentence, "grew[31m");
    }

    #[test]
    fn holds_and_what_is_not_understood_are_left_out() {
        for data in [
            json!({ "from": 4, "to": 4, "sentence": "held" }),
            json!({ "from": -1, "to": 4 }),
            json!({ "to": 4 }),
            json!([]),
        ] {
            assert_eq!(decision(&event(data), 0), None);
        }
    }
}
