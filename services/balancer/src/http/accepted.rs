//! `Prefer: respond-async`: the request is accepted now and its answer asked for later, at
//! `/v1/requests/{id}`.
//!
//! A record is in the store before the caller hears of it, and the answer replaces it. The work
//! is apart from the caller's connection and from the thread that serves it. A process that
//! crashes leaves a record that says "running" and nobody who runs it: whoever asks is told that
//! the request was interrupted and may be sent again. No accepted request is lost in silence.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidepool_handler::{Format, Payload};
use tidepool_store::StoreError;
use tokio::sync::watch;
use uuid::Uuid;

use super::Keep;
use super::kept::{Ledger, Limits, State, unix_ms};
use super::problem::{Code, Problem};

/// How long an answer can be asked for, once it is there.
pub(crate) const KEEP: Duration = Duration::from_secs(60 * 60);
/// Largest answer that is kept: what the store takes, less the rest of the record.
const BODY_BYTES_MAX: usize = 1_000_000;
/// Most requests that are under way at a time.
const RUNNING_MAX: usize = 1_024;
/// Most answers that are kept, and their bytes; beyond them the oldest go before their time.
const LIMITS: Limits = Limits {
    count_max: 10_000,
    bytes_max: 256 * 1024 * 1024,
};
/// Tries to write an answer down, and the pause after the first of them.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Serialize, Deserialize)]
struct Record {
    kind: String,
    accepted_ms: u64,
    /// When its deadline passes: nobody works on it after that.
    until_ms: u64,
    /// The process that accepted it.
    process: Uuid,
    state: State,
}

/// What there is to say about an accepted request.
pub(crate) enum Found {
    /// It has not ended.
    Running {
        /// What was asked for.
        kind: String,
        /// When, in milliseconds since 1970.
        accepted_ms: u64,
    },
    /// It has.
    Ended(Result<Payload, Problem>),
}

/// The requests that were accepted.
pub(crate) struct Accepted {
    ledger: Arc<Ledger>,
    /// This process.
    process: Uuid,
    /// Whether nobody else writes to this store: then a record of another process is one of a
    /// process that is gone.
    is_only: bool,
    gauge: IntGauge,
    running: Mutex<HashSet<Uuid>>,
    running_count: watch::Sender<usize>,
}

impl Accepted {
    pub(crate) fn new(keep: Keep, gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            ledger: Ledger::new(keep.kv, keep.log, "kept/requests", LIMITS),
            process: Uuid::now_v7(),
            is_only: keep.is_only,
            gauge,
            running: Mutex::default(),
            running_count: watch::Sender::new(0),
        })
    }

    /// Accepts a request; it counts as running until the guard has been settled or dropped.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        kind: &str,
        remaining: Duration,
    ) -> Result<Guard, Problem> {
        let id = Uuid::now_v7();
        if !self.begin(id) {
            let detail = "as many accepted requests are under way as may";
            return Err(Problem::new(Code::Overloaded, detail).retry_after(1));
        }
        let now_ms = unix_ms(SystemTime::now());
        let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let guard = Guard {
            accepted: Arc::clone(self),
            id,
            kind: kind.to_owned(),
            accepted_ms: now_ms,
            until_ms: now_ms.saturating_add(remaining_ms),
        };
        let record = guard.record(State::Running);
        let put = self
            .ledger
            .kv()
            .put(&name(id), record, Some(remaining + KEEP));
        match put.await {
            Ok(_) => Ok(guard),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn begin(&self, id: Uuid) -> bool {
        let mut running = self.running.lock();
        let begins = running.len() < RUNNING_MAX && running.insert(id);
        self.count(running.len());
        begins
    }

    fn end(&self, id: Uuid) {
        let mut running = self.running.lock();
        running.remove(&id);
        self.count(running.len());
    }

    fn count(&self, running: usize) {
        self.gauge.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.running_count.send_replace(running);
    }

    /// Waits until no accepted request is under way.
    pub(crate) async fn finished(&self) {
        let mut count = self.running_count.subscribe();
        // The sender lives as long as this.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// What became of a request.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, Problem> {
        let unknown = || {
            let detail = "no accepted request has this id, or its answer is kept no longer";
            Problem::new(Code::UnknownRequest, detail)
        };
        let id = Uuid::try_parse(id).map_err(|_| unknown())?;
        // Before the record: a request ends by writing its record first.
        let is_running = self.running.lock().contains(&id);
        let held = self.ledger.kv().get(&name(id)).await;
        let held = held.map_err(|e| unavailable(&e))?.ok_or_else(unknown)?;
        let record: Record = rmp_serde::from_slice(&held.bytes).map_err(|error| {
            tracing::error!(%error, "the record of an accepted request is broken");
            Problem::new(Code::HandlerFailed, "the record of this request is broken")
        })?;
        let may_run_elsewhere = !self.is_only
            && record.process != self.process
            && unix_ms(SystemTime::now()) < record.until_ms;
        Ok(match record.state.into_result() {
            Some(result) => Found::Ended(result),
            None if is_running || may_run_elsewhere => Found::Running {
                kind: record.kind,
                accepted_ms: record.accepted_ms,
            },
            None => {
                let detail = "the process that had accepted the request ended before it did";
                Found::Ended(Err(Problem::new(Code::Interrupted, detail).retry_after(1)))
            }
        })
    }
}

/// A request that was accepted and has not ended. Dropped without being settled, whoever asks is
/// told that it was interrupted.
pub(crate) struct Guard {
    accepted: Arc<Accepted>,
    id: Uuid,
    kind: String,
    accepted_ms: u64,
    until_ms: u64,
}

impl Guard {
    /// Where to ask for the answer.
    pub(crate) fn location(&self) -> String {
        format!("/v1/requests/{}", self.id)
    }

    /// The body of the answer that says so.
    pub(crate) fn body(&self) -> Payload {
        running_body(&self.id.to_string(), &self.kind, self.accepted_ms)
    }

    fn record(&self, state: State) -> Bytes {
        let record = Record {
            kind: self.kind.clone(),
            accepted_ms: self.accepted_ms,
            until_ms: self.until_ms,
            process: self.accepted.process,
            state,
        };
        // Texts, numbers and bytes always have a form.
        Bytes::from(rmp_serde::to_vec(&record).unwrap_or_default())
    }

    /// Writes the answer down, and ends the request.
    pub(crate) async fn settle(self, result: &Result<Payload, Problem>) {
        let state = match result {
            Ok(payload) if payload.bytes.len() > BODY_BYTES_MAX => {
                let detail = format!(
                    "the answer has {} bytes; {BODY_BYTES_MAX} are kept at most. \
                     Ask again without Prefer: respond-async",
                    payload.bytes.len()
                );
                State::of(&Err(Problem::new(Code::LimitExceeded, detail)))
            }
            result => State::of(result),
        };
        let (name, record) = (name(self.id), self.record(state));
        let ledger = &self.accepted.ledger;
        ledger.note(&name, record.len(), KEEP).await;
        let mut pause = PAUSE;
        for _ in 0..TRIES_MAX {
            match ledger.kv().put(&name, record.clone(), Some(KEEP)).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, id = %self.id, "an answer could not be written down");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        tracing::error!(id = %self.id, "an answer is lost; its caller is told so");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.accepted.end(self.id);
    }
}

/// What is said of a request that has not ended.
pub(crate) fn running_body(id: &str, kind: &str, accepted_ms: u64) -> Payload {
    let accepted_at = SystemTime::UNIX_EPOCH + Duration::from_millis(accepted_ms);
    let accepted_at = tidepool_core::Timestamp::from(accepted_at).rfc3339();
    let body = json!({"id": id, "state": "running", "kind": kind, "accepted_at": accepted_at});
    Payload::new(Format::Json, body.to_string())
}

fn name(id: Uuid) -> String {
    format!("requests/{id}")
}

fn unavailable(error: &StoreError) -> Problem {
    tracing::warn!(%error, "accepted requests cannot be looked up");
    let detail = "the store that remembers accepted requests is not available";
    Problem::new(Code::DependencyUnavailable, detail).retry_after(1)
}

#[cfg(test)]
mod tests {
    use tidepool_store::EmbeddedStore;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn accepted(store: &Arc<EmbeddedStore>, is_only: bool) -> Arc<Accepted> {
        let keep = Keep {
            kv: store.clone(),
            log: store.clone(),
            is_only,
        };
        Accepted::new(keep, IntGauge::new("running", "requests").unwrap())
    }

    async fn code(accepted: &Accepted, id: Uuid) -> Option<Code> {
        match accepted.find(&id.to_string()).await {
            Ok(Found::Running { .. } | Found::Ended(Ok(_))) => None,
            Ok(Found::Ended(Err(problem))) | Err(problem) => Some(problem.code),
        }
    }

    #[tokio::test]
    async fn what_a_crash_cut_short_is_told_as_interrupted() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let before = accepted(&store, true);
        let guard = before.accept("act", MINUTE).await.unwrap();
        assert_eq!(code(&before, guard.id).await, None, "it runs");
        // Another one over the same store stands for the process after a crash.
        let after = accepted(&store, true);
        assert_eq!(code(&after, guard.id).await, Some(Code::Interrupted));
        // In a store that others share, the other process may well live.
        let beside = accepted(&store, false);
        assert_eq!(code(&beside, guard.id).await, None);
        let short = before.accept("act", Duration::ZERO).await.unwrap();
        assert_eq!(code(&beside, short.id).await, Some(Code::Interrupted));
    }

    #[tokio::test]
    async fn an_answer_outlives_the_process_and_a_dropped_request_is_told() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let before = accepted(&store, true);
        let (done, dropped) = (
            before.accept("act", MINUTE).await.unwrap(),
            before.accept("act", MINUTE).await.unwrap(),
        );
        let (done_id, dropped_id) = (done.id, dropped.id);
        drop(dropped);
        assert_eq!(code(&before, dropped_id).await, Some(Code::Interrupted));
        let answer = Payload::new(Format::Json, "1");
        done.settle(&Ok(answer.clone())).await;
        before.finished().await;
        let found = accepted(&store, true).find(&done_id.to_string()).await;
        assert!(matches!(found, Ok(Found::Ended(Ok(kept))) if kept == answer));
        assert_eq!(code(&before, Uuid::nil()).await, Some(Code::UnknownRequest));
    }

    #[tokio::test]
    async fn no_more_run_than_may() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let accepted = accepted(&store, true);
        let ids: Vec<Uuid> = (0..RUNNING_MAX).map(|_| Uuid::now_v7()).collect();
        assert!(ids.iter().all(|id| accepted.begin(*id)));
        let refused = accepted.accept("act", MINUTE).await;
        assert_eq!(refused.err().map(|p| p.code), Some(Code::Overloaded));
        assert_eq!(accepted.running.lock().len(), RUNNING_MAX);
        accepted.end(ids[0]);
        assert!(accepted.accept("act", MINUTE).await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_told_so() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let accepted = accepted(&store, true);
        let guard = accepted.accept("act", MINUTE).await.unwrap();
        let id = guard.id;
        let large = Payload::new(Format::Json, vec![b'1'; BODY_BYTES_MAX + 1]);
        guard.settle(&Ok(large)).await;
        assert_eq!(code(&accepted, id).await, Some(Code::LimitExceeded));
    }
}
