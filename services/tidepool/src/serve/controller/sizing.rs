//! How many nodes there are: asks what the provisioner holds, lets the pure sizing decide, and has
//! the provisioner make it so. A task of its own, because starting a node may take long.

mod containers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use tidepool_core::{EventDraft, NodeId, Timestamp};
use tidepool_placement::{
    Demand, Desired, Fleet, Inventory, NodeBlock, NodeDecision, NodeMemory, NodePolicy, NodeReason,
    Targets, nodes_wanted,
};
use tidepool_provisioner::{
    AnyProvisioner, Containers, Desired as Wanted, Kubernetes, KubernetesConfig, Limits, Nothing,
    Outcome, ProcessConfig, Processes, ProvisionError, Provisioner,
};
use tidepool_supervisor::steady_wall_clock;

use self::containers::Leader;
use super::Base;
use super::leadership::Mandate;
use crate::settings::{Provisions, Settings, Store};

/// How often it is decided.
const EVERY: Duration = Duration::from_secs(1);
/// What was placed longer ago is nothing to act on.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// Beginning of the names of nodes that are started here.
const PREFIX: &str = "auto";
/// What a node gets to end by itself, beyond its own grace.
const GRACE_EXTRA: Duration = Duration::from_secs(5);

/// What was placed last.
pub(super) struct Placed {
    pub(super) inventory: Inventory,
    pub(super) targets: Targets,
    pub(super) desired: Desired,
    pub(super) at: Instant,
}

/// What placing and sizing tell each other.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) placed: Mutex<Option<Placed>>,
    /// Nodes that are to be given up once they are empty.
    pub(super) drain: Mutex<BTreeSet<NodeId>>,
}

/// The sizing of one term.
pub(super) struct Sizing {
    base: Arc<Base>,
    mandate: Arc<Mandate>,
    shared: Arc<Shared>,
    policy: NodePolicy,
    memory: NodeMemory,
    provisioner: AnyProvisioner,
    told: Option<(u32, NodeReason, Option<NodeBlock>)>,
    /// The failure that was told last, so that each is told once.
    failed: Option<String>,
}

impl Sizing {
    pub(super) async fn run(base: Arc<Base>, mandate: Arc<Mandate>, shared: Arc<Shared>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = None;
        let provisioner = loop {
            ticks.tick().await;
            match open(&base.settings, mandate.epoch.0).await {
                Ok(provisioner) => break provisioner,
                Err(error) => note(&mut failed, Some(error)),
            }
        };
        let settings = &base.settings.provisioner;
        let mut sizing = Self {
            policy: NodePolicy {
                nodes_min: settings.nodes_min,
                nodes_max: settings.nodes_max,
                idle_ms: u64::try_from(settings.idle.as_millis()).unwrap_or(u64::MAX),
                ..NodePolicy::default()
            },
            base,
            mandate,
            shared,
            memory: NodeMemory::default(),
            provisioner,
            told: None,
            failed,
        };
        let clock = steady_wall_clock();
        loop {
            ticks.tick().await;
            let done = sizing.step(clock()).await;
            note(&mut sizing.failed, done.err());
        }
    }

    async fn step(&mut self, now: Timestamp) -> Result<(), ProvisionError> {
        let fleet = self.provisioner.observe().await?.fleet();
        let decision = self.decide(&fleet, now);
        self.tell(&decision);
        let is_trial = self.base.settings.provisioner.dry_run;
        if !self.mandate.holds(Instant::now()) || is_trial {
            return Ok(());
        }
        *self.shared.drain.lock() = decision.drain;
        let wanted = Wanted {
            count: decision.to,
            drain: decision.release,
        };
        // A call takes long, and what it was begun under may be over before its next step.
        let may_act = || self.mandate.holds(Instant::now());
        if let Outcome::Changed(plan) = self.provisioner.set(&wanted, &may_act).await? {
            tracing::info!(?plan, "nodes are started or stopped");
        }
        Ok(())
    }

    fn decide(&mut self, fleet: &Fleet, now: Timestamp) -> NodeDecision {
        let placed = self.shared.placed.lock();
        // Without a node nothing is placed, and the first nodes have to come from somewhere.
        let nothing = Placed {
            inventory: Inventory::default(),
            targets: Targets::default(),
            desired: Desired::default(),
            at: Instant::now(),
        };
        let placed = placed.as_ref().unwrap_or(&nothing);
        let demand = Demand {
            inventory: &placed.inventory,
            targets: &placed.targets,
            desired: &placed.desired,
            fleet,
            is_stale: placed.at.elapsed() >= FRESH_FOR,
        };
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = nodes_wanted(&self.policy, memory, &demand, now.0);
        self.memory = memory;
        decision
    }

    /// Tells of what changes, and of what newly holds a wish.
    fn tell(&mut self, decision: &NodeDecision) {
        let what = (decision.to, decision.reason, decision.blocked_by);
        let is_news = decision.is_change() || decision.blocked_by.is_some();
        if self.told.replace(what) != Some(what) && is_news {
            let sentence = decision.sentence();
            tracing::info!("{sentence}");
            let mut data = json!(decision);
            data["sentence"] = json!(sentence);
            data["dry_run"] = json!(self.base.settings.provisioner.dry_run);
            data["epoch"] = json!(self.mandate.epoch.0);
            let event = EventDraft::new("nodes.decided", data);
            self.base.ground.feed.publish(event);
        }
    }
}

/// Tells of a failure when it is another one than the last.
fn note(failed: &mut Option<String>, error: Option<ProvisionError>) {
    let error = error.map(|error| error.to_string());
    let before = std::mem::replace(failed, error);
    if let Some(error) = failed
        .as_ref()
        .filter(|error| before.as_ref() != Some(error))
    {
        tracing::warn!(%error, "the number of nodes cannot be changed");
    }
}

/// The provisioner that the configuration names.
async fn open(settings: &Settings, epoch: u64) -> Result<AnyProvisioner, ProvisionError> {
    let configured = &settings.provisioner;
    let limits = Limits {
        nodes_max: configured.nodes_max,
        dry_run: configured.dry_run,
        ..Limits::default()
    };
    let grace = settings.http.shutdown_grace + GRACE_EXTRA;
    Ok(match &configured.by {
        Provisions::Nobody => AnyProvisioner::Nothing(Nothing),
        Provisions::Processes => {
            let config = processes(settings, limits, grace)?;
            AnyProvisioner::Processes(Box::new(Processes::new(config)))
        }
        Provisions::Workload {
            namespace,
            workload,
            pod_selector,
        } => {
            let config = KubernetesConfig {
                namespace: namespace.clone(),
                workload: workload.clone(),
                pod_selector: pod_selector.clone(),
                limits,
            };
            AnyProvisioner::Kubernetes(Box::new(Kubernetes::connect(config).await?))
        }
        Provisions::Containers(nodes) => {
            let leader = Leader {
                cluster: cluster(settings),
                epoch,
            };
            let config = containers::config(settings, nodes, leader, (limits, grace));
            AnyProvisioner::Containers(Box::new(Containers::new(config)?))
        }
    })
}

/// This very program as a node, configured as this process is, on ports of its own.
fn processes(
    settings: &Settings,
    limits: Limits,
    grace: Duration,
) -> Result<ProcessConfig, ProvisionError> {
    let program = std::env::current_exe().map_err(|error| ProvisionError::Failed {
        what: "finding this program",
        why: error.to_string(),
    })?;
    let mut arguments = vec!["node".to_owned()];
    if let Some(file) = &settings.provisioner.config_file {
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    Ok(ProcessConfig {
        cluster: cluster(settings),
        prefix: PREFIX.to_owned(),
        program,
        arguments,
        environment: Box::new(on_free_ports),
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        limits,
    })
}

fn variables(list: [(&str, String); 3]) -> Vec<(String, String)> {
    let named = list.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn on_free_ports(name: &NodeId) -> Vec<(String, String)> {
    let free = || "127.0.0.1:0".to_owned();
    variables([
        ("TIDEPOOL_NODE__NAME", name.to_string()),
        ("TIDEPOOL_NODE__ADDR", free()),
        ("TIDEPOOL_HTTP__OPERATOR_ADDR", free()),
    ])
}

/// What tells the nodes of this cluster from those of others on one machine: the store that they
/// share, without what is secret of it.
fn cluster(settings: &Settings) -> String {
    let Store::Redis { url } = &settings.store else {
        return "local".to_owned();
    };
    let url = url.expose().split('?').next().unwrap_or_default();
    let place = url.rsplit('@').next().unwrap_or_default();
    named_after(place.split("://").last().unwrap_or_default())
}

/// Longest name of a cluster: with the name of a node behind it, it is a label of a host name, which
/// has 63 characters at most.
const CLUSTER_LEN_MAX: usize = 40;

/// A name after a place, of letters, digits and hyphens. Places whose names would be cut are told
/// apart by a hash (FNV-1a).
fn named_after(place: &str) -> String {
    let usable = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = place.chars().map(usable).collect();
    // No container has a name that begins otherwise.
    let name = name.trim_start_matches('-');
    if name.len() <= CLUSTER_LEN_MAX {
        return name.to_owned();
    }
    let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = place.bytes().fold(0x811c_9dc5, add);
    format!("{}-{hash:08x}", &name[..CLUSTER_LEN_MAX - 9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_names_that_a_host_can_have() {
        assert_eq!(named_after("redis:6379/0"), "redis-6379-0");
        assert_eq!(named_after("[fd00::1]:6379"), "fd00--1--6379");
        assert_eq!(named_after("/run/redis.sock"), "run-redis-sock");
        let host = "a-managed-redis.0001.some-far-region.cache.example.com:6379/";
        let [a, b] = ["0", "1"].map(|database| named_after(&format!("{host}{database}")));
        assert_ne!(a, b);
        for name in [a, b] {
            assert_eq!(name.len(), CLUSTER_LEN_MAX, "{name}");
            assert!(name.starts_with("a-managed-redis-0001"), "{name}");
        }
    }

    #[test]
    fn a_process_listens_where_there_is_room() {
        let name = NodeId::new("auto-1").unwrap();
        let process = on_free_ports(&name);
        assert!(process.iter().any(|(_, value)| value == "auto-1"));
        let free = process.iter().filter(|(_, value)| value.ends_with(":0"));
        assert_eq!(free.count(), 2);
    }
}
