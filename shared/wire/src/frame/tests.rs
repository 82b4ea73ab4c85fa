use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use tidepool_core::{SpanId, TraceId};

use super::header::Writer;
use super::*;

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.put(&mut out);
    out
}

/// Every frame in the bytes, or the error that ends them.
fn frames_of(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(raw) = take_frame(&mut buffer, FRAME_BODY_MAX)? {
        frames.push(raw.parse()?);
    }
    Ok(frames)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,62}"
}

fn pool() -> impl Strategy<Value = PoolName> {
    name().prop_map(|name| PoolName::new(&name).unwrap())
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Json), Just(Format::MsgPack)]
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn request() -> impl Strategy<Value = Request> {
    (
        (any::<u128>(), pool(), name(), any::<u128>(), any::<u64>()),
        (any::<bool>(), any::<u64>(), 0_u8..8, any::<bool>()),
        (format(), format(), any::<Option<u64>>()),
    )
        .prop_map(|(who, how, what)| Request {
            request_id: RequestId(uuid::Uuid::from_u128(who.0)),
            pool: who.1,
            kind: Kind::new(&who.2).unwrap(),
            trace: TraceContext {
                trace_id: TraceId(who.3),
                span_id: SpanId(who.4),
                sampled: how.0,
            },
            remaining_us: how.1,
            priority: Priority::new(how.2),
            idempotent: how.3,
            input_format: what.0,
            reply_format: what.1,
            session: what.2,
        })
}

fn failed() -> impl Strategy<Value = Failed> {
    (
        proptest::sample::select(FailureCode::ALL),
        ".{0,60}",
        vec((".{0,20}", ".{0,20}"), 0..5),
        proptest::option::of(".{0,20}"),
    )
        .prop_map(|(code, detail, faults, dependency)| Failed {
            code,
            detail,
            faults: faults
                .into_iter()
                .map(|(pointer, message)| Fault { pointer, message })
                .collect(),
            dependency,
        })
}

fn response() -> impl Strategy<Value = Response> {
    (
        format(),
        proptest::option::of(name()),
        any::<(u32, u32)>(),
        proptest::option::of(failed()),
    )
        .prop_map(|(format, worker, (queued_us, work_us), failed)| Response {
            format,
            worker: worker.map(|worker| WorkerId::from_text(&worker)),
            queued_us,
            work_us,
            failed,
        })
}

fn hello() -> impl Strategy<Value = Hello> {
    (
        (any::<(u8, u8)>(), 0..3, any::<bool>(), ".{0,40}"),
        any::<(InstanceId, Nonce, Option<Mac>)>(),
        any::<(u32, u32, u32)>(),
        proptest::option::of(".{0,40}"),
    )
        .prop_map(|(who, proof, limits, refused)| Hello {
            versions: Versions {
                min: who.0.0.min(who.0.1),
                max: who.0.0.max(who.0.1),
            },
            role: [Role::Balancer, Role::Node, Role::Controller][who.1 as usize],
            kind: if who.2 {
                LinkKind::Control
            } else {
                LinkKind::Data
            },
            name: who.3,
            instance: proof.0,
            nonce: proof.1,
            mac: proof.2,
            limits: HelloLimits {
                frame_bytes: limits.0,
                message_bytes: limits.1,
                in_flight: limits.2,
            },
            refused,
        })
}

fn credit() -> impl Strategy<Value = Credit> {
    let grant = (pool(), any::<u32>(), any::<u32>()).prop_map(|(pool, slots, workers)| Grant {
        pool,
        slots,
        workers,
    });
    (any::<u64>(), vec(grant, 0..5)).prop_map(|(generation, grants)| Credit { generation, grants })
}

fn ping() -> impl Strategy<Value = Ping> {
    let demand =
        (pool(), any::<u32>(), any::<u32>()).prop_map(|(pool, in_flight, queued)| Demand {
            pool,
            in_flight,
            queued,
        });
    (any::<u64>(), vec(demand, 0..5)).prop_map(|(nonce, demand)| Ping { nonce, demand })
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = any::<u64>;
    let message = || (any::<u64>(), payload(), any::<bool>());
    let reject = (
        id(),
        proptest::sample::select(RejectReason::ALL),
        any::<u32>(),
    );
    prop_oneof![
        hello().prop_map(|hello| Frame::Hello(Box::new(hello))),
        (request(), message()).prop_map(|(request, (id, payload, more))| Frame::Request {
            id,
            request,
            payload,
            more
        }),
        (response(), message()).prop_map(|(response, (id, payload, more))| Frame::Response {
            id,
            response,
            payload,
            more
        }),
        message().prop_map(|(id, payload, more)| Frame::Chunk { id, payload, more }),
        reject.prop_map(|(id, reason, retry_after_ms)| Frame::Reject {
            id,
            reject: Reject {
                reason,
                retry_after_ms
            }
        }),
        id().prop_map(|id| Frame::Cancel { id }),
        credit().prop_map(Frame::Credit),
        Just(Frame::Drain),
        ping().prop_map(Frame::Ping),
        id().prop_map(|nonce| Frame::Pong { nonce }),
    ]
}

proptest! {
    #[test]
    fn frames_come_back_as_they_went(frames in vec(frame(), 1..6)) {
        let bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        prop_assert_eq!(frames_of(&bytes).unwrap(), frames);
    }

    #[test]
    fn a_frame_that_is_cut_short_waits_for_the_rest(frame in frame(), at in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&frame);
        prop_assert_eq!(frames_of(&bytes[..at.index(bytes.len())]), Ok(vec![]));
    }

    #[test]
    fn a_header_that_is_cut_short_is_an_error_or_another_frame(frame in frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = bytes_of(&frame);
        bytes.truncate(FRAME_HEADER_BYTES + at.index(bytes.len() - FRAME_HEADER_BYTES + 1));
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        let _ = frames_of(&bytes);
    }

    #[test]
    fn what_reads_reads_again_after_writing(frame in frame(), hits in vec(any::<(prop::sample::Index, u8)>(), 1..8)) {
        let mut bytes = bytes_of(&frame);
        // The length stays, so that the change is seen by the reader of the body.
        for (at, byte) in hits {
            let at = 4 + at.index(bytes.len() - 4);
            bytes[at] = byte;
        }
        if let Ok(frames) = frames_of(&bytes) {
            let again: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
            prop_assert_eq!(frames_of(&again).unwrap(), frames);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), kind in 0_u8..12) {
        let _ = frames_of(&bytes);
        let mut framed = u32::try_from(bytes.len() + 10).unwrap().to_be_bytes().to_vec();
        framed.extend([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        framed.extend(&bytes);
        let _ = frames_of(&framed);
    }
}

/// Random bytes and mutated frames at full speed: `TIDEPOOL_FUZZ_CASES=10000000 cargo test
/// --release -p tidepool-wire cases`.
#[test]
fn many_cases_never_panic() {
    use proptest::strategy::ValueTree;
    let cases: u64 = std::env::var("TIDEPOOL_FUZZ_CASES")
        .map_or(20_000, |cases| cases.parse().expect("a number of cases"));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let seeds: Vec<Vec<u8>> = (0..256)
        .map(|_| bytes_of(&frame().new_tree(&mut runner).unwrap().current()))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut whole = 0_u64;
    for case in 0..cases {
        let mut bytes = random.choice(&seeds).expect("there are seeds").clone();
        match case % 4 {
            0 => random.fill(&mut bytes[4..]),
            1 => bytes.truncate(random.usize(..bytes.len())),
            _ => {
                for _ in 0..random.usize(1..6) {
                    let at = random.usize(if case % 4 == 2 { 4 } else { 0 }..bytes.len());
                    bytes[at] = random.u8(..);
                }
            }
        }
        whole += u64::from(frames_of(&bytes).is_ok_and(|frames| !frames.is_empty()));
    }
    assert!(whole > cases / 20, "{whole} of {cases} were frames");
}

#[test]
fn lengths_are_judged_before_the_rest_is_there() {
    let told = |len: u32| frames_of(&len.to_be_bytes());
    assert_eq!(told(9), Err(FrameError::TooShort(9)));
    let max = FRAME_BODY_MAX + 10;
    let largest = u32::try_from(max).unwrap();
    assert_eq!(told(largest), Ok(vec![]));
    let len = max + 1;
    assert_eq!(told(largest + 1), Err(FrameError::TooLong { len, max }));
}

/// A frame of the kind whose body is what `write` writes.
fn crafted(kind: u8, write: impl FnOnce(&mut Writer<'_>)) -> Result<Frame, FrameError> {
    let mut bytes = vec![0, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    write(&mut Writer(&mut bytes));
    let len = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    frames_of(&bytes).map(|mut frames| frames.remove(0))
}

const REJECT: u8 = 5;
const CREDIT: u8 = 7;

#[test]
fn fields_that_a_newer_version_appends_are_skipped_whatever_they_are() {
    let reject = Reject {
        reason: RejectReason::Draining,
        retry_after_ms: 20,
    };
    let read = crafted(REJECT, |w| {
        w.array(5);
        w.uint(1_u8);
        w.uint(20_u8);
        w.text("new", 3);
        w.map(1);
        w.uint(1_u8);
        w.array(1);
        w.bytes(&[1, 2, 3]);
        w.nil();
    });
    assert_eq!(read, Ok(Frame::Reject { id: 5, reject }));
}

/// The frame as a newer minor release writes it: with fields behind those of every header, payloads
/// where they were.
fn with_newer_fields(frame: &Frame) -> Vec<u8> {
    let mut bare = frame.clone();
    let payload = match &mut bare {
        Frame::Request { payload, .. } | Frame::Response { payload, .. } => std::mem::take(payload),
        _ => Bytes::new(),
    };
    let mut bytes = bytes_of(&bare);
    let fields = match &bare {
        // Its failure, which is not there, has to be said before what follows it.
        Frame::Response { response, .. } if response.failed.is_none() => 1,
        _ => 0,
    };
    (0..fields).for_each(|_| Writer(&mut bytes).nil());
    bytes[FRAME_HEADER_BYTES] += fields + 3;
    let mut w = Writer(&mut bytes);
    w.text("lz4", 3);
    w.map(1);
    w.uint(7_u8);
    w.array(2);
    w.nil();
    w.bytes(&[0xff; 40]);
    w.flag(true);
    bytes.extend_from_slice(&payload);
    let len = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn every_header_may_grow_and_its_payload_stays(frame in frame(), next in frame()) {
        let has_fields = matches!(
            frame,
            Frame::Request { .. } | Frame::Response { .. } | Frame::Reject { .. }
                | Frame::Credit(_) | Frame::Ping(_)
        );
        prop_assume!(has_fields);
        let bytes = [with_newer_fields(&frame), bytes_of(&next)].concat();
        prop_assert_eq!(frames_of(&bytes).unwrap(), [frame, next]);
    }
}

#[test]
fn optional_fields_that_are_missing_at_the_end_have_their_default_and_others_are_an_error() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tree = request().new_tree(&mut runner).unwrap();
    let request = Request {
        session: None,
        ..proptest::strategy::ValueTree::current(&tree)
    };
    let bytes = bytes_of(&Frame::Request {
        id: 1,
        request: request.clone(),
        payload: Bytes::new(),
        more: false,
    });
    let with_fields = |fields: u8, cut: usize| {
        let mut bytes = bytes[..bytes.len() - cut].to_vec();
        bytes[FRAME_HEADER_BYTES] = 0x90 | fields;
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        frames_of(&bytes).map(|mut frames| frames.remove(0))
    };
    let Ok(Frame::Request { request: read, .. }) = with_fields(11, 1) else {
        panic!("a request without a session");
    };
    assert_eq!(read, request);
    assert_eq!(
        with_fields(10, 2),
        Err(FrameError::Missing("reply_format")),
        "a field of version 1"
    );
}

#[test]
fn codes_that_are_not_known_read_as_what_is_safe() {
    let read = crafted(REJECT, |w| {
        w.array(2);
        w.uint(99_u8);
        w.uint(7_u8);
    });
    let reject = Reject {
        reason: RejectReason::QueueFull,
        retry_after_ms: 7,
    };
    assert_eq!(read, Ok(Frame::Reject { id: 5, reject }));
}

#[test]
fn nesting_costs_no_stack_and_claims_no_memory() {
    let deep = |w: &mut Writer<'_>| {
        w.array(3);
        w.uint(1_u8);
        w.uint(1_u8);
        (0..200_000).for_each(|_| w.array(1));
        w.nil();
    };
    assert!(crafted(REJECT, deep).is_ok());
    let claims = |w: &mut Writer<'_>| {
        w.array(2);
        w.uint(1_u8);
        w.array(u32::MAX as usize);
    };
    assert_eq!(crafted(CREDIT, claims), Err(FrameError::Wrong("grants")));
    let skipped = |w: &mut Writer<'_>| {
        w.array(3);
        w.uint(1_u8);
        w.uint(1_u8);
        w.array(u32::MAX as usize);
    };
    assert_eq!(
        crafted(REJECT, skipped),
        Err(FrameError::Missing("a field"))
    );
}

#[test]
fn texts_are_cut_where_a_reader_would_refuse_them() {
    let failed = Failed {
        code: FailureCode::Invalid,
        detail: "\u{e9}".repeat(DETAIL_BYTES_MAX),
        faults: vec![Fault::at("p".repeat(5_000), "m".repeat(5_000)); FAULTS_MAX + 1],
        dependency: Some("d".repeat(LABEL_BYTES_MAX + 1)),
    };
    let response = Response {
        format: Format::Json,
        worker: None,
        queued_us: 0,
        work_us: 0,
        failed: Some(failed),
    };
    let bytes = bytes_of(&Frame::Response {
        id: 1,
        response,
        payload: Bytes::new(),
        more: false,
    });
    let frames = frames_of(&bytes);
    let Ok([Frame::Response { response, .. }]) = frames.as_deref() else {
        panic!("it is read");
    };
    let failed = response.failed.as_ref().unwrap();
    assert_eq!(failed.detail.len(), DETAIL_BYTES_MAX);
    assert_eq!(failed.faults.len(), FAULTS_MAX);
    assert!(failed.faults[0].message.ends_with('\u{2026}'));
    assert_eq!(
        failed.dependency.as_deref().map(str::len),
        Some(LABEL_BYTES_MAX)
    );
}

#[test]
fn a_greeting_with_names_of_a_newer_version_is_read() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let hello = proptest::strategy::ValueTree::current(&hello().new_tree(&mut runner).unwrap());
    let mut body = Vec::new();
    hello.write(&mut body);
    body[0] += 1;
    let mut w = Writer(&mut body);
    w.text("compression", 20);
    w.array(2);
    w.text("lz4", 3);
    w.nil();
    assert_eq!(Hello::read(&body), Ok(hello));
}

#[test]
fn the_newest_common_version_is_spoken() {
    let of = |min, max| Versions { min, max };
    assert_eq!(of(1, 1).common(of(1, 2)), Some(1));
    assert_eq!(of(1, 3).common(of(2, 4)), Some(3));
    assert_eq!(of(1, 2).common(of(3, 4)), None);
}
