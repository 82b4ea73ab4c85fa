//! Nodes as containers of this machine's Docker engine.
//!
//! Containers carry the cluster, the node's name and the epoch of the leader that started them as labels,
//! so that the next leader finds them. Secrets are files that are mounted read-only, never variables,
//! labels or arguments, which `docker inspect` shows.

mod last_words;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig, Mount, MountType,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};
use tidepool_core::NodeId;
use tokio::sync::Mutex;

use self::last_words::LastWords;
use crate::plan::{Limits, Plan, StartLimit, plan};
use crate::port::{
    Desired, Environment, MayAct, Outcome, ProvisionError, Provisioner, Sighting, check,
};

const CLUSTER: &str = "io.tidepool.cluster";
const NODE: &str = "io.tidepool.node";
const EPOCH: &str = "io.tidepool.epoch";
/// Longest time of one request to the engine, in seconds.
const REQUEST_S: u64 = 10;
/// Longest time of a call, in milliseconds.
const CALL_MS: u64 = 30_000;
/// Most processes and threads of a node.
const PIDS_MAX: i64 = 512;
/// What a node may write besides its data, in memory.
const SCRATCH: (&str, &str) = ("/tmp", "size=64m,mode=1777");

/// How containers are started.
pub struct ContainerConfig {
    /// Path of the engine's socket.
    pub socket: String,
    /// The cluster; containers of others are left alone.
    pub cluster: String,
    /// Beginning of the names of nodes.
    pub prefix: String,
    /// Epoch of the leader that starts them.
    pub epoch: u64,
    /// Image, which has to be there: nothing is pulled.
    pub image: String,
    /// Network that they join; others reach them there by their names.
    pub network: String,
    /// Command, if not the image's own. Nothing secret.
    pub command: Vec<String>,
    /// Variables of a node. Nothing secret.
    pub environment: Environment,
    /// Files of this machine, such as secrets, and where a node reads them.
    pub mounts: Vec<(String, String)>,
    /// Most memory of a node in bytes; 0 is no limit.
    pub memory_bytes: i64,
    /// Cores of a node in thousandths; 0 is no limit.
    pub cpu_millis: i64,
    /// Seconds that a node gets to end by itself.
    pub grace_s: i64,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for ContainerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cluster,
            prefix,
            image,
            limits,
            ..
        } = self;
        write!(f, "{cluster}/{prefix}: {image} ({limits:?})")
    }
}

/// Starts and stops containers.
#[derive(Debug)]
pub struct Containers {
    config: ContainerConfig,
    engine: Docker,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    starts: StartLimit,
    failed_starts: u64,
    /// When a node was told to end.
    stopping: HashMap<NodeId, Instant>,
    /// Containers whose own end was told, until they are gone.
    ended: HashSet<String>,
}

/// A container of ours.
struct Found {
    name: NodeId,
    id: String,
    is_running: bool,
}

impl Containers {
    /// Opens the engine's socket; nothing is asked of it yet.
    ///
    /// # Errors
    /// When there is no such socket.
    pub fn new(config: ContainerConfig) -> Result<Self, ProvisionError> {
        let engine = Docker::connect_with_unix(&config.socket, REQUEST_S, API_DEFAULT_VERSION)
            .map_err(|error| told("opening Docker's socket", &error))?;
        Ok(Self {
            config,
            engine,
            began: Instant::now(),
            state: Mutex::default(),
        })
    }

    /// Speaks the older of the engine's version and ours.
    async fn engine(&self) -> Result<Docker, ProvisionError> {
        let engine = self.engine.clone().negotiate_version().await;
        engine.map_err(|error| told("asking Docker for its version", &error))
    }

    async fn found(&self, engine: &Docker) -> Result<Vec<Found>, ProvisionError> {
        let label = format!("{CLUSTER}={}", self.config.cluster);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&HashMap::from([("label".to_owned(), vec![label])]))
            .build();
        let listed = engine.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| told("listing containers", &error))?;
        Ok(listed.into_iter().filter_map(found).collect())
    }

    fn body(&self, name: &NodeId) -> ContainerCreateBody {
        let config = &self.config;
        let environment = (config.environment)(name).into_iter();
        let labels = [
            (CLUSTER, config.cluster.clone()),
            (NODE, name.to_string()),
            (EPOCH, config.epoch.to_string()),
        ];
        // Not as `Binds`: for those the engine makes an empty folder of what is not there.
        let read_only = |(here, there): &(String, String)| Mount {
            typ: Some(MountType::BIND),
            source: Some(here.clone()),
            target: Some(there.clone()),
            read_only: Some(true),
            ..Mount::default()
        };
        ContainerCreateBody {
            image: Some(config.image.clone()),
            hostname: Some(name.to_string()),
            cmd: (!config.command.is_empty()).then(|| config.command.clone()),
            env: Some(
                environment
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect(),
            ),
            labels: Some(
                labels
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            ),
            host_config: Some(HostConfig {
                mounts: Some(config.mounts.iter().map(read_only).collect()),
                network_mode: Some(config.network.clone()),
                memory: (config.memory_bytes > 0).then_some(config.memory_bytes),
                nano_cpus: (config.cpu_millis > 0).then_some(config.cpu_millis * 1_000_000),
                readonly_rootfs: Some(true),
                tmpfs: Some(HashMap::from([(
                    SCRATCH.0.to_owned(),
                    SCRATCH.1.to_owned(),
                )])),
                pids_limit: Some(PIDS_MAX),
                init: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn start(
        &self,
        engine: &Docker,
        name: &NodeId,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        let full = format!("{}-{name}", self.config.cluster);
        let options = CreateContainerOptionsBuilder::new().name(&full).build();
        let start = |error: Error| match error {
            Error::DockerResponseServerError {
                status_code: 404,
                message,
            } => ProvisionError::Absent(format!("{} ({message})", self.config.image)),
            error => ProvisionError::Start {
                name: name.clone(),
                why: error.to_string(),
            },
        };
        check(may_act)?;
        let created = engine
            .create_container(Some(options), self.body(name))
            .await
            .map_err(start)?;
        check(may_act)?;
        engine
            .start_container(&created.id, None)
            .await
            .map_err(start)
    }

    async fn remove(&self, engine: &Docker, found: &Found) -> Result<(), ProvisionError> {
        // The volumes that the image declares are nobody's once the container is gone.
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match engine.remove_container(&found.id, Some(options)).await {
            // Somebody else removes it, or has.
            Ok(())
            | Err(Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            Err(error) => Err(told("removing a container", &error)),
        }
    }

    /// Clears away what has ended, and what was told to and did not.
    async fn sweep(
        &self,
        engine: &Docker,
        state: &mut State,
        all: &mut Vec<Found>,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        let grace = Duration::from_secs(u64::try_from(self.config.grace_s).unwrap_or(0));
        let mut kept = Vec::with_capacity(all.len());
        for found in all.drain(..) {
            let since = state.stopping.get(&found.name);
            let is_late = since.is_some_and(|since| since.elapsed() >= grace);
            if found.is_running && !is_late {
                kept.push(found);
                continue;
            }
            if since.is_none() && state.ended.insert(found.id.clone()) {
                tell_end(engine, &found).await;
                state.starts.failed(self.now_ms());
                state.failed_starts += 1;
            }
            check(may_act)?;
            self.remove(engine, &found).await?;
            state.ended.remove(&found.id);
        }
        *all = kept;
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn carry_out(
        &self,
        engine: &Docker,
        state: &mut State,
        (all, plan): (&[Found], &Plan),
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        for found in all.iter().filter(|found| plan.stop.contains(&found.name)) {
            // A signal and no wait: draining takes as long as the grace.
            let options = bollard::query_parameters::KillContainerOptionsBuilder::new()
                .signal("SIGTERM")
                .build();
            check(may_act)?;
            match engine.kill_container(&found.id, Some(options)).await {
                Ok(())
                | Err(Error::DockerResponseServerError {
                    status_code: 404 | 409,
                    ..
                }) => {}
                Err(error) => return Err(told("asking a container to end", &error)),
            }
            state.stopping.insert(found.name.clone(), Instant::now());
        }
        for name in &plan.start {
            state.starts.started(1, self.now_ms());
            if let Err(error) = self.start(engine, name, may_act).await {
                if matches!(error, ProvisionError::Deposed) {
                    return Err(error);
                }
                state.starts.failed(self.now_ms());
                state.failed_starts += 1;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn reconcile(
        &self,
        desired: &Desired,
        may_act: MayAct<'_>,
    ) -> Result<Outcome, ProvisionError> {
        let mut state = self.state.lock().await;
        let engine = self.engine().await?;
        let mut all = self.found(&engine).await?;
        let limits = &self.config.limits;
        if !limits.dry_run {
            self.sweep(&engine, &mut state, &mut all, may_act).await?;
        }
        state
            .stopping
            .retain(|name, _| all.iter().any(|found| found.name == *name));
        let allowed = state
            .starts
            .allowed(limits.starts_per_minute, self.now_ms());
        let seen = sighting(&state, &all);
        let plan = plan(&seen, desired, limits, &self.config.prefix, allowed);
        if plan.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        if limits.dry_run {
            return Ok(Outcome::Would(plan));
        }
        self.carry_out(&engine, &mut state, (&all, &plan), may_act)
            .await?;
        Ok(Outcome::Changed(plan))
    }
}

/// Tells how a container ended that nobody had told to.
async fn tell_end(engine: &Docker, found: &Found) {
    let LastWords {
        exit_code,
        is_out_of_memory,
        error,
        said,
    } = LastWords::of(engine, &found.id).await;
    let node = &found.name;
    tracing::warn!(%node, exit_code, is_out_of_memory, error, said, "a container ended by itself");
}

fn found(container: ContainerSummary) -> Option<Found> {
    let name = NodeId::new(container.labels?.get(NODE)?).ok()?;
    let state = container.state?;
    let is_running = matches!(
        state,
        ContainerSummaryStateEnum::RUNNING
            | ContainerSummaryStateEnum::RESTARTING
            | ContainerSummaryStateEnum::PAUSED
    );
    Some(Found {
        name,
        id: container.id?,
        is_running,
    })
}

fn sighting(state: &State, all: &[Found]) -> Sighting {
    let names = all.iter().map(|found| found.name.clone());
    let is_stopping = |name: &NodeId| state.stopping.contains_key(name);
    Sighting::by_name(names, is_stopping, state.failed_starts)
}

fn told(what: &'static str, error: &Error) -> ProvisionError {
    ProvisionError::Failed {
        what,
        why: error.to_string(),
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<T, ProvisionError> {
    let late = ProvisionError::Late {
        what: "Docker",
        limit_ms: CALL_MS,
    };
    tokio::time::timeout(Duration::from_millis(CALL_MS), call)
        .await
        .unwrap_or(Err(late))
}

impl Provisioner for Containers {
    async fn observe(&self) -> Result<Sighting, ProvisionError> {
        in_time(async {
            let state = self.state.lock().await;
            let all = self.found(&self.engine().await?).await?;
            Ok(sighting(&state, &all))
        })
        .await
    }

    async fn set(&self, desired: &Desired, may_act: MayAct<'_>) -> Result<Outcome, ProvisionError> {
        in_time(self.reconcile(desired, may_act)).await
    }
}
