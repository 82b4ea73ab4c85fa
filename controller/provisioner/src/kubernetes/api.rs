//! The few calls that are made, what a refusal of each means, and how often it is repeated.

use std::convert::Infallible;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tidepool_core::NodeId;

use super::{KubernetesConfig, Workload, WorkloadKind};
use crate::port::{MayAct, ProvisionError, check};

/// Who writes, in the field management of the API server.
const FIELD_MANAGER: &str = "tidepool-controller";
/// The lower, the sooner a ReplicaSet deletes the pod.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Pods, and owners of a scale, that are read at most.
const LIST_MAX: u32 = 500;
const TRIES: u32 = 4;
const FIRST_WAIT_MS: u64 = 100;

/// What a workload's scale says.
#[derive(Clone, Debug)]
pub(super) struct Replicas {
    pub(super) wanted: u32,
    pub(super) version: Option<String>,
}

#[derive(Debug)]
pub(super) struct Api {
    workload: Workload,
    namespace: String,
    pod_selector: Option<String>,
    scaled: kube::Api<DynamicObject>,
    pods: kube::Api<DynamicObject>,
    /// Kinds that may own the number of replicas.
    owners: [kube::Api<DynamicObject>; 2],
}

impl Api {
    pub(super) fn new(client: Client, config: &KubernetesConfig) -> Self {
        let namespace = &config.namespace;
        let api = |group: &str, version: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            kube::Api::namespaced_with(client.clone(), namespace, &resource)
        };
        Self {
            scaled: api("apps", "v1", kind_name(config.workload.kind)),
            pods: api("", "v1", "Pod"),
            owners: [
                api("autoscaling", "v2", "HorizontalPodAutoscaler"),
                api("keda.sh", "v1alpha1", "ScaledObject"),
            ],
            workload: config.workload.clone(),
            namespace: namespace.clone(),
            pod_selector: config.pod_selector.clone(),
        }
    }

    fn resource(&self) -> &'static str {
        match self.workload.kind {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
        }
    }

    fn told(&self, verb: &'static str, error: Error) -> ProvisionError {
        let Workload { name, .. } = &self.workload;
        let (resource, namespace) = (self.resource(), &self.namespace);
        match code(&error) {
            401 | 403 => ProvisionError::Forbidden {
                what: format!("{verb} {resource}/scale of {name}"),
                grant: format!(
                    "in namespace {namespace} {{apiGroups: [apps], resources: [{resource}/scale], \
                     resourceNames: [{name}], verbs: [get, patch]}}"
                ),
            },
            404 => ProvisionError::Absent(format!("{resource} {name} in namespace {namespace}")),
            _ => ProvisionError::Failed {
                what: "scaling a workload",
                why: error.to_string(),
            },
        }
    }

    pub(super) async fn replicas(&self) -> Result<Replicas, ProvisionError> {
        let scale = read(|| self.scaled.get_scale(&self.workload.name))
            .await
            .map_err(|error| self.told("get", error))?;
        let wanted = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        Ok(Replicas {
            wanted: u32::try_from(wanted).unwrap_or(0),
            version: scale.metadata.resource_version,
        })
    }

    /// Writes the number, unless somebody wrote since `version` was read.
    pub(super) async fn set_replicas(
        &self,
        count: u32,
        version: &Option<String>,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": version},
            "spec": {"replicas": count},
        }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = &self.workload.name;
        let written = repeated(
            || check(may_act),
            || self.scaled.patch_scale(name, &params, &patch),
        );
        let written = written.await?.map(drop);
        written.map_err(|error| self.told("patch", error))
    }

    /// Names of pods that may serve; none when they may not be read.
    pub(super) async fn pods(&self) -> Result<Vec<NodeId>, ProvisionError> {
        let Some(selector) = &self.pod_selector else {
            return Ok(Vec::new());
        };
        let params = ListParams::default().labels(selector).limit(LIST_MAX);
        let pods = readable(read(|| self.pods.list(&params)).await, "reading pods")?;
        let is_leaving = |pod: &DynamicObject| pod.metadata.deletion_timestamp.is_some();
        Ok(pods
            .into_iter()
            .filter(|pod| !is_leaving(pod))
            .filter_map(|pod| NodeId::new(pod.metadata.name.as_deref()?).ok())
            .collect())
    }

    /// Asks that `pod` is deleted before its peers. Not being allowed to is no reason to stop.
    pub(super) async fn mark_cheapest(
        &self,
        pod: &NodeId,
        may_act: MayAct<'_>,
    ) -> Result<(), ProvisionError> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {DELETION_COST: "-1000"}}}));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = pod.as_str();
        let marked = repeated(|| check(may_act), || self.pods.patch(name, &params, &patch));
        match marked.await? {
            Ok(_) => Ok(()),
            Err(error) if matches!(code(&error), 401 | 403 | 404) => {
                tracing::warn!(%pod, %error, "another pod than the drained one may be deleted");
                Ok(())
            }
            Err(error) => Err(ProvisionError::Failed {
                what: "marking a pod",
                why: error.to_string(),
            }),
        }
    }

    /// An autoscaler that decides about the same workload, as far as such may be read.
    pub(super) async fn owner(&self) -> Result<Option<String>, ProvisionError> {
        for (owners, what) in self
            .owners
            .iter()
            .zip(["HorizontalPodAutoscaler", "ScaledObject"])
        {
            let params = ListParams::default().limit(LIST_MAX);
            let found = readable(read(|| owners.list(&params)).await, "reading autoscalers")?;
            let owner = found
                .into_iter()
                .find(|owner| self.is_target(&owner.data["spec"]["scaleTargetRef"]));
            if let Some(owner) = owner {
                return Ok(Some(format!(
                    "{what} {}",
                    owner.metadata.name.unwrap_or_default()
                )));
            }
        }
        Ok(None)
    }

    fn is_target(&self, target: &Value) -> bool {
        // A ScaledObject may leave the kind out: it means a Deployment then.
        let kind = target["kind"].as_str().unwrap_or("Deployment");
        target["name"] == self.workload.name.as_str() && kind == kind_name(self.workload.kind)
    }
}

fn kind_name(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    }
}

/// The status of a refusal, or 0.
fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        _ => 0,
    }
}

/// A list that need not be readable.
fn readable(
    listed: Result<kube::core::ObjectList<DynamicObject>, Error>,
    what: &'static str,
) -> Result<Vec<DynamicObject>, ProvisionError> {
    match listed {
        Ok(list) => Ok(list.items),
        Err(error) if matches!(code(&error), 401 | 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(ProvisionError::Failed {
            what,
            why: error.to_string(),
        }),
    }
}

/// Reads, again and again if need be.
async fn read<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> Result<T, Error> {
    let Ok(read) = repeated(|| Ok::<_, Infallible>(()), call).await;
    read
}

/// Repeats what the server could not do just now, a few times and ever later, while it `may` be done.
/// A conflict is not repeated: what was read is not true any more, and the next round reads again.
async fn repeated<T, F: Future<Output = Result<T, Error>>, E>(
    may: impl Fn() -> Result<(), E>,
    call: impl Fn() -> F,
) -> Result<Result<T, Error>, E> {
    let mut wait_ms = FIRST_WAIT_MS;
    for _ in 1..TRIES {
        may()?;
        match call().await {
            Err(error) if matches!(code(&error), 429 | 500..=599) => {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms *= 2;
            }
            result => return Ok(result),
        }
    }
    may()?;
    Ok(call().await)
}
