//! A node in a container of the project's own image: what it is told, and the files that it reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidepool_core::NodeId;
use tidepool_provisioner::{ContainerConfig, Limits};
use tidepool_store::RedisStore;

use super::PREFIX;
use crate::settings::{NodeContainers, Settings, Store, variable_name};

/// Where the configuration is within a container.
const FILE_INSIDE: &str = "/etc/tidepool/tidepool.toml";
/// Where the image's processes run.
const WORKDIR_INSIDE: &str = "/data";
/// Where the files are that it names.
const SECRETS_INSIDE: &str = "/run/secrets/tidepool";

/// Who starts nodes.
pub(super) struct Leader {
    pub(super) cluster: String,
    pub(super) epoch: u64,
}

/// How the nodes of this configuration are started as containers.
pub(super) fn config(
    settings: &Settings,
    nodes: &NodeContainers,
    leader: Leader,
    (limits, grace): (Limits, Duration),
) -> ContainerConfig {
    let file = settings.provisioner.config_file.as_deref();
    let mut command = vec!["node".to_owned()];
    if file.is_some() {
        command.extend(["--config", FILE_INSIDE].map(str::to_owned));
    }
    ContainerConfig {
        socket: "/var/run/docker.sock".to_owned(),
        environment: Box::new(environment(leader.cluster.clone(), nodes)),
        cluster: leader.cluster,
        prefix: PREFIX.to_owned(),
        epoch: leader.epoch,
        image: nodes.image.clone(),
        network: nodes.network.clone(),
        command,
        mounts: mounts(file, &settings.store, nodes),
        memory_bytes: nodes.memory_bytes,
        cpu_millis: nodes.cpu_millis,
        grace_s: i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        limits,
    }
}

/// A container is called by its name within its network. Clients do not call nodes, and operators
/// only where they have to show a token.
fn environment(
    cluster: String,
    nodes: &NodeContainers,
) -> impl Fn(&NodeId) -> Vec<(String, String)> + Send + Sync + use<> {
    let operator_ip = match nodes.has_operator_token {
        true => "0.0.0.0",
        false => "127.0.0.1",
    };
    let set = |key: &str, value: String| (variable_name(key), value);
    let mut of_all = vec![
        set("store.kind", "redis".to_owned()),
        set("http.api_addr", "127.0.0.1:8700".to_owned()),
        set("http.operator_addr", format!("{operator_ip}:8701")),
        set("node.addr", "0.0.0.0:8702".to_owned()),
        // It is started by others.
        set("provisioner.kind", "none".to_owned()),
    ];
    let files = nodes.files.iter();
    of_all.extend(files.map(|(key, _)| set(key, inside(key))));
    move |name| {
        let host = format!("{cluster}-{name}");
        let own = [
            set("node.name", name.to_string()),
            set("node.advertise_addr", format!("{host}:8702")),
            // What the file says is the address of the controller.
            set("http.operator_advertise_addr", format!("{host}:8701")),
        ];
        of_all.iter().cloned().chain(own).collect()
    }
}

/// Where a node reads the file of a key.
fn inside(key: &str) -> String {
    format!("{SECRETS_INSIDE}/{key}")
}

/// Paths stay as they are written, links and all: who renews a secret turns the link, and the next
/// container has to get the new one.
fn mounts(file: Option<&Path>, store: &Store, nodes: &NodeContainers) -> Vec<(String, String)> {
    let config = file.map(|file| (file.to_owned(), FILE_INSIDE.to_owned()));
    let named = nodes.files.iter();
    let named = named.map(|(key, file)| (file.clone(), inside(key)));
    let mount = |(file, inside): (PathBuf, String)| {
        // Fails where there is no working directory any more; the engine then says what it lacks.
        let file = std::path::absolute(&file).unwrap_or(file);
        (file.display().to_string(), inside)
    };
    let all = config.into_iter().chain(named).chain(certificates(store));
    all.map(mount).collect()
}

/// The file that the URL of the store names, for a node that reads the same URL.
fn certificates(store: &Store) -> Option<(PathBuf, String)> {
    let Store::Redis { url } = store else {
        return None;
    };
    let file = RedisStore::ca_file(url.expose())?;
    let inside = Path::new(WORKDIR_INSIDE).join(&file);
    Some((file, inside.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{self, Inputs, Loaded, NodeSource, Provisions, Store};

    /// What the image sets, see deploy/Dockerfile.
    const IMAGE: [(&str, &str); 4] = [
        ("TIDEPOOL_HTTP__API_ADDR", "0.0.0.0:8700"),
        ("TIDEPOOL_HTTP__OPERATOR_ADDR", "0.0.0.0:8701"),
        ("TIDEPOOL_STORE__PATH", "/data"),
        ("TIDEPOOL_TELEMETRY__LOG_FORMAT", "json"),
    ];

    fn load(file: &Path, variables: &[(String, String)]) -> Loaded {
        let variables = variables.iter();
        settings::load(&Inputs {
            file: Some(file.to_owned()),
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..Inputs::default()
        })
        .unwrap()
    }

    fn live(loaded: &Loaded) -> ContainerConfig {
        let Provisions::Containers(nodes) = &loaded.settings.provisioner.by else {
            panic!("{:?}", loaded.settings.provisioner);
        };
        let leader = Leader {
            cluster: "redis-1".to_owned(),
            epoch: 7,
        };
        let bounds = (Limits::default(), Duration::from_secs(35));
        config(&loaded.settings, nodes, leader, bounds)
    }

    /// What a node of the project's image reads when it is started so, with the files where they are
    /// on this machine.
    fn read_inside(config: &ContainerConfig) -> Settings {
        let image = IMAGE.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut variables = Vec::from(image);
        for (name, value) in (config.environment)(&NodeId::new("auto-1").unwrap()) {
            let mounted = config.mounts.iter().find(|(_, inside)| *inside == value);
            let value = mounted.map_or(value, |(here, _)| here.clone());
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value));
        }
        let at = config.command.iter().position(|part| part == "--config");
        let inside = &config.command[at.unwrap() + 1];
        let mounted = config.mounts.iter().find(|(_, there)| there == inside);
        load(Path::new(&mounted.unwrap().0), &variables).settings
    }

    #[test]
    fn links_are_left_to_the_engine_and_certificates_come_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("old"), "0123456789abcdef").unwrap();
        std::os::unix::fs::symlink(path("old"), path("secret")).unwrap();
        let url = format!("rediss://redis/?ca_file={}", path("ca.pem"));
        std::fs::write(path("url"), url).unwrap();
        let toml = "store.kind = 'redis'\n[provisioner]\nkind = 'docker'\nimage = 'tidepool'\n\
                    network = 'tide'\n";
        std::fs::write(path("tidepool.toml"), toml).unwrap();
        let variables = [("STORE__REDIS_URL", "url"), ("CLUSTER__SECRET", "secret")]
            .map(|(key, name)| (format!("TIDEPOOL_{key}_FILE"), path(name)));
        let config = live(&load(&folder.path().join("tidepool.toml"), &variables));
        let here = |there: &str| {
            let found = config.mounts.iter().find(|(_, inside)| inside == there);
            found.map(|(here, _)| here.as_str())
        };
        let secret = here("/run/secrets/tidepool/cluster.secret_file");
        assert_eq!(secret, Some(path("secret").as_str()));
        assert_eq!(here(&path("ca.pem")), Some(path("ca.pem").as_str()));
        assert_eq!(config.mounts.len(), 4);
    }

    #[test]
    fn a_node_of_the_image_finds_its_files_and_may_listen_where_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let secrets = [
            ("STORE__REDIS_URL_FILE", "redis://u:pw@redis:6379/1"),
            ("CLUSTER__SECRET_FILE", "0123456789abcdef"),
            ("CLUSTER__PREVIOUS_SECRET_FILE", "fedcba9876543210"),
            ("HTTP__API_TOKEN_FILE", "clients"),
        ];
        let mut variables: Vec<_> = secrets
            .iter()
            .map(|(name, text)| {
                let path = file(name, text).display().to_string();
                (format!("TIDEPOOL_{name}"), path)
            })
            .collect();
        let toml = "http.operator_advertise_addr = 'controller:8701'\n[store]\nkind = 'redis'\n[provisioner]\nkind = 'docker'\nimage = 'tidepool'\n\
                    network = 'tide'\nmemory_bytes = 2147483648\ncpus = 1.5\n";
        let toml = file("tidepool.toml", toml);
        let config = live(&load(&toml, &variables));
        let told = (config.environment)(&NodeId::new("auto-1").unwrap());
        assert!(
            !format!("{told:?} {:?} {:?}", config.command, config.mounts).contains("pw"),
            "secrets are in files"
        );
        assert_eq!(config.mounts.len(), 5);
        assert_eq!(
            (config.memory_bytes, config.cpu_millis),
            (2_147_483_648, 1_500)
        );
        let node = read_inside(&config);
        assert!(
            matches!(&node.store, Store::Redis { url } if url.expose() == "redis://u:pw@redis:6379/1")
        );
        assert!(node.cluster.secret.is_some());
        assert_eq!(node.cluster.nodes, NodeSource::Roster);
        let advertised = node.node.advertise_addr.as_deref();
        assert_eq!(advertised, Some("redis-1-auto-1:8702"));
        let operated = node.http.operator_advertise_addr.as_deref();
        assert_eq!(operated, Some("redis-1-auto-1:8701"));
        assert!(node.http.operator_addr.ip().is_loopback());

        let token = file("operator", "operators").display().to_string();
        variables.push(("TIDEPOOL_HTTP__OPERATOR_TOKEN_FILE".to_owned(), token));
        let node = read_inside(&live(&load(&toml, &variables)));
        assert!(node.http.operator_addr.ip().is_unspecified());
        assert!(node.http.operator_token.is_some());
    }
}
