//! `echo`: answers with its input, after waiting or computing for as long as it is told.
//!
//! Diagnostics and load tests only, so the plain call must cost next to nothing: two members are
//! read, everything else is only checked to be well-formed, and the answer is the very buffer
//! that came in. When both `sleep_ms` and `spin_ms` are given it waits first, then computes.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;
use tidepool_core::Kind;
use tidepool_handler::{
    Call, CallContext, Failure, Fault, Format, Handler, Idempotent, Instance, KindSpec, Reply,
    StartError, Work,
};

/// Longest wait and longest computation, in milliseconds.
const DURATION_MS_MAX: u64 = 60_000;
/// How long a computing thread waits at most before it looks at whether it should stop.
const NAP: Duration = Duration::from_millis(2);
/// Rounds of arithmetic between two looks at the clock: some microseconds.
const SPIN_ROUNDS: u64 = 10_000;

/// The kind `echo`.
///
/// # Panics
/// Never: its name is a constant that is a valid one.
#[must_use]
pub fn echo() -> Arc<dyn Handler> {
    let kind = Kind::new("echo").expect("a valid name");
    let spec = KindSpec {
        kind,
        summary: "Returns its input, after `sleep_ms` of waiting and `spin_ms` of computing.",
        input_schema: schema_for!(EchoInput).to_value(),
        output_schema: json!({
            "title": "EchoOutput",
            "description": "The input, byte for byte unless another format is asked for.",
            "type": "object",
        }),
        limits: json!({ "sleep_ms_max": DURATION_MS_MAX, "spin_ms_max": DURATION_MS_MAX }),
        example: json!({ "text": "hello", "sleep_ms": 0 }),
        idempotent: Idempotent::Always,
        slots_default: 8,
        affinity: None,
    };
    Arc::new(Echo { spec })
}

struct Echo {
    spec: KindSpec,
}

impl Handler for Echo {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        Ok(Arc::new(EchoInstance))
    }
}

struct EchoInstance;

impl Instance for EchoInstance {
    fn call(&self, call: Call) -> Work {
        let input = match read(&call).and_then(EchoInput::checked) {
            Ok(input) => input,
            Err(failure) => return Work::Ready(Err(failure)),
        };
        let sleep = Duration::from_millis(input.sleep_ms.unwrap_or(0));
        let spin = Duration::from_millis(input.spin_ms.unwrap_or(0));
        match (sleep.is_zero(), spin.is_zero()) {
            (true, true) => Work::Ready(answer(call)),
            (false, true) => Work::wait(async move {
                wait(&call.context, sleep).await?;
                answer(call)
            }),
            (_, false) => Work::compute(move || {
                nap(&call.context, Instant::now() + sleep)?;
                compute(&call.context, Instant::now() + spin)?;
                answer(call)
            }),
        }
    }
}

/// Reads what matters of the input. The fast way knows no pointers, so that a fault is looked
/// for a second time, by the way that does.
fn read(call: &Call) -> Result<EchoInput, Failure> {
    if call.input.format == Format::Json
        && let Ok(input) = serde_json::from_slice(&call.input.bytes)
    {
        return Ok(input);
    }
    call.decode()
}

fn answer(call: Call) -> Reply {
    Ok(call.input.transcode(call.reply_format)?)
}

/// Waits on the runtime; a caller that goes away drops the future.
async fn wait(context: &CallContext, sleep: Duration) -> Result<(), Failure> {
    let left = context.deadline.remaining(Instant::now());
    tokio::time::sleep(sleep.min(left)).await;
    if left < sleep {
        return Err(Failure::DeadlineExceeded);
    }
    Ok(())
}

/// Waits on the worker's thread, because that is where the computation follows.
fn nap(context: &CallContext, until: Instant) -> Result<(), Failure> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if let Some(stop) = context.stopped() {
            return Err(stop.into());
        }
        std::thread::sleep(left.min(NAP));
    }
}

/// Keeps one core busy.
fn compute(context: &CallContext, until: Instant) -> Result<(), Failure> {
    while Instant::now() < until {
        if let Some(stop) = context.stopped() {
            return Err(stop.into());
        }
        black_box((0..SPIN_ROUNDS).fold(1_u64, |sum, round| {
            black_box(sum.wrapping_mul(31).wrapping_add(round))
        }));
    }
    Ok(())
}

/// What is read of an input. Any other member is allowed and comes back as it is.
#[derive(Default, JsonSchema)]
struct EchoInput {
    /// Milliseconds to wait before answering.
    #[schemars(range(max = 60_000))]
    sleep_ms: Option<u64>,
    /// Milliseconds of one core to use up before answering, after the wait.
    #[schemars(range(max = 60_000))]
    spin_ms: Option<u64>,
}

impl EchoInput {
    fn checked(self) -> Result<Self, Failure> {
        let faults: Vec<Fault> = [("/sleep_ms", self.sleep_ms), ("/spin_ms", self.spin_ms)]
            .into_iter()
            .filter(|(_, ms)| ms.is_some_and(|ms| ms > DURATION_MS_MAX))
            .map(|(pointer, _)| Fault::at(pointer, format!("must be at most {DURATION_MS_MAX}")))
            .collect();
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(Failure::Invalid { faults })
        }
    }
}

/// By hand, because a derived one would also take an array for an object, and would not look
/// into the members that it skips.
impl<'de> Deserialize<'de> for EchoInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EchoInputVisitor)
    }
}

struct EchoInputVisitor;

impl<'de> Visitor<'de> for EchoInputVisitor {
    type Value = EchoInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EchoInput, A::Error> {
        let mut input = EchoInput::default();
        while let Some(member) = map.next_key()? {
            match member {
                Member::SleepMs => input.sleep_ms = map.next_value()?,
                Member::SpinMs => input.spin_ms = map.next_value()?,
                Member::Other => {
                    map.next_value::<WellFormed>()?;
                }
            }
        }
        Ok(input)
    }
}

enum Member {
    SleepMs,
    SpinMs,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "sleep_ms" => Member::SleepMs,
            "spin_ms" => Member::SpinMs,
            _ => Member::Other,
        })
    }
}

/// Any value, read and dropped. Unlike `IgnoredAny`, which leaves texts unread, it finds invalid
/// UTF-8 and is subject to the codec's depth limit, so that what is echoed is what it claims to be.
struct WellFormed;

impl<'de> Deserialize<'de> for WellFormed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for WellFormed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self, D::Error> {
        Self::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
