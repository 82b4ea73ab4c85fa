//! How a balancer finds nodes, and whom it trusts.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::cluster::{Cluster, SOON};
use crate::process::{Start, Tidepool, eventually};

/// The name in the certificates of all nodes.
const NODES: &str = "node.tidepool";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Gives a process a certificate of `authority` for that name, which it trusts too.
fn with_tls(start: Start, folder: &Path, authority: &Authority, name: &str) -> Start {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    start
        .set(
            "TIDEPOOL_CLUSTER__TLS_CERT_FILE",
            file("cert.pem", certificate.pem()),
        )
        .set(
            "TIDEPOOL_CLUSTER__TLS_KEY_FILE",
            file("key.pem", key.serialize_pem()),
        )
        .set(
            "TIDEPOOL_CLUSTER__TLS_CA_FILE",
            file("ca.pem", authority.pem()),
        )
}

async fn linked(balancer: &Tidepool) {
    eventually("the node is linked", SOON, async || {
        let health = balancer.component("nodes").await;
        (health["state"] == "ok").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nodes_that_redis_knows_are_reached_under_tls_by_one_name() {
    let (cluster, authority) = (Cluster::new().await, authority());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let at =
        |n: usize, start: Start, name: &str| with_tls(start, folders[n].path(), &authority, name);
    let node = cluster.prepare("node", "a");
    let _node = at(0, node, NODES).run().await;
    let balancer = cluster
        .prepare("balancer", "front")
        .set("TIDEPOOL_CLUSTER__TLS_PEER_NAME", NODES);
    let balancer = at(1, balancer, "front").run().await;
    linked(&balancer).await;
    balancer.ask("echo", &json!({ "text": "sealed" })).await;
}

#[tokio::test]
async fn a_node_whose_certificate_has_another_name_is_told_of_once() {
    let (cluster, authority) = (Cluster::new().await, authority());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let at =
        |n: usize, start: Start, name: &str| with_tls(start, folders[n].path(), &authority, name);
    let node = cluster.prepare("node", "a");
    let _node = at(0, node, NODES).run().await;
    // Without the name it expects the address, which no certificate holds.
    let mistaken = cluster.prepare("balancer", "mistaken");
    let mistaken = at(1, mistaken, "mistaken").run().await;
    let told = "a node cannot be reached";
    eventually("it says why", SOON, async || {
        mistaken.log().contains(told).then_some(())
    })
    .await;
    // Those tries are at most 2 s apart.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(
        mistaken.log().matches(told).count(),
        1,
        "{}",
        mistaken.log()
    );
    assert_eq!(mistaken.component("nodes").await["state"], "down");
}

#[tokio::test]
async fn a_listed_node_is_reached_without_redis_knowing_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |role, name: &str| {
        let own = folder.path().join(name);
        std::fs::create_dir_all(&own).expect("a folder");
        Start::at(&own).role(role).set("TIDEPOOL_NODE__NAME", name)
    };
    let node = at("node", "a")
        .set("TIDEPOOL_NODE__ADDR", "127.0.0.1:0")
        .run()
        .await;
    let address = node.look("/v1/status").await["addresses"]["node"].clone();
    for (name, key) in [("listed", "NODES"), ("named", "NODES_DNS")] {
        let balancer = at("balancer", name)
            .set(
                &format!("TIDEPOOL_CLUSTER__{key}"),
                address.as_str().unwrap(),
            )
            .run()
            .await;
        linked(&balancer).await;
        balancer.ask("echo", &json!({ "text": "found" })).await;
    }
}
