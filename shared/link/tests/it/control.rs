use std::time::Duration;

use bytes::Bytes;
use tidepool_core::PoolName;
use tidepool_link::{CallEnd, Closed, ControlEvent};
use tidepool_wire::frame::{Credit, Demand, Frame, Grant, LinkKind, Ping};

use crate::support::*;

fn credit(generation: u64) -> Credit {
    let pool = PoolName::new("pool").expect("a name");
    Credit {
        generation,
        grants: vec![Grant {
            pool,
            slots: 3,
            workers: 1,
        }],
    }
}

#[test]
fn credits_pings_and_drains_go_their_ways() {
    local(async {
        let node = start(node());
        let mut control = node.control();
        let demand = Demand {
            pool: PoolName::new("pool").unwrap(),
            in_flight: 2,
            queued: 5,
        };
        control.ping(Ping {
            nonce: 41,
            demand: vec![demand],
        });
        assert_eq!(up(&mut control).await.name, "a node");
        assert_eq!(control.next().await, Some(ControlEvent::Pong(41)));
        assert_eq!(node.host.log.lines(), ["up a balancer", "ping 41 1"]);

        let steering = node.host.steerings.borrow()[0].clone();
        std::thread::spawn(move || steering.credit(credit(1)))
            .join()
            .unwrap();
        assert_eq!(control.next().await, Some(ControlEvent::Credit(credit(1))));

        node.server.drain();
        assert_eq!(control.next().await, Some(ControlEvent::Drain));
        let (stopped, down) =
            tokio::join!(node.server.stop(Duration::from_secs(10)), control.next());
        assert!(stopped);
        assert_eq!(down, Some(ControlEvent::Down(Closed::Eof)));
        assert_eq!(control.next().await, None);
        node.host.log.times("down", 1).await;
    });
}

#[test]
fn only_the_newest_credit_is_told_to_who_was_slow() {
    local(async {
        let node = start(node());
        let mut control = node.control();
        up(&mut control).await;
        node.host.log.times("up a balancer", 1).await;
        let steering = node.host.steerings.borrow()[0].clone();
        for generation in 0..1_000 {
            steering.credit(credit(generation));
        }
        loop {
            match control.next().await {
                Some(ControlEvent::Credit(got)) if got == credit(999) => break,
                Some(ControlEvent::Credit(_)) => {}
                event => panic!("{event:?}"),
            }
        }
    });
}

#[test]
fn a_balancer_that_leaves_is_noticed() {
    local(async {
        let node = start(node());
        let mut control = node.control();
        up(&mut control).await;
        node.host.log.times("up a balancer", 1).await;
        let steering = node.host.steerings.borrow()[0].clone();
        assert!(!steering.is_closed());
        drop(control);
        node.host.log.times("down", 1).await;
        node.connections(0).await;
        assert!(steering.is_closed());
    });
}

#[test]
fn who_asks_late_is_told_that_the_node_drains() {
    local(async {
        let node = start(node());
        node.server.drain();
        let mut control = node.control();
        up(&mut control).await;
        assert_eq!(control.next().await, Some(ControlEvent::Drain));
    });
}

#[test]
fn a_node_that_stops_keeps_its_control_link_until_its_work_is_done() {
    local(async {
        let node = start(node());
        let (link, mut control) = (node.link(), node.control());
        up(&mut control).await;
        let held = link.call(&request("hold"), Bytes::new(), far()).unwrap();
        node.host.log.times("held", 1).await;
        let stop = node.server.stop(std::time::Duration::from_secs(10));
        let rest = async {
            assert_eq!(control.next().await, Some(ControlEvent::Drain));
            // It still answers: the balancer may know that its calls are in good hands.
            for nonce in 1..=3 {
                let demand = Vec::new();
                control.ping(Ping { nonce, demand });
                assert_eq!(control.next().await, Some(ControlEvent::Pong(nonce)));
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            node.host.gate.send_replace(true);
            assert!(matches!(held.await, CallEnd::Answered(..)));
            let down = control.next().await;
            assert_eq!(down, Some(ControlEvent::Down(Closed::Eof)));
        };
        let (in_time, ()) = tokio::join!(stop, rest);
        assert!(in_time);
    });
}

#[test]
fn a_node_that_is_gone_is_down() {
    local(async {
        let raw = RawNode::bind().await;
        let mut control = tidepool_link::Control::open(raw.tcp(), balancer());
        let mut line = raw.accept().await;
        line.greet_as_node().await;
        up(&mut control).await;
        line.send(Frame::Credit(credit(1))).await;
        drop(line);
        assert_eq!(control.next().await, Some(ControlEvent::Credit(credit(1))));
        let down = control.next().await;
        assert_eq!(down, Some(ControlEvent::Down(Closed::Eof)));
    });
}

#[test]
fn a_node_answers_every_ping() {
    local(async {
        let node = start(node());
        let mut raw = Raw::connect(node.addr).await;
        raw.greet_as_balancer(LinkKind::Control).await;
        for nonce in 0..50 {
            let demand = Vec::new();
            raw.send(Frame::Ping(Ping { nonce, demand })).await;
        }
        for nonce in 0..50 {
            assert_eq!(raw.receive().await, Some(Frame::Pong { nonce }));
        }
    });
}
