//! The configuration as it is written: names, types, bounds and defaults of every key.
//!
//! The JSON Schema derived from these types is what `config schema` prints and what
//! [`super::structure`] checks against, so that a key is described in one place only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::{RedisUrl, Secret};

/// Configuration of Tidepool. Flags win over `TIDEPOOL_SECTION__KEY` environment variables,
/// those over the file, and that over the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "tidepool.toml")]
pub(crate) struct RawSettings {
    /// The two HTTP listeners: clients and operators.
    pub(crate) http: RawHttp,
    /// What balancers and nodes of one cluster share.
    pub(crate) cluster: RawCluster,
    /// This process as a node: where balancers call it, and how much it may run.
    pub(crate) node: RawNode,
    /// The listener for KEDA.
    pub(crate) keda: RawKeda,
    /// Where durable things are kept.
    pub(crate) store: RawStore,
    /// Logs and traces.
    pub(crate) telemetry: RawTelemetry,
    /// What the controller learns and keeps.
    pub(crate) controller: RawController,
    /// Who starts and stops nodes.
    pub(crate) provisioner: RawProvisioner,
    /// Pools by name. A built-in kind that no pool lists has a pool of its own name.
    pub(crate) pools: BTreeMap<String, RawPool>,
}

/// The two HTTP listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawHttp {
    /// Address that clients call, `IP:PORT`. Port 0 takes a free one. Anything but loopback
    /// needs a token.
    pub(crate) api_addr: String,
    /// Address that operators call, `IP:PORT`. Port 0 takes a free one. Anything but loopback
    /// needs a token.
    pub(crate) operator_addr: String,
    /// The same as others reach it, `HOST:PORT`, which is told to operators and other processes. Unset
    /// is `http.operator_addr`; where that is every interface, the host of `node.advertise_addr` or the
    /// name of the machine.
    #[schemars(length(min = 1))]
    pub(crate) operator_advertise_addr: Option<String>,
    /// Threads that serve clients; 0 takes half of the cores, at least one.
    #[schemars(range(max = 1024))]
    pub(crate) threads: u32,
    /// Largest accepted request body in bytes.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub(crate) max_body_bytes: u64,
    /// Longest time that reading a request body may take, in milliseconds.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub(crate) body_read_timeout_ms: u64,
    /// Most open connections of clients.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_connections: u32,
    /// Longest time that reading a request head may take, in milliseconds.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub(crate) request_head_timeout_ms: u64,
    /// How long an idle connection is kept, in seconds; 0 closes it after one answer.
    #[schemars(range(max = 86_400))]
    pub(crate) keep_alive_s: u64,
    /// How long a stop waits for running requests, in seconds.
    #[schemars(range(max = 86_400))]
    pub(crate) shutdown_grace_s: u64,
    /// Most requests for kinds that one caller may send in a minute; unset bounds nobody. Whoever
    /// sends the API token is one caller, else an address is.
    #[schemars(range(min = 1, max = 6_000_000))]
    pub(crate) quota_per_minute: Option<u32>,
    /// Most of them at once, after a pause; unset is the same as `quota_per_minute`.
    #[schemars(range(min = 1, max = 6_000_000))]
    pub(crate) quota_burst: Option<u32>,
    /// Token that clients send as `Authorization: Bearer`. Prefer `api_token_file`.
    pub(crate) api_token: Option<Secret>,
    /// File that holds the token of clients; read at start.
    #[schemars(length(min = 1))]
    pub(crate) api_token_file: Option<String>,
    /// Token that operators send as `Authorization: Bearer`. Prefer `operator_token_file`.
    pub(crate) operator_token: Option<Secret>,
    /// File that holds the token of operators; read at start.
    #[schemars(length(min = 1))]
    pub(crate) operator_token_file: Option<String>,
}

impl Default for RawHttp {
    fn default() -> Self {
        Self {
            api_addr: "127.0.0.1:8700".to_owned(),
            operator_addr: "127.0.0.1:8701".to_owned(),
            operator_advertise_addr: None,
            threads: 0,
            max_body_bytes: 8 * 1024 * 1024,
            body_read_timeout_ms: 10_000,
            max_connections: 10_000,
            request_head_timeout_ms: 5_000,
            keep_alive_s: 75,
            shutdown_grace_s: 30,
            quota_per_minute: None,
            quota_burst: None,
            api_token: None,
            api_token_file: None,
            operator_token: None,
            operator_token_file: None,
        }
    }
}

/// What balancers and nodes of one cluster share. A single process needs none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCluster {
    /// Secret by which balancers and nodes know each other, at least 16 bytes; needed unless all of
    /// them are on this machine. Prefer `secret_file`.
    pub(crate) secret: Option<Secret>,
    /// File that holds the secret; read at start.
    #[schemars(length(min = 1))]
    pub(crate) secret_file: Option<String>,
    /// The secret before this one, while it is replaced: processes that know only that one are
    /// spoken to as well. Prefer `previous_secret_file`.
    pub(crate) previous_secret: Option<Secret>,
    /// File that holds the secret before this one; read at start.
    #[schemars(length(min = 1))]
    pub(crate) previous_secret_file: Option<String>,
    /// Nodes that a balancer calls, `HOST:PORT` each, instead of those that the store knows.
    pub(crate) nodes: Vec<String>,
    /// A name whose addresses are those of the nodes, `HOST:PORT`, such as that of a headless
    /// service; instead of those that the store knows.
    #[schemars(length(min = 1))]
    pub(crate) nodes_dns: Option<String>,
    /// Certificate of this process (PEM) for links under mutual TLS.
    #[schemars(length(min = 1))]
    pub(crate) tls_cert_file: Option<String>,
    /// Key of the certificate (PEM).
    #[schemars(length(min = 1))]
    pub(crate) tls_key_file: Option<String>,
    /// Authority that has signed the certificates of all processes of the cluster (PEM).
    #[schemars(length(min = 1))]
    pub(crate) tls_ca_file: Option<String>,
    /// Name that the certificates of all nodes hold, for links under TLS; unset is the host by which
    /// a node is called, which few certificates name when nodes come and go.
    #[schemars(length(min = 1))]
    pub(crate) tls_peer_name: Option<String>,
}

/// This process as a node: where balancers call it, and how much it may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawNode {
    /// Address that balancers call, `IP:PORT`. Port 0 takes a free one. Anything but loopback
    /// needs `cluster.secret`.
    pub(crate) addr: String,
    /// The same as others reach it, `HOST:PORT`; unset is `node.addr`.
    #[schemars(length(min = 1))]
    pub(crate) advertise_addr: Option<String>,
    /// Name of this process in its cluster, also if it is no node; unset is the name of the machine
    /// and the number of the process.
    #[schemars(length(min = 1))]
    pub(crate) name: Option<String>,
    /// Most workers that this node runs, of all pools together; 0 is 16 for each core.
    #[schemars(range(max = 100_000))]
    pub(crate) workers_max: u32,
    /// Threads that serve links; 0 takes half of the cores, at least one.
    #[schemars(range(max = 1024))]
    pub(crate) threads: u32,
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:8702".to_owned(),
            advertise_addr: None,
            name: None,
            workers_max: 0,
            threads: 0,
        }
    }
}

/// The listener for KEDA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawKeda {
    /// Address of the external scaler (gRPC) that KEDA calls, `IP:PORT`; without it there is none.
    /// Port 0 takes a free one. Callers show the operator token where there is one, and anything
    /// but loopback needs one.
    #[schemars(length(min = 1))]
    pub(crate) addr: Option<String>,
}

/// Where durable things are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawStore {
    /// The back end.
    pub(crate) kind: StoreKind,
    /// Directory of the embedded store; made when missing.
    #[schemars(length(min = 1))]
    pub(crate) path: String,
    /// Address of Redis, such as `redis://127.0.0.1:6379/0`; needed when `kind` is `redis`.
    /// `REDIS_URL` sets it too. Prefer `redis_url_file` where it holds a password.
    pub(crate) redis_url: Option<RedisUrl>,
    /// File that holds the address of Redis; read at start.
    #[schemars(length(min = 1))]
    pub(crate) redis_url_file: Option<String>,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            path: "./.tidepool".to_owned(),
            redis_url: None,
            redis_url_file: None,
        }
    }
}

/// The back end of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// Files of this process.
    Embedded,
    /// A Redis server that several processes share.
    Redis,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    /// Base URL of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`; without it nothing is
    /// exported. `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too.
    #[schemars(length(min = 1))]
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of requests whose spans are exported, 0 to 1, besides failed and slow ones and those
    /// whose caller decided. Unset: 1 with a collector, 0 without.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) sample_ratio: Option<f64>,
    /// A request that takes longer is exported whatever the ratio, in milliseconds.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub(crate) slow_ms: u64,
    /// Form of log lines.
    pub(crate) log_format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; also for single modules, as in
    /// `info,tidepool_balancer=debug`.
    #[schemars(length(min = 1))]
    pub(crate) log_level: String,
}

impl Default for RawTelemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: None,
            slow_ms: 1_000,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

/// Form of log lines.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The name in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What the controller learns and keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawController {
    /// Time zone whose hours of the week are learned, an IANA name such as `Europe/Berlin`.
    #[schemars(length(min = 1))]
    pub(crate) time_zone: String,
    /// Seconds that go by for the learned pattern in a second. Above 1 for demonstrations and tests
    /// only: time then begins on a Monday's midnight, and what is learned is neither kept nor loaded.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) pattern_speed: u32,
    /// Hours that `GET /v1/series` goes back.
    #[schemars(range(min = 1, max = 168))]
    pub(crate) history_h: u32,
    /// Most bytes of the decision log, in `store.path`; 0 turns it off.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(crate) decision_log_bytes: u64,
}

impl Default for RawController {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            pattern_speed: 1,
            history_h: 24,
            decision_log_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Who starts and stops nodes, and how many there may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawProvisioner {
    /// Who does it.
    pub(crate) kind: ProvisionerKind,
    /// Fewest nodes that it holds.
    #[schemars(range(max = 10_000))]
    pub(crate) nodes_min: u32,
    /// Most nodes that it holds.
    #[schemars(range(max = 10_000))]
    pub(crate) nodes_max: u32,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// A node that has not been needed for so long is given up, in seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub(crate) idle_s: u64,
    /// Kubernetes: namespace of the workload; unset is `default`.
    #[schemars(length(min = 1))]
    pub(crate) namespace: Option<String>,
    /// Kubernetes: what is scaled, `statefulset/NAME` or `deployment/NAME`.
    #[schemars(length(min = 1))]
    pub(crate) workload: Option<String>,
    /// Kubernetes: selects its pods, such as `app=tidepool-node`; without it pods are not read.
    #[schemars(length(min = 1))]
    pub(crate) pod_selector: Option<String>,
    /// Docker: image of a node, which has to be there.
    #[schemars(length(min = 1))]
    pub(crate) image: Option<String>,
    /// Docker: network that nodes join, the one of Redis and the balancers.
    #[schemars(length(min = 1))]
    pub(crate) network: Option<String>,
    /// Docker: most memory of a node, in bytes; unset is no limit.
    #[schemars(range(min = 16_777_216, max = 1_099_511_627_776_u64))]
    pub(crate) memory_bytes: Option<u64>,
    /// Docker: cores that a node may use, such as `1.5`; unset is no limit.
    #[schemars(range(min = 0.01, max = 1024.0))]
    pub(crate) cpus: Option<f64>,
}

impl Default for RawProvisioner {
    fn default() -> Self {
        Self {
            kind: ProvisionerKind::None,
            nodes_min: 0,
            nodes_max: 8,
            dry_run: false,
            idle_s: 300,
            namespace: None,
            workload: None,
            pod_selector: None,
            image: None,
            network: None,
            memory_bytes: None,
            cpus: None,
        }
    }
}

/// Who starts and stops nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProvisionerKind {
    /// Somebody else; events tell how many nodes are missing.
    None,
    /// The controller, as processes of its machine.
    Process,
    /// Kubernetes; the controller says how many.
    Kubernetes,
    /// The Docker engine of the controller's machine.
    Docker,
}

/// The workers of one or more kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPool {
    /// Kinds that its workers answer; a pool named like a kind answers that one unless told.
    pub(crate) kinds: Vec<String>,
    /// Fewest workers.
    #[schemars(range(max = 10_000))]
    pub(crate) min: u32,
    /// Most workers; 0 turns the pool off.
    #[schemars(range(max = 10_000))]
    pub(crate) max: u32,
    /// Concurrent places in each worker; unset takes what suits the kind.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) slots: Option<u32>,
    /// Objective for the time from arrival to answer, in milliseconds. The pool grows so that what the
    /// work leaves of it is enough to wait for a worker. A request that would wait for longer than all
    /// of it is refused once nobody finds a free slot any more.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub(crate) slo_ms: u64,
    /// How the pool is sized.
    pub(crate) policy: PolicyKind,
    /// Policies that decide beside it without effect, at most four; `explain` tells what they want.
    pub(crate) shadow: Vec<String>,
    /// Least time between a change and a retirement, in seconds.
    #[schemars(range(max = 86_400))]
    pub(crate) cooldown_s: u64,
    /// Worker-hours that it may cost in an hour, up to an hour's worth of them saved for bursts; unset
    /// is no cap. `min` and a pin are obeyed whatever they cost.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) spend_worker_h: Option<u32>,
    /// Most requests that may wait.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) queue_len: u32,
    /// Most bytes of request bodies that may wait.
    #[schemars(range(min = 1024, max = 68_719_476_736_u64))]
    pub(crate) queue_bytes: u64,
    /// Deadline of a request that names none, in milliseconds.
    #[schemars(range(min = 1, max = 600_000))]
    pub(crate) deadline_ms: u64,
}

impl Default for RawPool {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            min: 1,
            max: 8,
            slots: None,
            slo_ms: 1_000,
            policy: PolicyKind::Tidepool,
            shadow: Vec::new(),
            cooldown_s: 15,
            spend_worker_h: None,
            queue_len: 1_024,
            queue_bytes: 64 * 1024 * 1024,
            deadline_ms: 30_000,
        }
    }
}

/// How a pool is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PolicyKind {
    /// By what is needed now and when a worker started now would be ready.
    Tidepool,
    /// By mean utilisation: one more at 80 %, one less at 30 %.
    Threshold,
}
