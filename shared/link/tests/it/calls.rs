use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join_all;
use tidepool_link::{CallEnd, Full, Limits, Link, LinkConfig, Server};
use tidepool_wire::frame::{FailureCode, Frame, LinkKind, Reject, RejectReason};

use crate::support::*;

fn reason(end: CallEnd) -> RejectReason {
    match end {
        CallEnd::Rejected(reject) => reject.reason,
        end => panic!("{end:?}"),
    }
}

#[test]
fn a_call_made_before_the_connection_is_there_is_answered() {
    local(async {
        let node = start(node());
        let link = node.link();
        assert!(!link.is_up());
        let call = link.call(&request("echo"), Bytes::from("hello"), far());
        let CallEnd::Answered(response, payload) = call.unwrap().await else {
            panic!("an answer")
        };
        assert_eq!(payload, "hello");
        assert_eq!(response.worker.unwrap().as_str(), "pool-1");
        assert!(link.is_up());
        assert_eq!(link.peer().unwrap().name, "a node");
        assert_eq!(link.in_flight(), 0);
    });
}

#[test]
fn many_calls_in_flight_each_get_their_own_answer() {
    local(async {
        let node = start(node());
        let link = node.link();
        let calls = (0..500).map(|n: u32| {
            let payload = Bytes::copy_from_slice(&n.to_be_bytes());
            let kind = if n.is_multiple_of(3) { "hold" } else { "echo" };
            let call = link.call(&request(kind), payload.clone(), far()).unwrap();
            async move { (payload, call.await) }
        });
        let calls: Vec<_> = calls.collect();
        let opener = async {
            node.host.log.times("held", 167).await;
            node.host.gate.send_replace(true);
        };
        let (ends, ()) = tokio::join!(join_all(calls), opener);
        for (payload, end) in ends {
            assert!(matches!(end, CallEnd::Answered(_, answer) if answer == payload));
        }
    });
}

#[test]
fn large_payloads_go_both_ways_and_small_ones_pass_them() {
    local(async {
        let node = start(node());
        let link = node.link();
        let order = Rc::new(RefCell::new(Vec::new()));
        let large = Bytes::from_iter((0..12_000_000_u32).map(|n| (n % 251) as u8));
        let big = async {
            assert!(answered(&link, "echo", large.clone()).await == large);
            order.borrow_mut().push("large");
        };
        let small = async {
            assert_eq!(answered(&link, "echo", "small").await, "small");
            order.borrow_mut().push("small");
        };
        tokio::join!(big, small);
        assert_eq!(*order.borrow(), ["small", "large"]);
    });
}

#[test]
fn a_call_that_is_dropped_is_cancelled_at_the_node() {
    local(async {
        let node = start(node());
        let link = node.link();
        let call = link.call(&request("hold"), Bytes::new(), far()).unwrap();
        node.host.log.times("held", 1).await;
        drop(call);
        node.host.log.times("dropped", 1).await;
        assert_eq!(link.in_flight(), 0);
        assert_eq!(answered(&link, "echo", "still").await, "still");
    });
}

#[test]
fn a_large_call_that_is_dropped_half_sent_leaves_nothing_behind() {
    local(async {
        let (pipe, mut raw) = Pipe::new(200_000, true);
        let link = Link::open(pipe, balancer());
        let call = link.call(&request("echo"), Bytes::from(vec![0; 1_000_000]), far());
        raw.greet_as_node().await;
        settle().await;
        drop(call);
        let mut kinds = Vec::new();
        loop {
            match raw.receive().await {
                Some(Frame::Request { more: true, .. }) => kinds.push("request"),
                Some(Frame::Chunk { more: true, .. }) => kinds.push("chunk"),
                Some(Frame::Cancel { .. }) => break,
                frame => panic!("{frame:?}"),
            }
        }
        assert!((3..7).contains(&kinds.len()), "{kinds:?}");
    });
}

#[test]
fn a_deadline_that_passes_ends_the_call_and_tells_the_node() {
    local(async {
        let node = start(node());
        let link = node.link();
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(60);
        let call = link.call(&request("hold"), Bytes::new(), soon).unwrap();
        assert_eq!(call.await, CallEnd::Expired { sent: true });
        assert!(std::time::Instant::now() >= soon);
        node.host.log.times("dropped", 1).await;
    });
}

#[test]
fn what_the_host_rejects_comes_back_as_rejected() {
    local(async {
        let link_to = start(node());
        let link = link_to.link();
        let call = link.call(&request("reject"), Bytes::new(), far());
        let reject = Reject {
            reason: RejectReason::WouldMissDeadline,
            retry_after_ms: 40,
        };
        assert_eq!(call.unwrap().await, CallEnd::Rejected(reject));
    });
}

#[test]
fn the_bounds_of_the_caller_hold() {
    local(async {
        let limits = Limits {
            in_flight: 2,
            message_bytes: 100_000,
            queued_bytes: 150_000,
            ..Limits::default()
        };
        let (pipe, _raw) = Pipe::new(10, true);
        let link = Link::open(
            pipe,
            LinkConfig {
                limits,
                ..balancer()
            },
        );
        let call = |bytes| link.call(&request("echo"), Bytes::from(vec![0; bytes]), far());
        assert_eq!(call(100_001).err(), Some(Full::TooLarge));
        let first = call(100_000).unwrap();
        assert_eq!(call(60_000).err(), Some(Full::Bytes));
        let _second = call(1).unwrap();
        assert_eq!(call(1).err(), Some(Full::InFlight));
        drop(first);
        assert!(call(1).is_ok());
    });
}

#[test]
fn the_bounds_of_the_node_hold() {
    local(async {
        let limits = Limits {
            in_flight: 2,
            partial_bytes: 200_000,
            ..Limits::default()
        };
        let node = start(LinkConfig { limits, ..node() });
        // Sends whatever it is told, unlike a link, which keeps to what the node takes.
        let mut raw = Raw::connect(node.addr).await;
        raw.greet_as_balancer(LinkKind::Data).await;
        let ask = |id, kind: &str, more| Frame::Request {
            id,
            request: request(kind),
            payload: Bytes::new(),
            more,
        };
        raw.send(ask(1, "hold", false)).await;
        raw.send(ask(2, "hold", true)).await;
        raw.send(ask(3, "echo", false)).await;
        let rejected = |frame: Option<Frame>| match frame {
            Some(Frame::Reject { id, reject }) => (id, reject.reason),
            frame => panic!("{frame:?}"),
        };
        let full = rejected(raw.receive().await);
        assert_eq!(full, (3, RejectReason::QueueFull));
        for _ in 0..4 {
            let payload = Bytes::from(vec![0; 60_000]);
            raw.send(Frame::Chunk {
                id: 2,
                payload,
                more: true,
            })
            .await;
        }
        let large = rejected(raw.receive().await);
        assert_eq!(large, (2, RejectReason::TooLarge));
    });
}

#[test]
fn an_answer_larger_than_the_balancer_takes_becomes_a_failure() {
    local(async {
        let node = start(node());
        let limits = Limits {
            message_bytes: 1_000_000,
            ..Limits::default()
        };
        let link = Link::open(
            node.tcp(),
            LinkConfig {
                limits,
                ..balancer()
            },
        );
        let call = link.call(&request("large"), Bytes::new(), far()).unwrap();
        let CallEnd::Answered(response, payload) = call.await else {
            panic!("an answer")
        };
        assert_eq!(response.failed.unwrap().code, FailureCode::LimitExceeded);
        assert!(payload.is_empty());
    });
}

#[test]
fn answers_that_are_too_much_together_are_lost_and_the_link_goes_on() {
    local(async {
        let node = start(node());
        let limits = Limits {
            partial_bytes: 2_000_000,
            ..Limits::default()
        };
        let link = Link::open(
            node.tcp(),
            LinkConfig {
                limits,
                ..balancer()
            },
        );
        let call = link.call(&request("large"), Bytes::new(), far()).unwrap();
        assert_eq!(call.await, CallEnd::Lost { sent: true });
        assert_eq!(answered(&link, "echo", "on").await, "on");
    });
}

#[test]
fn a_node_that_drains_rejects_and_one_that_stops_answers_first() {
    local(async {
        let node = start(node());
        let link = node.link();
        let held = link.call(&request("hold"), Bytes::from("late"), far());
        node.host.log.times("held", 1).await;
        node.server.drain();
        let refused = link.call(&request("echo"), Bytes::new(), far()).unwrap();
        assert_eq!(reason(refused.await), RejectReason::Draining);
        let stop = node.server.stop(std::time::Duration::from_secs(10));
        let rest = async {
            let refused = link.call(&request("echo"), Bytes::new(), far()).unwrap();
            assert_eq!(reason(refused.await), RejectReason::Draining);
            node.host.gate.send_replace(true);
            let end = held.unwrap().await;
            assert!(matches!(end, CallEnd::Answered(_, payload) if payload == "late"));
            assert_eq!(link.closed().await, tidepool_link::Closed::Eof);
        };
        let (in_time, ()) = tokio::join!(stop, rest);
        assert!(in_time);
        assert_eq!(node.server.connections(), 0);
    });
}

#[test]
fn a_node_that_stops_has_its_patience() {
    local(async {
        let node = start(node());
        let link = node.link();
        let held = link.call(&request("hold"), Bytes::new(), far()).unwrap();
        node.host.log.times("held", 1).await;
        let stop = node.server.stop(std::time::Duration::from_millis(50));
        assert!(!stop.await);
        assert_eq!(held.await, CallEnd::Lost { sent: true });
        node.host.log.times("dropped", 1).await;
        node.connections(0).await;
    });
}

#[test]
fn links_are_spread_over_the_threads_of_a_node() {
    let server = Server::new(node());
    let listener = tidepool_link::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let threads: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let (server, ready) = (
                server.clone(),
                std::sync::Arc::new(std::sync::Barrier::new(2)),
            );
            let is_ready = std::sync::Arc::clone(&ready);
            let thread = std::thread::spawn(move || {
                local(async {
                    let run = async move { server.run(Script::new(name)).await };
                    let running = tokio::task::spawn_local(run);
                    settle().await;
                    is_ready.wait();
                    running.await.unwrap();
                });
            });
            ready.wait();
            thread
        })
        .collect();
    local(async {
        let accepting = server.clone();
        tokio::task::spawn_local(async move { accepting.accept(listener).await });
        let mut links = Vec::new();
        let mut workers = Vec::new();
        for _ in 0..6 {
            let link = Link::open(tidepool_link::Tcp::new(addr.clone()), balancer());
            let call = link.call(&request("echo"), Bytes::new(), far()).unwrap();
            let CallEnd::Answered(response, _) = call.await else {
                panic!("an answer")
            };
            workers.push(response.worker.unwrap().as_str().to_owned());
            links.push(link);
        }
        workers.sort();
        assert_eq!(workers, ["one", "one", "one", "two", "two", "two"]);
        links.clear();
        assert!(server.stop(std::time::Duration::from_secs(10)).await);
    });
    for thread in threads {
        thread.join().unwrap();
    }
}
