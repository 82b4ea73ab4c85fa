use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidepool_handler::{Call, Failure, Format, Reply, Work};

use super::*;
use crate::testing::{call_within, faults, json_call};

fn ready(call: Call) -> Reply {
    match EchoInstance.call(call) {
        Work::Ready(reply) => reply,
        Work::Wait(_) => panic!("waits"),
        Work::Compute(_) => panic!("computes"),
    }
}

#[test]
fn answers_with_the_buffer_that_came_in() {
    let body = Bytes::from_static(br#" {"b": [1.50, "x"], "a": null} "#);
    let reply = ready(json_call(body.clone())).unwrap();
    assert_eq!(reply.bytes.as_ptr(), body.as_ptr());
    assert_eq!(reply.bytes, body);
}

#[test]
fn transcodes_when_another_format_is_wanted() {
    let mut call = json_call(r#"{"text":"héllo","n":[1,-2,0.5,null,true,{"k":"v"}]}"#);
    call.reply_format = Format::MsgPack;
    let packed = ready(call).unwrap();
    assert_eq!(packed.format, Format::MsgPack);

    let mut call = call_within(Format::MsgPack, packed.bytes, Duration::from_secs(60));
    call.reply_format = Format::Json;
    let value: Value = ready(call).unwrap().decode().unwrap();
    assert_eq!(
        value,
        json!({"text":"héllo","n":[1,-2,0.5,null,true,{"k":"v"}]})
    );
}

#[test]
fn refuses_what_is_no_object() {
    for body in ["[]", "[1,2]", "1", "null", "\"text\""] {
        let found = faults(ready(json_call(body)));
        assert_eq!(found[0].0, "", "{body}");
        assert!(found[0].1.contains("an object"), "{body}: {found:?}");
    }
}

#[test]
fn refuses_malformed_bodies() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let bodies: [&[u8]; 7] = [
        b"",
        b"{",
        b"{\"a\":1}}",
        b"{\"a\":}",
        b"{\"a\":\"\xff\"}",
        b"{\"\xff\":1}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let reply = ready(json_call(body.to_vec()));
        assert!(
            matches!(reply, Err(Failure::Malformed { .. })),
            "{:?}: {reply:?}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn refuses_unfit_durations_with_their_pointers() {
    let found = faults(ready(json_call(r#"{"sleep_ms":60001,"spin_ms":70000}"#)));
    let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/sleep_ms", "/spin_ms"]);
    for body in [
        r#"{"sleep_ms":-1}"#,
        r#"{"sleep_ms":1.5}"#,
        r#"{"sleep_ms":"1"}"#,
    ] {
        assert_eq!(faults(ready(json_call(body)))[0].0, "/sleep_ms", "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn sleeps_as_long_as_it_is_told() {
    let begin = tokio::time::Instant::now();
    let Work::Wait(wait) = EchoInstance.call(json_call(r#"{"sleep_ms":5000}"#)) else {
        panic!("does not wait");
    };
    assert!(wait.await.is_ok());
    assert!(begin.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_sleep_ends_at_the_deadline() {
    let begin = tokio::time::Instant::now();
    let call = call_within(
        Format::Json,
        r#"{"sleep_ms":60000}"#,
        Duration::from_secs(2),
    );
    let Work::Wait(wait) = EchoInstance.call(call) else {
        panic!("does not wait");
    };
    assert_eq!(wait.await, Err(Failure::DeadlineExceeded));
    assert!(begin.elapsed() < Duration::from_secs(3));
}

fn computed(call: Call) -> Reply {
    match EchoInstance.call(call) {
        Work::Compute(run) => run(),
        Work::Ready(_) | Work::Wait(_) => panic!("does not compute"),
    }
}

#[test]
fn waits_then_computes_when_told_both() {
    let begin = Instant::now();
    assert!(computed(json_call(r#"{"sleep_ms":4,"spin_ms":4}"#)).is_ok());
    assert!(begin.elapsed() >= Duration::from_millis(8));
}

#[test]
fn a_computation_ends_at_the_deadline_or_when_cancelled() {
    let long = r#"{"spin_ms":60000}"#;
    let call = call_within(Format::Json, long, Duration::from_millis(5));
    assert_eq!(computed(call), Err(Failure::DeadlineExceeded));

    let call = call_within(
        Format::Json,
        r#"{"sleep_ms":60000,"spin_ms":1}"#,
        Duration::from_secs(60),
    );
    call.context.cancel();
    assert_eq!(computed(call), Err(Failure::Cancelled));
}

#[test]
fn its_example_and_schema_agree() {
    let handler = echo();
    let spec = handler.spec();
    assert_eq!(
        spec.input_schema["properties"]["sleep_ms"]["maximum"],
        60_000
    );
    let body = serde_json::to_vec(&spec.example).unwrap();
    assert!(ready(json_call(body)).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_echoed_or_refused(body in any::<Vec<u8>>(), packed in any::<bool>()) {
        let format = if packed { Format::MsgPack } else { Format::Json };
        let call = call_within(format, body.clone(), Duration::from_secs(60));
        if let Work::Ready(Ok(reply)) = EchoInstance.call(call) {
            prop_assert_eq!(reply.bytes, Bytes::from(body));
        }
    }

    #[test]
    fn any_text_survives_the_way_through_both_formats(text in ".*", n in any::<i64>()) {
        let value = json!({ "text": text, "n": n });
        let mut call = json_call(serde_json::to_vec(&value).unwrap());
        call.reply_format = Format::MsgPack;
        let packed = ready(call).unwrap();
        prop_assert_eq!(packed.decode::<Value>().unwrap(), value);
    }
}
