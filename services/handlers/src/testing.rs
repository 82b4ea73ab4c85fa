//! Calls for tests, and what became of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tidepool_core::{Deadline, RequestId, TraceContext};
use tidepool_handler::{Call, CallContext, Failure, Format, Instance, Payload, Reply, Work};

/// A call with `budget` until its deadline, answered in its own format.
pub(crate) fn call_within(format: Format, bytes: impl Into<Bytes>, budget: Duration) -> Call {
    let deadline = Deadline::from_now(Instant::now(), budget);
    Call {
        input: Payload::new(format, bytes),
        reply_format: format,
        context: CallContext::new(
            RequestId(uuid::Uuid::nil()),
            TraceContext::root(false),
            deadline,
        ),
    }
}

/// A JSON call with a minute until its deadline.
pub(crate) fn json_call(bytes: impl Into<Bytes>) -> Call {
    call_within(Format::Json, bytes, Duration::from_secs(60))
}

/// Runs a call that does not wait.
pub(crate) fn run(instance: &dyn Instance, call: Call) -> Reply {
    match instance.call(call) {
        Work::Ready(reply) => reply,
        Work::Compute(compute) => compute(),
        Work::Wait(_) => panic!("waits"),
    }
}

/// The answer to an input that is expected to succeed.
pub(crate) fn answer(instance: &dyn Instance, input: &Value) -> Value {
    run(instance, json_call(input.to_string()))
        .unwrap_or_else(|failure| panic!("{input}: {failure:?}"))
        .decode()
        .expect("an answer in JSON")
}

/// The pointers and messages of an input that is expected to be refused as unfit.
pub(crate) fn faults(reply: Reply) -> Vec<(String, String)> {
    match reply {
        Err(Failure::Invalid { faults }) => faults
            .into_iter()
            .map(|fault| (fault.pointer, fault.message))
            .collect(),
        other => panic!("not refused as unfit: {other:?}"),
    }
}
