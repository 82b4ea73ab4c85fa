//! Checks who starts and stops nodes, and how many there may be.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tidepool_provisioner::Workload;

use super::fault::Origin;
use super::raw::{ProvisionerKind, RawSettings, StoreKind};
use super::validate::Validation;
use super::{NodeContainers, Provisioner, Provisions};

/// Who starts nodes; whatever it is, nodes know of each other over a store that they share.
pub(super) fn provisioner(pass: &mut Validation<'_>, all: &RawSettings) -> Option<Provisioner> {
    let raw = &all.provisioner;
    let key = |part: &str| format!("provisioner.{part}");
    if raw.nodes_min > raw.nodes_max {
        let problem = format!(
            "nodes_min is {} and nodes_max is {}: nodes_min must not exceed nodes_max",
            raw.nodes_min, raw.nodes_max
        );
        pass.fault(&key("nodes_min"), None, problem);
    }
    if raw.kind != ProvisionerKind::None && all.store.kind != StoreKind::Redis {
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
        ProvisionerKind::Docker => Provisions::Containers(containers(pass, all)?),
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

/// Nodes as containers. They get files, and no secret in a variable: `docker inspect` shows those.
fn containers(pass: &mut Validation<'_>, all: &RawSettings) -> Option<NodeContainers> {
    let raw = &all.provisioner;
    for (key, is_set) in [
        ("store.redis_url", all.store.redis_url.is_some()),
        ("cluster.secret", all.cluster.secret.is_some()),
        (
            "cluster.previous_secret",
            all.cluster.previous_secret.is_some(),
        ),
    ] {
        if is_set && !is_in_file(pass, key) {
            let problem = format!(
                "cannot reach the containers of provisioner.kind docker: set {key}_file instead"
            );
            pass.fault(key, None, problem);
        }
    }
    let image = needed(pass, "provisioner.image", raw.image.as_deref(), "docker");
    let network = needed(
        pass,
        "provisioner.network",
        raw.network.as_deref(),
        "docker",
    );
    Some(NodeContainers {
        image: image?,
        network: network?,
        memory_bytes: raw
            .memory_bytes
            .map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        cpu_millis: raw.cpus.map_or(0, millis),
        files: files(all),
        has_operator_token: all.http.operator_token_file.is_some()
            || is_in_file(pass, "http.operator_token"),
    })
}

fn is_in_file(pass: &Validation<'_>, key: &str) -> bool {
    matches!(pass.origin(key), Some(Origin::File { .. }))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the schema bounds it to 1024 cores"
)]
fn millis(cores: f64) -> i64 {
    (cores * 1000.0).round() as i64
}

/// What is named by the keys that end in `_file`.
fn files(all: &RawSettings) -> Vec<(&'static str, PathBuf)> {
    let (http, cluster) = (&all.http, &all.cluster);
    let named = [
        ("http.api_token_file", &http.api_token_file),
        ("http.operator_token_file", &http.operator_token_file),
        ("cluster.secret_file", &cluster.secret_file),
        (
            "cluster.previous_secret_file",
            &cluster.previous_secret_file,
        ),
        ("cluster.tls_cert_file", &cluster.tls_cert_file),
        ("cluster.tls_key_file", &cluster.tls_key_file),
        ("cluster.tls_ca_file", &cluster.tls_ca_file),
        ("store.redis_url_file", &all.store.redis_url_file),
    ];
    let named = named.into_iter();
    named
        .filter_map(|(key, file)| Some((key, PathBuf::from(file.as_ref()?))))
        .collect()
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
