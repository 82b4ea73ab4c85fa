//! Nodes as the replicas of one Deployment or StatefulSet.
//!
//! Only the `scale` subresource is read and patched: Kubernetes places, starts and restarts, Tidepool
//! says how many. The patch carries the version that was read, so that two writers cannot overlook each
//! other. A StatefulSet gives up its highest ordinal, so that one alone is offered for removal; of a
//! Deployment the drained pods are marked as the cheapest to delete, where that is allowed.

mod api;

use std::time::Duration;

use kube::Client;
use tidepool_core::NodeId;
use tidepool_placement::Removal;
use tokio::sync::Mutex;

use crate::plan::{Limits, Plan, StartLimit};
use crate::port::{
    Desired, MayAct, ObservedNode, ObservedState, Outcome, ProvisionError, Provisioner, Sighting,
};
use api::{Api, Replicas};

/// Longest time of a call, repetitions included.
const CALL_MS: u64 = 10_000;

/// What is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// Pods with random names.
    Deployment,
    /// Pods with numbers.
    StatefulSet,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl std::str::FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = [
            ("deployment", WorkloadKind::Deployment),
            ("statefulset", WorkloadKind::StatefulSet),
        ];
        let found = text.split_once('/').and_then(|(kind, name)| {
            let (_, kind) = kinds.into_iter().find(|(word, _)| *word == kind)?;
            (!name.is_empty()).then(|| Self {
                kind,
                name: name.to_owned(),
            })
        });
        found.ok_or_else(|| format!("'{text}' is not like 'statefulset/NAME' or 'deployment/NAME'"))
    }
}

/// What to scale, and how far.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// Its namespace.
    pub namespace: String,
    /// The workload.
    pub workload: Workload,
    /// Selects its pods, such as `app=tidepool-node`; without it pods are not read.
    pub pod_selector: Option<String>,
    /// Bounds.
    pub limits: Limits,
}

/// Scales a workload.
#[derive(Debug)]
pub struct Kubernetes {
    api: Api,
    config: KubernetesConfig,
    began: std::time::Instant,
    starts: Mutex<StartLimit>,
}

impl Kubernetes {
    /// With the identity of the pod that this runs in, or of the user's configuration.
    ///
    /// # Errors
    /// When there is neither.
    pub async fn connect(config: KubernetesConfig) -> Result<Self, ProvisionError> {
        let server = kube::Config::infer().await.map_err(not_found)?;
        Self::to(server, config)
    }

    /// At a server that is known. What it does not do at once is repeated here, and not by the client
    /// underneath, which does not ask whether it still may.
    ///
    /// # Errors
    /// When it cannot be spoken to.
    pub fn to(mut server: kube::Config, config: KubernetesConfig) -> Result<Self, ProvisionError> {
        server.default_retry = false;
        let client = Client::try_from(server).map_err(not_found)?;
        Ok(Self {
            api: Api::new(client, &config),
            config,
            began: std::time::Instant::now(),
            starts: Mutex::default(),
        })
    }

    async fn look(&self) -> Result<(Replicas, Sighting), ProvisionError> {
        let replicas = self.api.replicas().await?;
        let nodes = match self.config.workload.kind {
            WorkloadKind::StatefulSet => (0..replicas.wanted)
                .filter_map(|n| self.ordinal(n))
                .collect(),
            WorkloadKind::Deployment => self.api.pods().await?,
        };
        let highest = replicas.wanted.checked_sub(1).and_then(|n| self.ordinal(n));
        let removal = match self.config.workload.kind {
            WorkloadKind::StatefulSet => Removal::Only(highest.into_iter().collect()),
            WorkloadKind::Deployment => Removal::Any,
        };
        let up = |name| ObservedNode {
            name,
            state: ObservedState::Up,
        };
        let sighting = Sighting {
            existing: replicas.wanted,
            nodes: nodes.into_iter().map(up).collect(),
            removal,
            failed_starts: 0,
        };
        Ok((replicas, sighting))
    }

    fn ordinal(&self, n: u32) -> Option<NodeId> {
        NodeId::new(&format!("{}-{n}", self.config.workload.name)).ok()
    }

    async fn scale(
        &self,
        desired: &Desired,
        may_act: MayAct<'_>,
    ) -> Result<Outcome, ProvisionError> {
        let (replicas, sighting) = self.look().await?;
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut starts = self.starts.lock().await;
        let limits = &self.config.limits;
        let plan = self.plan(
            desired,
            &replicas,
            starts.allowed(limits.starts_per_minute, now_ms),
        );
        if plan.count == replicas.wanted {
            return Ok(Outcome::Unchanged);
        }
        self.refuse_other_than_drained(desired, &sighting, &plan)?;
        if let Some(owner) = self.api.owner().await? {
            return Err(ProvisionError::Owned(owner));
        }
        if limits.dry_run {
            return Ok(Outcome::Would(plan));
        }
        if self.config.workload.kind == WorkloadKind::Deployment {
            for name in &plan.stop {
                self.api.mark_cheapest(name, may_act).await?;
            }
        }
        self.api
            .set_replicas(plan.count, &replicas.version, may_act)
            .await?;
        starts.started(plan.count.saturating_sub(replicas.wanted), now_ms);
        Ok(Outcome::Changed(plan))
    }

    fn plan(&self, desired: &Desired, replicas: &Replicas, allowed: u32) -> Plan {
        let wanted = replicas.wanted;
        let most = self.config.limits.nodes_max.max(wanted);
        let count = desired.count.min(most).min(wanted.saturating_add(allowed));
        let fewer = wanted.saturating_sub(count) as usize;
        Plan {
            count,
            wanted: desired.count,
            start: Vec::new(),
            stop: desired.drain.iter().take(fewer).cloned().collect(),
        }
    }

    /// A stateful set ends its highest ordinals, so only those may be meant.
    fn refuse_other_than_drained(
        &self,
        desired: &Desired,
        sighting: &Sighting,
        plan: &Plan,
    ) -> Result<(), ProvisionError> {
        if self.config.workload.kind == WorkloadKind::Deployment || desired.drain.is_empty() {
            return Ok(());
        }
        let would_go = (plan.count..sighting.existing).filter_map(|n| self.ordinal(n));
        match would_go
            .into_iter()
            .find(|name| !desired.drain.contains(name))
        {
            None => Ok(()),
            Some(would) => Err(ProvisionError::WrongNode {
                would: would.to_string(),
                drained: desired
                    .drain
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

fn not_found(why: impl std::fmt::Display) -> ProvisionError {
    ProvisionError::Failed {
        what: "finding the Kubernetes API",
        why: why.to_string(),
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<T, ProvisionError> {
    let late = ProvisionError::Late {
        what: "the Kubernetes API",
        limit_ms: CALL_MS,
    };
    tokio::time::timeout(Duration::from_millis(CALL_MS), call)
        .await
        .unwrap_or(Err(late))
}

impl Provisioner for Kubernetes {
    async fn observe(&self) -> Result<Sighting, ProvisionError> {
        in_time(async { Ok(self.look().await?.1) }).await
    }

    async fn set(&self, desired: &Desired, may_act: MayAct<'_>) -> Result<Outcome, ProvisionError> {
        in_time(self.scale(desired, may_act)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_read_from_kind_and_name() {
        let workload: Workload = "statefulset/tidepool-node".parse().unwrap();
        assert_eq!(
            (workload.kind, workload.name.as_str()),
            (WorkloadKind::StatefulSet, "tidepool-node")
        );
        for wrong in ["tidepool-node", "daemonset/x", "deployment/"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }
}
