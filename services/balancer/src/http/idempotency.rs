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
use tidepool_handler::{Fault, Format, Payload};
use tidepool_store::{Kv, StoreError};

use super::problem::{Code, Problem};

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// How much longer than its deadline a running request keeps its claim.
const CLAIM_MARGIN: Duration = Duration::from_secs(5);
/// Largest answer that is kept; a larger one runs again.
const BODY_BYTES_MAX: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
enum State {
    Running,
    Answered {
        msgpack: bool,
        body: Bytes,
    },
    Refused {
        code: String,
        detail: String,
        faults: Vec<(String, String)>,
    },
}

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
    name: String,
    fingerprint: u64,
    settled: bool,
}

/// Claims a key for an input.
pub(crate) async fn claim(
    kv: &Arc<dyn Kv>,
    kind: &str,
    key: &str,
    input: &Payload,
    remaining: Duration,
) -> Result<Claim, Problem> {
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
    match record.state {
        State::Running => Err(in_progress()),
        State::Answered { msgpack, body } => {
            let format = if msgpack {
                Format::MsgPack
            } else {
                Format::Json
            };
            Ok(Claim::Replay(Ok(Payload::new(format, body))))
        }
        State::Refused {
            code,
            detail,
            faults,
        } => {
            let code = Code::from_name(&code).unwrap_or(Code::InvalidInput);
            let faults = faults
                .into_iter()
                .map(|(at, what)| Fault::at(at, what))
                .collect();
            Ok(Claim::Replay(Err(Problem {
                faults,
                ..Problem::new(code, detail)
            })))
        }
    }
}

impl Ticket {
    /// Keeps the answer for those who ask again, or frees the key when it may differ next time.
    pub(crate) async fn settle(mut self, result: &Result<Payload, Problem>) {
        // Work that ran out of time may still be ending: the key stays claimed until the claim
        // runs out, so that nothing runs beside it.
        self.settled = matches!(result, Err(problem) if problem.code == Code::DeadlineExceeded);
        let Some(state) = state_of(result) else {
            return;
        };
        let Ok(record) = encode(&Record {
            fingerprint: self.fingerprint,
            state,
        }) else {
            return;
        };
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

fn state_of(result: &Result<Payload, Problem>) -> Option<State> {
    match result {
        Ok(payload) => (payload.bytes.len() <= BODY_BYTES_MAX).then(|| State::Answered {
            msgpack: payload.format == Format::MsgPack,
            body: payload.bytes.clone(),
        }),
        Err(problem) => {
            let lasting = problem.code.status() < 500 && !problem.code.retryable();
            lasting.then(|| State::Refused {
                code: problem.code.as_str().to_owned(),
                detail: problem.detail.clone(),
                faults: problem
                    .faults
                    .iter()
                    .map(|fault| (fault.pointer.clone(), fault.message.clone()))
                    .collect(),
            })
        }
    }
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
