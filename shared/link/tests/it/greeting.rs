use std::time::Duration;

use bytes::Bytes;
use tidepool_link::{CallEnd, Closed, Link, Patience, Refused};
use tidepool_wire::frame::{Frame, LinkKind, Role, VERSIONS, Versions};
use tokio::io::AsyncReadExt;

use crate::support::*;

const SECRET: &str = "correct horse battery staple";

async fn why(node: &Node, secret: Option<&str>) -> Closed {
    let link = Link::open(node.tcp(), config(Role::Balancer, secret));
    let call = link.call(&request("echo"), Bytes::new(), far());
    let end = call.expect("there is room").await;
    assert!(matches!(end, CallEnd::Lost { .. }), "{end:?}");
    link.closed().await
}

#[test]
fn only_who_knows_the_secret_gets_a_link() {
    local(async {
        let node = start(config(Role::Node, Some(SECRET)));
        let link = Link::open(node.tcp(), config(Role::Balancer, Some(SECRET)));
        assert_eq!(answered(&link, "echo", "in").await, "in");
        let wrong = why(&node, Some("incorrect horse battery staple")).await;
        assert_eq!(wrong, Closed::Refused(Refused::Secret));
        // It cannot know that it is refused before it has shown that it has no proof.
        let refused = Refused::Secret.to_string();
        let none = why(&node, None).await;
        assert_eq!(none, Closed::Refused(Refused::ByPeer(refused)));
        // Nothing of a stranger has reached the host, and who is in stays in.
        assert_eq!(node.host.log.lines(), Vec::<String>::new());
        assert_eq!(answered(&link, "echo", "on").await, "on");
    });
}

#[test]
fn a_node_without_the_secret_gets_no_request() {
    local(async {
        let node = start(config(Role::Node, None));
        let end = why(&node, Some(SECRET)).await;
        assert_eq!(end, Closed::Refused(Refused::Secret));
    });
}

#[test]
fn without_a_secret_only_this_machine_is_spoken_to() {
    local(async {
        let (pipe, mut raw) = Pipe::new(10_000, false);
        let link = Link::open(pipe, balancer());
        let theirs = raw.receive_hello().await;
        raw.send(Frame::Hello(Box::new(hello(Role::Node, theirs.kind))))
            .await;
        let refused = raw.receive_hello().await.refused;
        assert_eq!(refused, Some(Refused::NotLoopback.to_string()));
        assert_eq!(link.closed().await, Closed::Refused(Refused::NotLoopback));
    });
}

#[test]
fn a_peer_of_another_time_is_told_so() {
    local(async {
        let theirs = Versions { min: 7, max: 9 };
        let refused = Refused::Versions {
            ours: VERSIONS,
            theirs,
        };
        let hello = |role| {
            let mut hello = hello(role, LinkKind::Data);
            hello.versions = theirs;
            Frame::Hello(Box::new(hello))
        };
        let node = start(node());
        let mut raw = Raw::connect(node.addr).await;
        raw.send(hello(Role::Balancer)).await;
        assert_eq!(raw.receive_hello().await.refused, Some(refused.to_string()));
        assert_eq!(raw.receive().await, None);

        let (pipe, mut raw) = Pipe::new(10_000, true);
        let link = Link::open(pipe, balancer());
        raw.send(hello(Role::Node)).await;
        assert_eq!(link.closed().await, Closed::Refused(refused));
    });
}

#[test]
fn nodes_do_not_call_nodes_and_nobody_calls_itself() {
    local(async {
        let config = node();
        let itself = config.local.instance;
        let node = start(config);
        let mut hellos = [
            (hello(Role::Node, LinkKind::Data), Refused::Role("node")),
            (hello(Role::Balancer, LinkKind::Data), Refused::Itself),
        ];
        hellos[1].0.instance = itself;
        for (hello, refused) in hellos {
            let mut raw = Raw::connect(node.addr).await;
            raw.send(Frame::Hello(Box::new(hello))).await;
            assert_eq!(raw.receive_hello().await.refused, Some(refused.to_string()));
        }
    });
}

#[test]
fn silent_strangers_are_few_and_do_not_stay() {
    local(async {
        let mut config = node();
        config.patience = Patience {
            greeting: Duration::from_millis(400),
            ..Patience::default()
        };
        let node = start(config);
        let mut strangers = Vec::new();
        for _ in 0..64 {
            strangers.push(Raw::connect(node.addr).await);
        }
        node.connections(64).await;
        let mut late = Raw::connect(node.addr).await;
        assert_eq!(late.io.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert_eq!(node.server.connections(), 64);
        node.connections(0).await;
        assert_eq!(answered(&node.link(), "echo", "in").await, "in");
    });
}

#[test]
fn a_greeting_is_short() {
    local(async {
        let node = start(node());
        let mut raw = Raw::connect(node.addr).await;
        // A length that a greeted peer might send, from one that is not.
        raw.send(Frame::Chunk {
            id: 1,
            payload: Bytes::from(vec![0; 4_000]),
            more: false,
        })
        .await;
        assert_eq!(raw.io.read(&mut [0; 1]).await.unwrap_or(0), 0);
    });
}
