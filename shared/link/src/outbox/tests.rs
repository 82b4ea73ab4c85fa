use super::*;

fn chunk_ids(out: &mut Outbox) -> Vec<(u64, usize)> {
    let mut buffer = bytes::BytesMut::new();
    // What a socket would be given, one write after another.
    for _ in 0..100 {
        let pending = out.pending();
        buffer.extend_from_slice(pending);
        let bytes = pending.len();
        if bytes == 0 {
            break;
        }
        out.wrote(bytes);
    }
    let mut ids = Vec::new();
    while let Some(raw) = tidepool_wire::frame::take_frame(&mut buffer, 1 << 20).unwrap() {
        match raw.parse().unwrap() {
            Frame::Chunk { id, payload, .. } => ids.push((id, payload.len())),
            Frame::Cancel { id } => ids.push((id, 0)),
            frame => panic!("{frame:?}"),
        }
    }
    ids
}

#[test]
fn large_payloads_take_turns_and_small_frames_go_between() {
    let mut out = Outbox::default();
    out.push_bulk(1, Bytes::from(vec![0; CHUNK_BYTES * 2 + 1]));
    out.push_bulk(2, Bytes::from(vec![0; CHUNK_BYTES]));
    let first = out.pending().len();
    out.push(&Frame::Cancel { id: 9 });
    assert!(first < CHUNK_BYTES + 20, "one piece at a time");
    let whole = CHUNK_BYTES;
    assert_eq!(
        chunk_ids(&mut out),
        [(1, whole), (9, 0), (2, whole), (1, whole), (1, 1)]
    );
    assert!(out.is_empty());
}

#[test]
fn every_byte_is_counted_once() {
    let mut out = Outbox::default();
    assert_eq!((out.position(), out.written()), (0, 0));
    out.push(&Frame::Cancel { id: 1 });
    assert_eq!((out.position(), out.queued_bytes()), (14, 14));
    out.push_bulk(2, Bytes::from(vec![0; 1_000_000]));
    assert_eq!(out.queued_bytes(), 1_000_014);
    assert_eq!(out.pending().len(), 14 + 14 + CHUNK_BYTES);
    out.wrote(20);
    assert_eq!(
        (out.position(), out.written()),
        (28 + CHUNK_BYTES as u64, 20)
    );
    out.drop_bulk(2);
    assert_eq!(out.queued_bytes(), 8 + CHUNK_BYTES);
    let rest = out.pending().len();
    out.wrote(rest);
    assert!(out.is_empty());
    assert_eq!(out.position(), out.written());
}

#[test]
fn a_peer_stalls_when_bytes_wait_and_none_goes_for_long() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut watch = StallWatch::new(Duration::from_millis(100), start);
    let mut out = Outbox::default();
    assert!(!watch.is_stalled(&out, at(1_000)), "nothing waits");
    out.push(&Frame::Drain);
    assert!(!watch.is_stalled(&out, at(1_090)));
    assert!(watch.is_stalled(&out, at(1_101)));
    out.wrote(1);
    assert!(!watch.is_stalled(&out, at(1_102)), "a byte went");
    assert!(!watch.is_stalled(&out, at(1_202)));
    assert!(watch.is_stalled(&out, at(1_203)));
}
