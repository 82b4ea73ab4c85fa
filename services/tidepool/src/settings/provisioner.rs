//! Checks who starts and stops nodes, and how many there may be.

use std::str::FromStr;
use std::time::Duration;

use tidepool_provisioner::Workload;

use super::raw::{ProvisionerKind, RawProvisioner, StoreKind};
use super::validate::Validation;
use super::{Provisioner, Provisions};

/// Who starts nodes; whatever it is, nodes know of each other over a store that they share.
pub(super) fn provisioner(
    pass: &mut Validation<'_>,
    raw: &RawProvisioner,
    store: StoreKind,
) -> Option<Provisioner> {
    let key = |part: &str| format!("provisioner.{part}");
    if raw.nodes_min > raw.nodes_max {
        let problem = format!(
            "nodes_min is {} and nodes_max is {}: nodes_min must not exceed nodes_max",
            raw.nodes_min, raw.nodes_max
        );
        pass.fault(&key("nodes_min"), None, problem);
    }
    if raw.kind != ProvisionerKind::None && store != StoreKind::Redis {
        let problem = "needs store.kind redis: nodes and controllers share the store";
        pass.fault(&key("kind"), None, problem);
    }
    let by = match raw.kind {
        ProvisionerKind::None => Provisions::Nobody,
        ProvisionerKind::Process => Provisions::Processes,
        ProvisionerKind::Kubernetes => Provisions::Workload {
            namespace: raw
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            workload: workload(pass, raw.workload.as_deref())?,
            pod_selector: raw.pod_selector.clone(),
        },
        ProvisionerKind::Docker => Provisions::Containers {
            image: needed(pass, &key("image"), raw.image.as_deref(), "docker")?,
            network: raw.network.clone(),
        },
    };
    Some(Provisioner {
        by,
        nodes_min: raw.nodes_min,
        nodes_max: raw.nodes_max,
        dry_run: raw.dry_run,
        idle: Duration::from_secs(raw.idle_s),
        config_file: pass.file().map(std::path::Path::to_owned),
    })
}

fn workload(pass: &mut Validation<'_>, text: Option<&str>) -> Option<Workload> {
    let key = "provisioner.workload";
    let text = needed(pass, key, text, "kubernetes")?;
    match Workload::from_str(&text) {
        Ok(workload) => Some(workload),
        Err(_) => {
            let problem = "must be statefulset/NAME or deployment/NAME";
            pass.fault(key, Some(&text), problem);
            None
        }
    }
}

fn needed(pass: &mut Validation<'_>, key: &str, text: Option<&str>, kind: &str) -> Option<String> {
    if text.is_none() && !pass.is_faulty(key) {
        pass.fault(
            key,
            None,
            format!("is needed because provisioner.kind is {kind}"),
        );
    }
    text.map(str::to_owned)
}
