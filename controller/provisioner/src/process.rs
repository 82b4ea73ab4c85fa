//! Nodes as processes of this machine.
//!
//! Nodes outlive the controller that started them: they go on serving, and the next leader finds them by
//! a mark in their environment (see `procfs`). Ending them with their parent (`PR_SET_PDEATHSIG`) would
//! turn every restart of a controller into an outage. Each node leads a process group of its own, so
//! that a signal to the controller's terminal does not reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tidepool_core::NodeId;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::plan::{Limits, Plan, StartLimit, plan};
use crate::port::{
    Desired, Environment, MayAct, Outcome, ProvisionError, Provisioner, Sighting, check,
};
use crate::procfs::{self, Marked};

/// Names the cluster and the node in a node's environment. No setting of ours begins like this.
const MARK: &str = "PROVISIONED_BY_TIDEPOOL";
/// A node that ends sooner than this counts as a failed start.
const STEADY: Duration = Duration::from_secs(10);

/// How nodes are started.
pub struct ProcessConfig {
    /// The cluster; nodes of others are left alone.
    pub cluster: String,
    /// Beginning of the names of nodes.
    pub prefix: String,
    /// The program, such as this one.
    pub program: PathBuf,
    /// Its arguments. They are visible to everybody on the machine: nothing secret.
    pub arguments: Vec<String>,
    /// What to add to the environment of a node; secrets may be here.
    pub environment: Environment,
    /// Milliseconds that a node gets to end by itself.
    pub grace_ms: u64,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for ProcessConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cluster,
            prefix,
            program,
            grace_ms,
            limits,
            ..
        } = self;
        write!(
            f,
            "{cluster}/{prefix}: {} ({grace_ms} ms, {limits:?})",
            program.display()
        )
    }
}

/// Starts and stops processes.
#[derive(Debug)]
pub struct Processes {
    config: ProcessConfig,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What this provisioner started itself, to be reaped.
    children: BTreeMap<NodeId, (Child, Instant)>,
    /// When a node was told to end.
    stopping: BTreeMap<NodeId, Instant>,
    starts: StartLimit,
    failed_starts: u64,
}

impl Processes {
    /// Nothing is started or stopped until [`Provisioner::set`] is called.
    #[must_use]
    pub fn new(config: ProcessConfig) -> Self {
        Self {
            config,
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn look(&self, state: &mut State) -> Result<BTreeMap<NodeId, Marked>, ProvisionError> {
        let found = tokio::task::spawn_blocking(|| procfs::marked(MARK))
            .await
            .map_err(|error| failed("looking at processes", error))?
            .map_err(|error| failed("looking at processes", error))?;
        let of_ours = |marked: Marked| {
            let (cluster, name) = marked.value.split_once('/')?;
            let name = NodeId::new(name).ok()?;
            (cluster == self.config.cluster).then_some((name, marked))
        };
        let found: BTreeMap<_, _> = found.into_iter().filter_map(of_ours).collect();
        self.reap(state);
        state.stopping.retain(|name, _| found.contains_key(name));
        Ok(found)
    }

    fn reap(&self, state: &mut State) {
        let now_ms = self.now_ms();
        let State {
            children,
            stopping,
            starts,
            failed_starts,
        } = state;
        children.retain(|name, (child, since)| match child.try_wait() {
            Ok(None) => {
                if since.elapsed() >= STEADY {
                    starts.succeeded();
                }
                true
            }
            Ok(Some(status)) => {
                if !stopping.contains_key(name) && since.elapsed() < STEADY {
                    tracing::warn!(node = %name, %status, "a node ended soon after its start");
                    starts.failed(now_ms);
                    *failed_starts += 1;
                }
                false
            }
            Err(_) => false,
        });
    }

    fn start(&self, state: &mut State, name: &NodeId) -> Result<(), ProvisionError> {
        let config = &self.config;
        let child = Command::new(&config.program)
            .args(&config.arguments)
            .envs((config.environment)(name))
            .env(MARK, format!("{}/{name}", config.cluster))
            .stdin(Stdio::null())
            // What it says of itself is nothing that a reader of the controller's output asked for,
            // and must not end the node when that reader has gone. Its log goes where the
            // controller's goes.
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        match child {
            Ok(child) => {
                state.starts.started(1, self.now_ms());
                state.children.insert(name.clone(), (child, Instant::now()));
                Ok(())
            }
            Err(error) => {
                state.starts.failed(self.now_ms());
                state.failed_starts += 1;
                Err(ProvisionError::Start {
                    name: name.clone(),
                    why: error.to_string(),
                })
            }
        }
    }

    /// Ends for good what had its grace.
    fn kill_late(
        &self,
        state: &State,
        found: &BTreeMap<NodeId, Marked>,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        let grace = Duration::from_millis(self.config.grace_ms);
        let late = state
            .stopping
            .iter()
            .filter(|(_, since)| since.elapsed() >= grace);
        for marked in late.filter_map(|(name, _)| found.get(name)) {
            check(may_act)?;
            marked
                .kill()
                .map_err(|error| failed("ending a node", error))?;
        }
        Ok(())
    }

    fn carry_out(
        &self,
        state: &mut State,
        found: &BTreeMap<NodeId, Marked>,
        plan: &Plan,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        for name in &plan.stop {
            if let Some(marked) = found.get(name) {
                check(may_act)?;
                marked
                    .ask_to_end()
                    .map_err(|error| failed("asking a node to end", error))?;
                state.stopping.insert(name.clone(), Instant::now());
            }
        }
        plan.start.iter().try_for_each(|name| {
            check(may_act)?;
            self.start(state, name)
        })
    }
}

fn failed(what: &'static str, why: impl std::fmt::Display) -> ProvisionError {
    ProvisionError::Failed {
        what,
        why: why.to_string(),
    }
}

fn sighting(state: &State, found: &BTreeMap<NodeId, Marked>) -> Sighting {
    // A child between its start and its new environment is not found yet, and exists.
    let names: BTreeSet<_> = found.keys().chain(state.children.keys()).collect();
    let is_stopping = |name: &NodeId| state.stopping.contains_key(name);
    Sighting::by_name(names.into_iter().cloned(), is_stopping, state.failed_starts)
}

impl Provisioner for Processes {
    async fn observe(&self) -> Result<Sighting, ProvisionError> {
        let mut state = self.state.lock().await;
        let found = self.look(&mut state).await?;
        Ok(sighting(&state, &found))
    }

    async fn set(&self, desired: &Desired, may_act: MayAct<'_>) -> Result<Outcome, ProvisionError> {
        let mut state = self.state.lock().await;
        let found = self.look(&mut state).await?;
        let limits = &self.config.limits;
        let allowed = state
            .starts
            .allowed(limits.starts_per_minute, self.now_ms());
        let seen = sighting(&state, &found);
        let plan = plan(&seen, desired, limits, &self.config.prefix, allowed);
        if limits.dry_run {
            return Ok(if plan.is_empty() {
                Outcome::Unchanged
            } else {
                Outcome::Would(plan)
            });
        }
        self.kill_late(&state, &found, may_act)?;
        if plan.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        self.carry_out(&mut state, &found, &plan, may_act)?;
        Ok(Outcome::Changed(plan))
    }
}
