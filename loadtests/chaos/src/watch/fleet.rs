//! What nodes run, as they say themselves: where they are is read in the store, and remembered when the
//! store is away.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tidepool_store::{RedisStore, Roster};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::micros;
use crate::cluster::{Mark, TOKEN};
use crate::history::{Fleet, Line, Recorder};
use crate::run::Plant;

/// The group of nodes in the roster.
const NODES: &str = "nodes";
/// How often nodes are asked, and looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest wait for one of them.
const ANSWER_MAX: Duration = Duration::from_millis(400);
/// Nodes that are remembered.
const NODES_MAX: usize = 64;

/// Operator addresses of nodes, by name.
type Addresses = BTreeMap<String, String>;

/// Looks until it is dropped.
pub(crate) async fn fleet(
    store: RedisStore,
    mark: Option<Mark>,
    recorder: Recorder,
    begun: Instant,
    plant: Option<Plant>,
) {
    let (found, addresses) = watch::channel(Addresses::new());
    let ask = ask_all(addresses, mark, recorder, begun, plant);
    tokio::join!(find_all(store, found), ask);
}

/// What of a node's document says where it is.
#[derive(Deserialize)]
struct Place {
    name: String,
    operator_addr: String,
}

async fn find_all(store: RedisStore, found: watch::Sender<Addresses>) {
    loop {
        // Who is not announced any more may be there all the same, and has not moved.
        let members = store.members(NODES).await.unwrap_or_default();
        let places = members
            .iter()
            .filter_map(|(_, document)| rmp_serde::from_slice(document).ok());
        found.send_modify(|addresses| {
            for Place {
                name,
                operator_addr,
            } in places
            {
                if addresses.len() < NODES_MAX || addresses.contains_key(&name) {
                    addresses.insert(name, operator_addr);
                }
            }
        });
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ask_all(
    addresses: watch::Receiver<Addresses>,
    mark: Option<Mark>,
    recorder: Recorder,
    begun: Instant,
    plant: Option<Plant>,
) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_MAX)
        .build();
    // Without a client there is nothing to be seen, and the judge says that.
    let Ok(http) = http else { return };
    loop {
        let at_us = micros(begun.elapsed());
        let mut asked = JoinSet::new();
        for addr in addresses.borrow().values() {
            asked.spawn(ask(http.clone(), addr.clone()));
        }
        let mut running = BTreeMap::new();
        for workers in asked.join_all().await {
            running.extend(workers);
        }
        if plant == Some(Plant::HiddenWorkers) {
            running.pop_first();
        }
        let started = started(mark.clone()).await;
        let fleet = Fleet {
            at_us,
            running,
            started,
        };
        // Before a node is known there is nothing to be seen.
        if !addresses.borrow().is_empty() {
            recorder.add(Line::Fleet(fleet)).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn started(mark: Option<Mark>) -> Vec<String> {
    let Some(mark) = mark else {
        return Vec::new();
    };
    let looked = tokio::task::spawn_blocking(move || mark.processes()).await;
    let processes = looked.unwrap_or_default().into_iter();
    processes.map(|(_, name)| name).collect()
}

/// Echo workers that serve, by the node that says so: an address may have come to be another's.
async fn ask(http: reqwest::Client, addr: String) -> BTreeMap<String, u32> {
    let asked = http
        .get(format!("http://{addr}/v1/workers"))
        .bearer_auth(TOKEN);
    let mut running = BTreeMap::new();
    let Ok(answer) = asked.send().await else {
        return running;
    };
    let told: Value = match answer.bytes().await {
        Ok(answer) => serde_json::from_slice(&answer).unwrap_or_default(),
        Err(_) => return running,
    };
    let workers = told["workers"].as_array().into_iter().flatten();
    for worker in workers.filter(|w| w["pool"] == "echo" && w["state"] == "ready") {
        if let Some(node) = worker["node"].as_str() {
            *running.entry(node.to_owned()).or_default() += 1;
        }
    }
    running
}
