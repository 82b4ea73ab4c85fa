//! Releases that speak different versions, over real sockets: a rolling upgrade, and where it ends.

use bytes::{BufMut, Bytes};
use tidepool_link::{CallEnd, Closed, Control, ControlEvent, Link, LinkConfig, Refused};
use tidepool_wire::frame::{Frame, LinkKind, Role, Versions};
use tokio::io::AsyncWriteExt;

use crate::support::*;

const SECRET: &str = "correct horse battery staple";

fn speaking(role: Role, (min, max): (u8, u8)) -> LinkConfig {
    LinkConfig {
        versions: Versions { min, max },
        ..config(role, Some(SECRET))
    }
}

/// The version that a balancer and a node, each of a release, speak to each other; both ends and
/// both kinds of links must agree on it.
async fn spoken(balancer: (u8, u8), node: (u8, u8)) -> u8 {
    let node = start(speaking(Role::Node, node));
    let link = Link::open(node.tcp(), speaking(Role::Balancer, balancer));
    assert_eq!(answered(&link, "echo", "in").await, "in");
    let version = link.peer().expect("it is up").version;
    assert_eq!(node.host.version.get(), version);
    let mut control = Control::open(node.tcp(), speaking(Role::Balancer, balancer));
    assert_eq!(up(&mut control).await.version, version);
    assert_eq!(node.server.refusals(), 0);
    version
}

#[test]
fn a_rolling_upgrade_never_ends_a_link() {
    local(async {
        // Each release speaks its own version and the one before it.
        let releases = [(1, 1), (1, 2), (2, 3)];
        for pair in releases.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            for (balancer, node, version) in [
                (before, before, before.1),
                (before, after, before.1),
                (after, before, before.1),
                (after, after, after.1),
            ] {
                let spoken = spoken(balancer, node).await;
                assert_eq!(spoken, version, "{balancer:?} calls {node:?}");
            }
        }
    });
}

#[test]
fn who_skips_a_release_is_refused_and_told_both_ranges() {
    local(async {
        for (ours, theirs) in [((2, 2), (1, 1)), ((1, 1), (2, 2)), ((1, 2), (3, 4))] {
            let node = start(speaking(Role::Node, theirs));
            let refused = Refused::Versions {
                ours: speaking(Role::Node, theirs).versions,
                theirs: speaking(Role::Balancer, ours).versions,
            };
            let words = refused.to_string();
            let named = format!(
                "speaks {} to {}, the peer {} to {}",
                theirs.0, theirs.1, ours.0, ours.1
            );
            assert!(words.contains(&named), "{words}");
            let told = Closed::Refused(Refused::ByPeer(words));
            for attempt in 1..=3 {
                let mut control = Control::open(node.tcp(), speaking(Role::Balancer, ours));
                let event = control.next().await;
                assert_eq!(event, Some(ControlEvent::Down(told.clone())));
                let link = Link::open(node.tcp(), speaking(Role::Balancer, ours));
                let call = link.call(&request("echo"), Bytes::new(), far());
                let end = call.expect("there is room").await;
                assert!(matches!(end, CallEnd::Lost { sent: false }), "{end:?}");
                assert_eq!(link.closed().await, told);
                node.connections(0).await;
                assert_eq!(node.server.refusals(), 2 * attempt);
            }
            assert_eq!(node.host.log.lines(), Vec::<String>::new());
        }
    });
}

/// A frame as it is written, with three more fields at the end of its header.
fn with_newer_fields(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    // The header is an array of few fields, right behind length, kind, flags and id.
    bytes[14] += 3;
    // A number, a text, and a map with a list in it.
    bytes.put_slice(&[0x2a, 0xa3, b'n', b'e', b'w', 0x81, 0x01, 0x92, 0xc0, 0xc3]);
    let len = u32::try_from(bytes.len() - 4).expect("a short frame");
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

#[test]
fn a_request_with_fields_of_a_newer_release_is_served() {
    local(async {
        let node = start(node());
        let mut raw = Raw::connect(node.addr).await;
        raw.greet_as_balancer(LinkKind::Data).await;
        let (id, payload) = (4, Bytes::new());
        let frame = Frame::Request {
            id,
            request: request("echo"),
            payload,
            more: false,
        };
        let written = with_newer_fields(&frame);
        raw.io.write_all(&written).await.expect("it is taken");
        match raw.receive().await {
            Some(Frame::Response { id: 4, payload, .. }) => assert_eq!(payload, ""),
            frame => panic!("{frame:?}"),
        }
    });
}

#[test]
fn an_answer_with_fields_of_a_newer_release_is_read() {
    local(async {
        let node = RawNode::bind().await;
        let link = Link::open(node.tcp(), balancer());
        let call = link.call(&request("echo"), Bytes::new(), far());
        let call = call.expect("there is room");
        let answers = async {
            let mut raw = node.accept().await;
            raw.greet_as_node().await;
            let Some(Frame::Request { id, .. }) = raw.receive().await else {
                panic!("a request");
            };
            let reject = tidepool_wire::frame::Reject {
                reason: tidepool_wire::frame::RejectReason::QueueFull,
                retry_after_ms: 3,
            };
            let written = with_newer_fields(&Frame::Reject { id, reject });
            raw.io.write_all(&written).await.expect("it is taken");
            (raw, reject)
        };
        let (end, (_raw, reject)) = tokio::join!(call, answers);
        assert_eq!(end, CallEnd::Rejected(reject));
    });
}
