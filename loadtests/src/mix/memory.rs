//! Passages stored and recalled: every namespace is filled first, then asked. Ids repeat, so a
//! run of any length leaves a bounded store, and the namespaces are forgotten at the end.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{prose, to_bytes};

const NAMESPACES_MAX: u32 = 1_000;
const ITEMS_MAX: u32 = 100;
const PASSAGES_MAX: u32 = 10_000;

/// A mix of stores and recalls.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct MemoryBody {
    namespaces: u32,
    items_per_store: u32,
    passages: u32,
    store_share: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    namespaces: u32,
    items_per_store: u32,
    passages: u32,
    store_share: f64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            namespaces: 4,
            items_per_store: 4,
            passages: 1_000,
            store_share: 0.2,
        }
    }
}

impl Default for MemoryBody {
    fn default() -> Self {
        let written = Written::default();
        Self {
            namespaces: written.namespaces,
            items_per_store: written.items_per_store,
            passages: written.passages,
            store_share: written.store_share,
        }
    }
}

impl TryFrom<Written> for MemoryBody {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        for (key, n, max) in [
            ("namespaces", written.namespaces, NAMESPACES_MAX),
            ("items_per_store", written.items_per_store, ITEMS_MAX),
            ("passages", written.passages, PASSAGES_MAX),
        ] {
            if !(1..=max).contains(&n) {
                return Err(format!("{key} must be 1 to {max}, not {n}"));
            }
        }
        if !(0.0..=1.0).contains(&written.store_share) {
            return Err("store_share must be 0 to 1".to_owned());
        }
        Ok(Self {
            namespaces: written.namespaces,
            items_per_store: written.items_per_store,
            passages: written.passages,
            store_share: written.store_share,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Maker {
    body: MemoryBody,
    prefix: String,
}

impl Maker {
    pub(super) fn new(body: &MemoryBody, seed: u64) -> Self {
        Self {
            body: body.clone(),
            prefix: format!("load-{seed}"),
        }
    }

    /// Requests that come first store, so that recalls find something.
    pub(super) fn make(&self, index: u64, rng: &mut fastrand::Rng) -> Bytes {
        let priming = index < 2 * u64::from(self.body.namespaces);
        let namespace = if priming {
            index % u64::from(self.body.namespaces)
        } else {
            rng.u64(0..u64::from(self.body.namespaces))
        };
        let namespace = self.namespace(namespace);
        if priming || rng.f64() < self.body.store_share {
            to_bytes(&self.store(&namespace, rng))
        } else {
            to_bytes(&json!({
                "op": "recall", "namespace": namespace, "query": prose::question(rng), "limit": 5,
            }))
        }
    }

    fn store(&self, namespace: &str, rng: &mut fastrand::Rng) -> Value {
        let items: Vec<_> = (0..self.body.items_per_store)
            .map(|_| {
                let id = rng.u32(0..self.body.passages);
                json!({ "id": format!("p{id}"), "text": prose::passage(rng) })
            })
            .collect();
        json!({ "op": "store", "namespace": namespace, "items": items })
    }

    pub(super) fn cleanup(&self) -> Vec<Bytes> {
        (0..u64::from(self.body.namespaces))
            .map(|n| {
                to_bytes(&json!({ "op": "forget", "namespace": self.namespace(n), "all": true }))
            })
            .collect()
    }

    fn namespace(&self, n: u64) -> String {
        format!("{}-{n}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_namespace_is_filled_before_it_is_asked_and_forgotten_at_the_end() {
        let maker = Maker::new(&MemoryBody::default(), 5);
        let mut stored = HashSet::new();
        let mut recalls = 0;
        for index in 0..500 {
            let mut rng = fastrand::Rng::with_seed(index);
            let body: Value = serde_json::from_slice(&maker.make(index, &mut rng)).unwrap();
            let namespace = body["namespace"].as_str().unwrap().to_owned();
            if body["op"] == "store" {
                assert_eq!(body["items"].as_array().unwrap().len(), 4);
                stored.insert(namespace);
            } else {
                recalls += 1;
                assert!(stored.contains(&namespace), "{namespace} was asked first");
            }
        }
        assert!((350..450).contains(&recalls), "{recalls}");
        let forgotten: HashSet<String> = maker
            .cleanup()
            .iter()
            .map(|body| serde_json::from_slice::<Value>(body).unwrap())
            .map(|body| body["namespace"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(forgotten, stored);
    }
}
