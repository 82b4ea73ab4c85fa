//! `Idempotency-Key`: the first request with a key runs, later ones get its answer again.
//!
//! The claim on a key outlives the request by a little only, so a crash blocks the key no longer
//! than the request could have run. Answers that may differ the next time (overload, deadline,
//! failures) are not kept: the next request with the key runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_handler::Payload;
use tidepool_store::{Kv, StoreError};

use super::kept::{Ledger, Limits, State};
use super::problem::{Code, Problem};

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// How much longer than its deadline a running request keeps its claim.
const CLAIM_MARGIN: Duration = Duration::from_secs(5);
/// Largest answer that is kept; a larger one runs again.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most answers that are kept; beyond them the oldest keys are free again before their time.
pub(crate) const LIMITS: Limits = Limits {
    count_max: 50_000,
    bytes_max: 256 * 1024 * 1024,
};

#[derive(Serialize, Deserialize)]
struct Record {
    /// Hash of kind and input: the same key with another input is a mistake.
    fingerprint: u64,
    state: State,
}

/// What a key allows.
pub(crate) enum Claim {
    /// Nobody has used it: run, and settle the ticket.
    Run(Ticket),
    /// The answer of the first request.
    Replay(Result<Payload, Problem>),
}

/// The right to run; dropped unsettled, the key is free again.
pub(crate) struct Ticket {
    kv: Arc<dyn Kv>,
    ledger: Arc<Ledger>,
    name: String,
    fingerprint: u64,
    settled: bool,
}

/// Claims a key for an input.
pub(crate) async fn claim(
    ledger: &Arc<Ledger>,
    kind: &str,
    key: &str,
    input: &Payload,
    remaining: Duration,
) -> Result<Claim, Problem> {
    let kv = ledger.kv();
    let fingerprint = hash(&(kind, &input.bytes));
    let name = format!(
        "idempotency/{kind}/{:016x}{:016x}",
        hash(&key),
        hash(&(key, "again"))
    );
    let record = encode(&Record {
        fingerprint,
        state: State::Running,
    })?;
    let ttl = remaining + CLAIM_MARGIN;
    if kv
        .compare_and_set(&name, None, record, Some(ttl))
        .await
        .map_err(unavailable)?
        .is_some()
    {
        let ticket = Ticket {
            kv: Arc::clone(kv),
            ledger: Arc::clone(ledger),
            name,
            fingerprint,
            settled: false,
        };
        return Ok(Claim::Run(ticket));
    }
    let held = kv.get(&name).await.map_err(unavailable)?;
    // Settled without an answer between the two steps: as if still running, so ask again.
    let Some(held) = held else {
        return Err(in_progress());
    };
    let record: Record = rmp_serde::from_slice(&held.bytes).map_err(|e| broken(&e))?;
    if record.fingerprint != fingerprint {
        let detail = "this Idempotency-Key was used with another input";
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    record
        .state
        .into_result()
        .map_or_else(|| Err(in_progress()), |result| Ok(Claim::Replay(result)))
}

impl Ticket {
    /// Keeps the answer for those who ask again, or frees the key when it may differ next time.
    pub(crate) async fn settle(mut self, result: &Result<Payload, Problem>) {
        // Work that ran out of time may still be ending: the key stays claimed until the claim
        // runs out, so that nothing runs beside it.
        self.settled = matches!(result, Err(problem) if problem.code == Code::DeadlineExceeded);
        let Some(state) = lasting(result) else {
            return;
        };
        let Ok(record) = encode(&Record {
            fingerprint: self.fingerprint,
            state,
        }) else {
            return;
        };
        self.ledger.note(&self.name, record.len(), KEEP).await;
        match self.kv.put(&self.name, record, Some(KEEP)).await {
            Ok(_) => self.settled = true,
            Err(error) => tracing::warn!(%error, "an answer could not be kept for its key"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            let deletion = self.kv.delete(&self.name);
            actix_web::rt::spawn(async move {
                // The claim runs out by itself when this fails.
                let _ = deletion.await;
            });
        }
    }
}

/// What is kept of an answer; nothing of one that may differ the next time.
fn lasting(result: &Result<Payload, Problem>) -> Option<State> {
    let lasts = match result {
        Ok(payload) => payload.bytes.len() <= BODY_BYTES_MAX,
        Err(problem) => problem.code.status() < 500 && !problem.code.retryable(),
    };
    lasts.then(|| State::of(result))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn encode(record: &Record) -> Result<Bytes, Problem> {
    rmp_serde::to_vec(record)
        .map(Bytes::from)
        .map_err(|e| broken(&e))
}

fn broken(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "the record of an idempotency key is broken");
    Problem::new(
        Code::HandlerFailed,
        "the record of this Idempotency-Key cannot be read",
    )
}

fn unavailable(error: StoreError) -> Problem {
    tracing::warn!(%error, "idempotency keys cannot be looked up");
    let detail = "the store that remembers Idempotency-Keys is not available";
    Problem::new(Code::DependencyUnavailable, detail).retry_after(1)
}

fn in_progress() -> Problem {
    let detail = "the first request with this Idempotency-Key has not ended";
    Problem::new(Code::IdempotencyInProgress, detail).retry_after(1)
}
