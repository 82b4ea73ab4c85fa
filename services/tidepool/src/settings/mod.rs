//! Configuration: read once, checked as a whole, trusted after.
//!
//! ```text
//! file, environment, flags --layers--> tree --structure--> RawSettings --validate--> Settings
//! ```
//!
//! Nothing else in the program reads the file or the environment. Whatever is wrong is reported
//! together, with the key, where it was set and what is allowed there.

mod cluster;
mod controller;
mod fault;
mod layers;
mod pools;
mod provisioner;
mod raw;
mod secret;
mod show;
mod structure;
#[cfg(test)]
mod tests;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidepool_balancer::Quota;
use tidepool_core::{Kind, NodeId, PoolName};
use tidepool_policy::Rule;
use tidepool_supervisor::decision_log::DecisionLogConfig;

pub(crate) use fault::{Fault, InvalidSettings};
pub(crate) use layers::{FILE_DEFAULT, Inputs, Override, read_text, variable_name};
pub(crate) use raw::{LogFormat, PolicyKind};
pub(crate) use secret::{RedisUrl, Secret};
pub(crate) use show::Effective;
pub(crate) use structure::schema;

use raw::RawSettings;

/// Everything that configures a process, valid and with every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The two HTTP listeners.
    pub(crate) http: Http,
    /// What balancers and nodes of one cluster share.
    pub(crate) cluster: Cluster,
    /// This process as a node.
    pub(crate) node: Node,
    /// Where KEDA calls, if it may; port 0 takes a free one.
    pub(crate) keda_addr: Option<SocketAddr>,
    /// Where durable things are kept.
    pub(crate) store: Store,
    /// Logs and traces.
    pub(crate) telemetry: Telemetry,
    /// What the controller learns and keeps.
    pub(crate) controller: Controller,
    /// Who starts and stops nodes.
    pub(crate) provisioner: Provisioner,
    /// The pools, by name; no kind is in two of them.
    pub(crate) pools: Vec<Pool>,
}

/// The two HTTP listeners.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    /// Where clients call; port 0 takes a free one.
    pub(crate) api_addr: SocketAddr,
    /// Where operators call; port 0 takes a free one.
    pub(crate) operator_addr: SocketAddr,
    /// The same as others reach it, if that is told.
    pub(crate) operator_advertise_addr: Option<String>,
    /// Threads that serve clients, at least one.
    pub(crate) threads: usize,
    /// Largest request body in bytes.
    pub(crate) body_bytes_max: usize,
    /// Longest time that reading a body may take.
    pub(crate) body_read_timeout: Duration,
    /// Most open connections of clients.
    pub(crate) connections_max: usize,
    /// Longest time that reading a request head may take.
    pub(crate) request_head_timeout: Duration,
    /// How long an idle connection is kept; zero closes it after one answer.
    pub(crate) keep_alive: Duration,
    /// How long a stop waits for running requests.
    pub(crate) shutdown_grace: Duration,
    /// What one caller may ask for, if that is bounded.
    pub(crate) quota: Option<Quota>,
    /// What clients have to send, if anything.
    pub(crate) api_token: Option<Secret>,
    /// What operators have to send, if anything.
    pub(crate) operator_token: Option<Secret>,
}

/// What balancers and nodes of one cluster share.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// By which they know each other.
    pub(crate) secret: Option<tidepool_link::Secret>,
    /// Mutual TLS of links.
    pub(crate) tls: Option<tidepool_link::Tls>,
    /// Where a balancer learns of nodes.
    pub(crate) nodes: NodeSource,
}

/// Where a balancer learns of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeSource {
    /// From the store, where nodes announce themselves.
    Roster,
    /// These, `host:port`.
    Listed(Vec<String>),
    /// The addresses of a name, `host:port`.
    Dns(String),
}

/// This process as a node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where balancers call; port 0 takes a free one.
    pub(crate) addr: SocketAddr,
    /// The same as others reach it.
    pub(crate) advertise_addr: Option<String>,
    /// Its name in the cluster.
    pub(crate) name: NodeId,
    /// Most workers of all pools together.
    pub(crate) workers_max: u32,
    /// Threads that serve links, at least one.
    pub(crate) threads: usize,
}

/// Where durable things are kept.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In files of this process.
    Embedded {
        /// The directory; may not exist yet.
        path: PathBuf,
    },
    /// In a Redis server that several processes share.
    Redis {
        /// Its address.
        url: RedisUrl,
    },
}

/// Logs and traces.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    /// Base URL of an OTLP/HTTP collector, if spans are exported.
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of requests whose spans are exported, 0 to 1.
    pub(crate) sample_ratio: f64,
    /// A request that takes longer is exported whatever the ratio.
    pub(crate) slow: Duration,
    /// Form of log lines.
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or levels of modules.
    pub(crate) log_level: String,
}

/// What the controller learns and keeps.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Time zone whose hours of the week are learned.
    pub(crate) time_zone: String,
    /// Seconds of pattern time in a second.
    pub(crate) pattern_speed: u32,
    /// Hours of history in memory.
    pub(crate) history_h: u32,
    /// Where decisions are logged, and how much of them.
    pub(crate) decision_log: DecisionLogConfig,
}

/// Who starts and stops nodes, and how many there may be.
#[derive(Clone, Debug)]
pub(crate) struct Provisioner {
    /// Who does it.
    pub(crate) by: Provisions,
    /// Fewest nodes that it holds.
    pub(crate) nodes_min: u32,
    /// Most nodes that it holds, at least `nodes_min`.
    pub(crate) nodes_max: u32,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// A node that has not been needed for so long is given up.
    pub(crate) idle: Duration,
    /// The file that configures this process, for nodes that it starts.
    pub(crate) config_file: Option<PathBuf>,
}

/// Who starts and stops nodes.
#[derive(Clone, Debug)]
pub(crate) enum Provisions {
    /// Somebody else.
    Nobody,
    /// The controller, as processes of its machine.
    Processes,
    /// Kubernetes.
    Workload {
        /// Namespace of the workload.
        namespace: String,
        /// What is scaled.
        workload: tidepool_provisioner::Workload,
        /// Selects its pods, if they may be read.
        pod_selector: Option<String>,
    },
    /// The Docker engine of the controller's machine.
    Containers(NodeContainers),
}

/// Nodes as containers.
#[derive(Clone, Debug)]
pub(crate) struct NodeContainers {
    /// Image of a node.
    pub(crate) image: String,
    /// Network that nodes join.
    pub(crate) network: String,
    /// Most memory of a node; 0 is no limit.
    pub(crate) memory_bytes: i64,
    /// Cores of a node in thousandths; 0 is no limit.
    pub(crate) cpu_millis: i64,
    /// Every file that the configuration names and is read at start, by its key.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
    /// Whether nodes get to know the token of operators.
    pub(crate) has_operator_token: bool,
}

/// The workers of one or more kinds.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Its name.
    pub(crate) name: PoolName,
    /// What its workers answer; at least one kind.
    pub(crate) kinds: Vec<Kind>,
    /// Fewest workers.
    pub(crate) min: u32,
    /// Most workers, at least one.
    pub(crate) max: u32,
    /// Concurrent places in each worker; absent takes what suits the kind.
    pub(crate) slots: Option<u32>,
    /// Longest wait for a worker that is still good.
    pub(crate) slo: Duration,
    /// How it is sized.
    pub(crate) policy: PolicyKind,
    /// What decides beside it, without effect.
    pub(crate) shadows: Vec<Rule>,
    /// Least time between a change and a retirement.
    pub(crate) cooldown: Duration,
    /// Worker-hours that it may cost in an hour, if that is capped.
    pub(crate) spend_worker_h: Option<u32>,
    /// Most requests that may wait.
    pub(crate) queue_len_max: usize,
    /// Most bytes of bodies that may wait.
    pub(crate) queue_bytes_max: usize,
    /// Deadline of a request that names none.
    pub(crate) deadline: Duration,
}

/// Valid settings and where they came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What the program works with.
    pub(crate) settings: Settings,
    /// The same as keys and values, for `config show`.
    pub(crate) effective: Effective,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, InvalidSettings> {
    let layers = layers::merge(inputs).map_err(InvalidSettings)?;
    let mut faults = Vec::new();
    let tree = structure::conform(&layers, &mut faults);
    let mut raw = read_raw(tree, &mut faults);
    pools::complete(&mut raw.pools);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = validate::Validation::new(&layers, &mut faults).settings(&raw, cores);
    match settings {
        Some(settings) if faults.is_empty() => Ok(Loaded {
            settings,
            effective: Effective::new(raw, layers.origins),
            file: layers.file,
        }),
        _ => Err(InvalidSettings(faults)),
    }
}

/// What conforms to the schema can be read: the schema is derived from the very same types.
fn read_raw(tree: serde_json::Value, faults: &mut Vec<Fault>) -> RawSettings {
    serde_json::from_value(tree).unwrap_or_else(|_| {
        faults.push(Fault {
            key: String::new(),
            value: None,
            origin: None,
            problem: "the configuration fits its schema but cannot be read; please report this"
                .to_owned(),
        });
        RawSettings::default()
    })
}
