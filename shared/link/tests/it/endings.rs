use std::time::Duration;

use bytes::Bytes;
use tidepool_link::{CallEnd, Closed, Full, Link, LinkConfig, Patience};
use tidepool_wire::frame::{Frame, LinkKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

fn impatient(config: LinkConfig) -> LinkConfig {
    LinkConfig {
        patience: Patience {
            greeting: Duration::from_millis(150),
            stall: Duration::from_millis(100),
            sweep: Duration::from_millis(10),
        },
        ..config
    }
}

#[test]
fn a_connection_that_breaks_ends_every_call_at_once_and_the_link() {
    local(async {
        let node = RawNode::bind().await;
        let link = Link::open(node.tcp(), balancer());
        let calls: Vec<_> = (0..10)
            .map(|_| link.call(&request("echo"), Bytes::new(), far()).unwrap())
            .collect();
        let mut raw = node.accept().await;
        raw.greet_as_node().await;
        for _ in 0..10 {
            assert!(matches!(raw.receive().await, Some(Frame::Request { .. })));
        }
        drop(raw);
        for call in calls {
            assert_eq!(call.await, CallEnd::Lost { sent: true });
        }
        assert_eq!(link.closed().await, Closed::Eof);
        assert_eq!(link.closed().await, Closed::Eof, "and stays so");
        let late = link.call(&request("echo"), Bytes::new(), far());
        assert_eq!(late.err(), Some(Full::Closed));
    });
}

#[test]
fn a_call_knows_that_no_byte_of_it_was_sent() {
    local(async {
        let (pipe, mut raw) = Pipe::new(100_000, true);
        let link = Link::open(pipe, balancer());
        raw.greet_as_node().await;
        let first = link.call(&request("echo"), Bytes::from(vec![0; 1_000_000]), far());
        settle().await;
        let second = link.call(&request("echo"), Bytes::new(), far());
        settle().await;
        drop(raw);
        assert_eq!(first.unwrap().await, CallEnd::Lost { sent: true });
        assert_eq!(second.unwrap().await, CallEnd::Lost { sent: false });
    });
}

#[test]
fn a_call_to_nobody_was_not_sent() {
    local(async {
        let node = RawNode::bind().await;
        let tcp = node.tcp();
        drop(node);
        let link = Link::open(tcp, balancer());
        let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        assert_eq!(call.await, CallEnd::Lost { sent: false });
        assert!(matches!(link.closed().await, Closed::Io(_)));
    });
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    local(async {
        let node = RawNode::bind().await;
        let link = Link::open(node.tcp(), impatient(balancer()));
        let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        let _silent = node.accept().await;
        assert_eq!(call.await, CallEnd::Lost { sent: false });
        assert!(matches!(link.closed().await, Closed::Silent(_)));
    });
}

#[test]
fn deadlines_hold_while_there_is_no_connection() {
    local(async {
        let (pipe, _raw) = Pipe::new(10, true);
        let link = Link::open(pipe, balancer());
        let soon = std::time::Instant::now() + Duration::from_millis(50);
        let call = link.call(&request("echo"), Bytes::new(), soon).unwrap();
        assert_eq!(call.await, CallEnd::Expired { sent: false });
        assert!(!link.is_up());
    });
}

#[test]
fn a_node_that_never_reads_is_given_up() {
    local(async {
        let (pipe, mut raw) = Pipe::new(1_000, true);
        let link = Link::open(pipe, impatient(balancer()));
        raw.greet_as_node().await;
        let call = link.call(&request("echo"), Bytes::from(vec![0; 5_000]), far());
        assert_eq!(call.unwrap().await, CallEnd::Lost { sent: true });
        assert!(matches!(link.closed().await, Closed::Stalled(_)));
    });
}

#[test]
fn a_balancer_that_never_reads_is_given_up_and_its_work_with_it() {
    local(async {
        let mut config = impatient(node());
        config.limits.queued_bytes = 1_000_000;
        let node = start(config);
        let mut raw = Raw::connect_narrow(node.addr).await;
        raw.greet_as_balancer(LinkKind::Data).await;
        let ask = |id, kind: &str| Frame::Request {
            id,
            request: request(kind),
            payload: Bytes::new(),
            more: false,
        };
        raw.send(ask(100, "hold")).await;
        for id in 0..10 {
            raw.send(ask(id, "large")).await;
        }
        node.host.log.times("dropped", 1).await;
        node.connections(0).await;
    });
}

#[test]
fn garbage_from_a_node_ends_the_link() {
    local(async {
        let node = RawNode::bind().await;
        let link = Link::open(node.tcp(), balancer());
        let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        let mut raw = node.accept().await;
        raw.greet_as_node().await;
        raw.receive().await;
        raw.io.write_all(&[0xff; 64]).await.unwrap();
        assert_eq!(call.await, CallEnd::Lost { sent: true });
        assert!(matches!(link.closed().await, Closed::Protocol(_)));
    });
}

#[test]
fn garbage_from_a_balancer_ends_its_connection_only() {
    local(async {
        let node = start(node());
        let link = node.link();
        assert_eq!(answered(&link, "echo", "a").await, "a");
        for is_greeted in [false, true] {
            let mut raw = Raw::connect(node.addr).await;
            if is_greeted {
                raw.greet_as_balancer(LinkKind::Data).await;
            }
            raw.io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(raw.io.read(&mut [0; 16]).await.unwrap_or(0), 0);
        }
        assert_eq!(answered(&link, "echo", "b").await, "b");
    });
}

#[test]
fn frames_that_have_no_place_on_a_link_end_it() {
    local(async {
        let node = start(node());
        for kind in [LinkKind::Data, LinkKind::Control] {
            let mut raw = Raw::connect(node.addr).await;
            raw.greet_as_balancer(kind).await;
            raw.send(Frame::Pong { nonce: 1 }).await;
            assert_eq!(raw.receive().await, None);
        }
        // The same call twice: whose answer would it be?
        let mut raw = Raw::connect(node.addr).await;
        raw.greet_as_balancer(LinkKind::Data).await;
        for _ in 0..2 {
            raw.send(Frame::Request {
                id: 1,
                request: request("hold"),
                payload: Bytes::new(),
                more: false,
            })
            .await;
        }
        assert_eq!(raw.receive().await, None);
    });
}

#[test]
fn answers_that_trickle_in_byte_by_byte_are_answers() {
    local(async {
        let (pipe, mut raw) = Pipe::new(1, true);
        let link = Link::open(pipe, balancer());
        let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        raw.greet_as_node().await;
        let Some(Frame::Request { id, .. }) = raw.receive().await else {
            panic!("a request")
        };
        let (payload, more) = (Bytes::from("drop by drop"), false);
        raw.send(Frame::Response {
            id,
            response: response(),
            payload,
            more,
        })
        .await;
        let end = call.await;
        assert!(matches!(end, CallEnd::Answered(_, payload) if payload == "drop by drop"));
    });
}

#[test]
fn late_answers_and_answers_to_nobody_are_dropped() {
    local(async {
        let (pipe, mut raw) = Pipe::new(100_000, true);
        let link = Link::open(pipe, balancer());
        raw.greet_as_node().await;
        let given_up = link.call(&request("echo"), Bytes::new(), far());
        let Some(Frame::Request { id: late, .. }) = raw.receive().await else {
            panic!("a request")
        };
        drop(given_up);
        let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        assert_eq!(raw.receive().await, Some(Frame::Cancel { id: late }));
        let Some(Frame::Request { id, .. }) = raw.receive().await else {
            panic!("a request")
        };
        assert_eq!(id & 0xffff_ffff, late & 0xffff_ffff, "the same place");
        let answer = |id, text: &'static str| Frame::Response {
            id,
            response: response(),
            payload: Bytes::from(text),
            more: false,
        };
        raw.send(answer(late, "late")).await;
        raw.send(answer(77, "nobody's")).await;
        raw.send(Frame::Chunk {
            id: 78,
            payload: Bytes::new(),
            more: false,
        })
        .await;
        raw.send(answer(id, "mine")).await;
        let end = call.await;
        assert!(matches!(end, CallEnd::Answered(_, payload) if payload == "mine"));
    });
}

#[test]
fn a_link_that_nobody_holds_ends_after_its_last_call() {
    local(async {
        let node = start(node());
        let link = node.link();
        let call = link.call(&request("hold"), Bytes::from("x"), far());
        node.host.log.times("held", 1).await;
        drop(link);
        settle().await;
        assert_eq!(node.server.connections(), 1);
        node.host.gate.send_replace(true);
        let end = call.unwrap().await;
        assert!(matches!(end, CallEnd::Answered(..)));
        node.connections(0).await;
    });
}

#[test]
fn a_link_that_is_closed_here_loses_its_calls() {
    local(async {
        let node = start(node());
        let link = node.link();
        let call = link.call(&request("hold"), Bytes::new(), far()).unwrap();
        node.host.log.times("held", 1).await;
        link.close();
        assert_eq!(call.await, CallEnd::Lost { sent: true });
        assert_eq!(link.closed().await, Closed::Here);
        node.host.log.times("dropped", 1).await;
        node.connections(0).await;
    });
}
