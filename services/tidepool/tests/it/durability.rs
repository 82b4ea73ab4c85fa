//! What was acknowledged survives the death of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Start, Tidepool, eventually};

const NAMESPACES: usize = 10;
const BATCHES: usize = 2;
const BATCH_ITEMS: usize = 500;

/// A word that only one passage of one namespace has.
fn word(namespace: usize, item: usize) -> String {
    format!("coral{namespace}reef{item}")
}

fn batch(namespace: usize, batch: usize) -> Value {
    let items = (batch * BATCH_ITEMS..(batch + 1) * BATCH_ITEMS).map(|item| {
        let text = format!("tides of {} rise and fall", word(namespace, item));
        json!({ "id": format!("p{item}"), "text": text, "tags": ["sea"] })
    });
    json!({
        "op": "store", "namespace": format!("pool-{namespace}"),
        "items": items.collect::<Vec<_>>(),
    })
}

async fn recall(process: &Tidepool, namespace: &str, query: &str) -> Value {
    let input = json!({ "op": "recall", "namespace": namespace, "query": query, "limit": 3 });
    process.ask("memory", &input).await
}

async fn store_all(process: &Tidepool) -> BTreeMap<usize, u64> {
    let mut versions = BTreeMap::new();
    for round in 0..BATCHES {
        for namespace in 0..NAMESPACES {
            let stored = process.ask("memory", &batch(namespace, round)).await;
            assert_eq!(stored["ids"].as_array().map(Vec::len), Some(BATCH_ITEMS));
            let version = stored["version"].as_u64().expect("a version");
            let before = versions.insert(namespace, version);
            assert!(before < Some(version), "{before:?} {version}");
        }
    }
    versions
}

#[tokio::test]
async fn ten_thousand_passages_survive_sigkill_and_stay_in_their_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    let versions = store_all(&process).await;
    process.kill().await;

    let process = Start::at(folder.path()).run().await;
    for (namespace, version) in versions {
        let name = format!("pool-{namespace}");
        let stats = json!({ "op": "stats", "namespace": name });
        let stats = process.ask("memory", &stats).await;
        assert_eq!(stats["items"], json!(BATCHES * BATCH_ITEMS), "{name}");
        assert!(stats["version"].as_u64() >= Some(version), "{stats}");
        for item in [0, 499, 500, 999] {
            let found = recall(&process, &name, &word(namespace, item)).await;
            assert_eq!(found["matches"][0]["id"], format!("p{item}"), "{found}");
            assert!(found["version"].as_u64() >= Some(version), "{found}");
        }
        let foreign = word((namespace + 1) % NAMESPACES, 0);
        let found = recall(&process, &name, &foreign).await;
        assert_eq!(found["matches"], json!([]), "{foreign} leaked into {name}");
    }
    let unknown = recall(&process, "nobody", "tides").await;
    assert_eq!(unknown["matches"], json!([]));
    process.stop().await;
}

/// Stores one passage after the other until the process is gone; counts what was acknowledged.
async fn store_until_gone(process: Arc<Tidepool>, acknowledged: Arc<AtomicU64>) {
    for item in 0.. {
        let text = format!("driftwood{item} on the shore");
        let input = json!({
            "op": "store", "namespace": "shore",
            "items": [{ "id": format!("w{item}"), "text": text }],
        });
        match process.request("memory", &input).send().await {
            Ok(answer) if answer.status().is_success() => {
                acknowledged.store(item + 1, Ordering::SeqCst);
            }
            _ => return,
        }
    }
}

#[tokio::test]
async fn a_passage_acknowledged_right_before_sigkill_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let process = Arc::new(Start::at(folder.path()).run().await);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(store_until_gone(
        Arc::clone(&process),
        Arc::clone(&acknowledged),
    ));
    eventually("60 stores", Duration::from_secs(20), async || {
        (acknowledged.load(Ordering::SeqCst) >= 60).then_some(())
    })
    .await;
    process.signal("KILL").await;
    writer.await.unwrap();
    let stored = acknowledged.load(Ordering::SeqCst);
    let mut process = Arc::into_inner(process).expect("the only owner");
    assert_eq!(process.ended().await.code(), None, "killed by a signal");

    let process = Start::at(folder.path()).run().await;
    let stats = json!({ "op": "stats", "namespace": "shore" });
    let items = process.ask("memory", &stats).await["items"].as_u64();
    // One more may have been written without the acknowledgement having come back.
    assert!(
        items == Some(stored) || items == Some(stored + 1),
        "{items:?} of {stored}"
    );
    for item in [0, stored / 2, stored - 1] {
        let found = recall(&process, "shore", &format!("driftwood{item}")).await;
        assert_eq!(found["matches"][0]["id"], format!("w{item}"));
    }
}
