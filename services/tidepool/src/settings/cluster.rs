//! Checks what makes several processes one cluster: who may call whom, and by which name.

use std::net::SocketAddr;
use std::path::Path;

use tidepool_core::NodeId;
use tidepool_core::ids::NAME_LEN_MAX;
use tidepool_link::{Secret, Tls};

use super::layers::read_text;
use super::raw::{RawCluster, RawSettings, StoreKind};
use super::validate::{Validation, is_loopback, usize_of};
use super::{Cluster, Node, NodeSource};

/// Workers for each core, where nobody says how many.
const WORKERS_PER_CORE: u32 = 16;
/// Most nodes that can be listed.
const LISTED_MAX: usize = 1_024;
/// Key of the name in the certificates of nodes.
const PEER_NAME: &str = "cluster.tls_peer_name";
/// Largest certificate, key or authority file, in bytes.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// What balancers and nodes share.
pub(super) fn cluster(pass: &mut Validation<'_>, raw: &RawCluster) -> Option<Cluster> {
    let secret = secret(
        pass,
        "cluster.secret",
        raw.secret.as_ref(),
        raw.secret_file.as_deref(),
    );
    let previous = secret_before(pass, raw, secret.is_some());
    let secret = match (secret, previous) {
        (Some(secret), Some(previous)) => Some(secret.with_previous(&previous)),
        (secret, _) => secret,
    };
    Some(Cluster {
        secret,
        tls: tls(pass, raw)?,
        nodes: node_source(pass, raw),
    })
}

fn secret(
    pass: &mut Validation<'_>,
    key: &str,
    text: Option<&super::Secret>,
    file: Option<&str>,
) -> Option<Secret> {
    let text = pass.token(key, text, file)?;
    match Secret::new(text.expose()) {
        Ok(secret) => Some(secret),
        Err(weak) => {
            pass.fault(key, None, weak.to_string());
            None
        }
    }
}

/// The secret that is being replaced, which means nothing without one that replaces it.
fn secret_before(pass: &mut Validation<'_>, raw: &RawCluster, has_secret: bool) -> Option<Secret> {
    let key = "cluster.previous_secret";
    let previous = raw.previous_secret.as_ref();
    let previous = secret(pass, key, previous, raw.previous_secret_file.as_deref());
    let is_told = pass.is_faulty("cluster.secret") || pass.is_faulty("cluster.secret_file");
    if previous.is_some() && !has_secret && !is_told {
        pass.fault(
            key,
            None,
            "cluster.secret is needed: the secret in place of this one",
        );
    }
    previous
}

fn node_source(pass: &mut Validation<'_>, raw: &RawCluster) -> NodeSource {
    let key = "cluster.nodes";
    if raw.nodes.len() > LISTED_MAX {
        let problem = format!("there are {}; {LISTED_MAX} are the most", raw.nodes.len());
        pass.fault(key, None, problem);
    }
    for node in &raw.nodes {
        host_and_port(pass, key, node);
    }
    match &raw.nodes_dns {
        Some(name) => {
            let key = "cluster.nodes_dns";
            host_and_port(pass, key, name);
            if !raw.nodes.is_empty() {
                pass.fault(key, Some(name), "cluster.nodes is set too; set one of them");
            }
            NodeSource::Dns(name.clone())
        }
        None if raw.nodes.is_empty() => NodeSource::Roster,
        None => NodeSource::Listed(raw.nodes.clone()),
    }
}

pub(super) fn host_and_port(pass: &mut Validation<'_>, key: &str, text: &str) {
    let parts = text.rsplit_once(':');
    let is_good = parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !is_good {
        pass.fault(key, Some(text), "must be HOST:PORT, such as node-1:8702");
    }
}

/// Mutual TLS, if all of it is there. `None` when a part of it is missing or unusable.
#[expect(
    clippy::option_option,
    reason = "unusable and not configured are different things"
)]
fn tls(pass: &mut Validation<'_>, raw: &RawCluster) -> Option<Option<Tls>> {
    let parts = [
        ("cluster.tls_cert_file", &raw.tls_cert_file),
        ("cluster.tls_key_file", &raw.tls_key_file),
        ("cluster.tls_ca_file", &raw.tls_ca_file),
    ];
    if parts.iter().all(|(_, file)| file.is_none()) {
        if let Some(name) = &raw.tls_peer_name {
            let problem = "means nothing without cluster.tls_cert_file and the others";
            pass.fault(PEER_NAME, Some(name), problem);
        }
        return Some(None);
    }
    let mut texts = Vec::new();
    for (key, file) in parts {
        let Some(file) = file else {
            pass.fault(key, None, "is needed: the other files for TLS are set");
            continue;
        };
        match read_text(Path::new(file), PEM_BYTES_MAX) {
            Ok(text) => texts.push(text),
            Err(error) => pass.fault(key, Some(file), format!("cannot be read: {error}")),
        }
    }
    let [certificates, key, authority] = texts.as_slice() else {
        return None;
    };
    match Tls::from_pem(
        certificates.as_bytes(),
        key.as_bytes(),
        authority.as_bytes(),
    ) {
        Ok(tls) => expecting(pass, tls, raw.tls_peer_name.as_deref()).map(Some),
        Err(error) => {
            pass.fault("cluster.tls_cert_file", None, error.to_string());
            None
        }
    }
}

fn expecting(pass: &mut Validation<'_>, tls: Tls, name: Option<&str>) -> Option<Tls> {
    let Some(name) = name else { return Some(tls) };
    tls.expecting(name)
        .map_err(|error| pass.fault(PEER_NAME, Some(name), error.to_string()))
        .ok()
}

/// This process as a node.
pub(super) fn node(
    pass: &mut Validation<'_>,
    all: &RawSettings,
    cluster: Option<&Cluster>,
    cores: usize,
) -> Option<Node> {
    let raw = &all.node;
    let addr = pass.addr("node.addr", &raw.addr);
    let has_secret = cluster.is_none_or(|cluster| cluster.secret.is_some());
    if let Some(addr) = addr.filter(|addr| !is_loopback(addr.ip()))
        && !has_secret
        && !pass.is_faulty("cluster.secret")
        && !pass.is_faulty("cluster.secret_file")
    {
        let problem = format!(
            "is reachable from other machines, and whoever calls would not have to know a secret: \
             set cluster.secret_file (or cluster.secret), or bind to 127.0.0.1:{}",
            addr.port()
        );
        pass.fault("node.addr", Some(&addr.to_string()), problem);
    }
    match &raw.advertise_addr {
        Some(advertised) => host_and_port(pass, "node.advertise_addr", advertised),
        None => has_an_address(pass, addr, all.store.kind),
    }
    let name = match &raw.name {
        Some(name) => NodeId::new(name)
            .map_err(|error| pass.fault("node.name", Some(name), error.to_string()))
            .ok(),
        None => Some(default_name()),
    };
    let cores_u32 = u32::try_from(cores).unwrap_or(u32::MAX);
    Some(Node {
        addr: addr?,
        advertise_addr: raw.advertise_addr.clone(),
        name: name?,
        workers_max: match raw.workers_max {
            0 => cores_u32.saturating_mul(WORKERS_PER_CORE),
            workers => workers,
        },
        threads: match raw.threads {
            0 => (cores / 2).max(1),
            threads => usize_of(threads.into()),
        },
    })
}

/// Nodes announce where they are, and nobody can call every interface.
fn has_an_address(pass: &mut Validation<'_>, addr: Option<SocketAddr>, store: StoreKind) {
    let everywhere = addr.filter(|addr| addr.ip().is_unspecified());
    if let Some(addr) = everywhere.filter(|_| store == StoreKind::Redis) {
        let problem = "is every interface, and balancers have to be told one address: set \
                       node.advertise_addr";
        pass.fault("node.addr", Some(&addr.to_string()), problem);
    }
}

/// The name of the machine, as far as it can be one here, and the number of the process: another
/// life has another name.
fn default_name() -> NodeId {
    let machine = sysinfo::System::host_name().unwrap_or_default();
    named(&machine, std::process::id())
}

fn named(machine: &str, process: u32) -> NodeId {
    let machine = machine.to_ascii_lowercase();
    let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let machine: String = machine.chars().filter(|c| usable(*c)).collect();
    let machine = machine.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let suffix = format!("-{process}");
    let kept = machine.len().min(NAME_LEN_MAX - suffix.len());
    let name = format!("{}{suffix}", &machine[..kept]);
    NodeId::new(&name).unwrap_or_else(|_| {
        NodeId::new(&format!("tidepool{suffix}")).unwrap_or_else(|_| unreachable!("a valid name"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_any_name_make_a_node_of_a_valid_one() {
        for (machine, expected) in [
            ("web-1", "web-1-42"),
            ("Web.Example.ORG", "webexampleorg-42"),
            ("42", "tidepool-42"),
            ("", "tidepool-42"),
            ("7-héros", "hros-42"),
        ] {
            assert_eq!(named(machine, 42).as_str(), expected, "{machine}");
        }
        assert_eq!(
            named(&"m".repeat(300), u32::MAX).as_str().len(),
            NAME_LEN_MAX
        );
    }
}
