//! What every back end must do about appends at an expected place.

use std::sync::Arc;

use bytes::Bytes;
use tidepool_store::{Appended, Epoch, Log, MISSED_RECORDS_MAX, Position, Records, StoreError};

use crate::ports::Ports;

async fn at(ports: &Ports, expected: Position, records: &[&str]) -> Appended {
    let records = records.iter().map(|r| Bytes::from((*r).to_owned()));
    ports
        .log
        .append_at("s", Epoch::UNFENCED, expected, records.collect())
        .await
        .unwrap()
}

fn appended(outcome: Appended) -> Position {
    match outcome {
        Appended::At(position) => position,
        Appended::Moved { .. } => panic!("refused: {outcome:?}"),
    }
}

fn refused(outcome: Appended) -> (Position, Records) {
    match outcome {
        Appended::Moved { tail, missed } => (tail, missed),
        Appended::At(position) => panic!("appended at {position}"),
    }
}

pub(crate) async fn appends_at_the_tail_only(ports: Ports) {
    let first = appended(at(&ports, Position::START, &["a", "b"]).await);
    let second = appended(at(&ports, first, &["c"]).await);
    assert_eq!(second, Position(first.0 + 1));
    for stale in [Position::START, first.back(1), first] {
        assert_eq!(refused(at(&ports, stale, &["late"]).await).0, second);
    }
    // Nor ahead of it: what the writer knows was lost.
    let (tail, missed) = refused(at(&ports, Position(second.0 + 1), &["early"]).await);
    assert_eq!((tail, missed.len()), (second, 0));
    assert_eq!(ports.bodies("s").await, ["a", "b", "c"]);
    // Also after an append that asked for no place, and none of no records.
    let third = ports.append("s", &["d"]).await;
    assert_eq!(refused(at(&ports, second, &[]).await).0, third);
    assert_eq!(appended(at(&ports, third, &[]).await), third);
}

pub(crate) async fn a_refusal_tells_what_was_missed(ports: Ports) {
    let known = ports.append("s", &["a"]).await;
    let tail = ports.append("s", &["b", "c"]).await;
    let (told, missed) = refused(at(&ports, known, &["x"]).await);
    assert_eq!(told, tail);
    assert_eq!(missed, [(tail.back(1), "b".into()), (tail, "c".into())]);
    assert_eq!(appended(at(&ports, told, &["x"]).await).0, tail.0 + 1);
    // What was trimmed cannot be told.
    ports.log.trim("s", tail).await.unwrap();
    let (_, missed) = refused(at(&ports, known, &["y"]).await);
    assert_eq!(missed, [(Position(tail.0 + 1), "x".into())]);
}

pub(crate) async fn a_refusal_tells_no_more_than_it_may(ports: Ports) {
    let known = ports.append("s", &["a"]).await;
    let more = vec![Bytes::from("b"); 3 * MISSED_RECORDS_MAX];
    let append = ports.log.append("s", Epoch::UNFENCED, more);
    let tail = append.await.unwrap();
    let (told, missed) = refused(at(&ports, known, &["x"]).await);
    assert_eq!((told, missed.len()), (tail, MISSED_RECORDS_MAX));
    assert_eq!(missed[0].0, Position(known.0 + 1));
}

pub(crate) async fn an_erased_stream_goes_on_where_it_was(ports: Ports) {
    let tail = ports.append("s", &["a"]).await;
    ports.log.erase("s").await.unwrap();
    let (told, missed) = refused(at(&ports, Position::START, &["x"]).await);
    assert_eq!((told, missed.len()), (tail, 0));
    assert!(ports.log.streams("", 10).await.unwrap().is_empty());
    assert_eq!(appended(at(&ports, tail, &["b"]).await).0, tail.0 + 1);
    assert_eq!(ports.log.streams("", 10).await.unwrap(), ["s"]);
}

pub(crate) async fn old_epochs_are_fenced_wherever_they_append(ports: Ports) {
    let append = |epoch, expected| {
        let records = vec!["a".into()];
        ports.log.append_at("s", Epoch(epoch), expected, records)
    };
    let tail = appended(append(3, Position::START).await.unwrap());
    for expected in [tail, Position::START] {
        let refused = append(2, expected).await;
        assert!(
            matches!(refused, Err(StoreError::Fenced { .. })),
            "{refused:?}"
        );
    }
    // A refusal for its place leaves the epoch as it was.
    refused(append(9, Position::START).await.unwrap());
    appended(append(3, tail).await.unwrap());
}

pub(crate) async fn nothing_comes_into_being_by_a_refusal(ports: Ports) {
    let (tail, missed) = refused(at(&ports, Position(7), &["x"]).await);
    assert_eq!((tail, missed.len()), (Position::START, 0));
    assert!(ports.log.streams("", 10).await.unwrap().is_empty());
    appended(at(&ports, Position::START, &["a"]).await);
}

pub(crate) async fn one_of_many_writers_gets_the_place(ports: Ports) {
    let known = ports.append("s", &["a"]).await;
    let writers: Vec<_> = (0..32)
        .map(|n: usize| {
            let log = Arc::clone(&ports.log);
            let record = vec![Bytes::from(n.to_string())];
            tokio::spawn(async move {
                let append = log.append_at("s", Epoch::UNFENCED, known, record);
                matches!(append.await.unwrap(), Appended::At(_))
            })
        })
        .collect();
    let mut winners = 0;
    for writer in writers {
        winners += usize::from(writer.await.unwrap());
    }
    assert_eq!((winners, ports.all("s").await.len()), (1, 2));
}

/// Each writer adds one to the last number that it knows, so that a lost update shows.
pub(crate) async fn writers_who_catch_up_lose_nothing(ports: Ports) {
    const WRITERS: usize = 4;
    const APPENDS: usize = 25;
    let writers = [(); WRITERS].map(|()| {
        let log = Arc::clone(&ports.log);
        tokio::spawn(async move {
            for _ in 0..APPENDS {
                add_one(&*log).await;
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let expected: Vec<String> = (1..=WRITERS * APPENDS).map(|n| n.to_string()).collect();
    assert_eq!(ports.bodies("s").await, expected);
}

async fn add_one(log: &dyn Log) {
    let (mut known, mut last) = (Position::START, 0_u64);
    loop {
        let record = vec![Bytes::from((last + 1).to_string())];
        let append = log.append_at("s", Epoch::UNFENCED, known, record);
        let (tail, missed) = match append.await.unwrap() {
            Appended::At(_) => return,
            Appended::Moved { tail, missed } => (tail, missed),
        };
        assert!(tail > known && !missed.is_empty());
        for (position, body) in missed {
            known = position;
            last = std::str::from_utf8(&body).unwrap().parse().unwrap();
        }
    }
}
