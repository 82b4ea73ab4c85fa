//! Secrets that the processes of a cluster share.

use super::*;

#[test]
fn secrets_of_a_cluster_are_checked() {
    for (toml, told) in [
        (
            "store = { kind = 'redis', redis_url_file = '/missing' }",
            "tidepool.toml:1): cannot be read",
        ),
        (
            "store = { kind = 'redis', redis_url = 'redis://h', redis_url_file = '/missing' }",
            "set one of them",
        ),
        ("cluster.previous_secret = 'short'", "has 5 bytes"),
        (
            "cluster.tls_peer_name = 'node.tidepool'",
            "means nothing without cluster.tls_cert_file",
        ),
        (
            "cluster.previous_secret = '0123456789abcdef'",
            "cluster.secret is needed",
        ),
    ] {
        let fault = Setup::new(toml).fault();
        assert!(fault.contains(told), "{toml}: {fault}");
    }
}

#[test]
fn the_address_of_redis_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redis_url");
    std::fs::write(&file, "redis://u:hunter2@h:6379/1\n").unwrap();
    let setup = Setup::new(&format!(
        "store = {{ kind = 'redis', redis_url_file = '{}' }}",
        file.display()
    ));
    let settings = setup.settings();
    assert!(
        matches!(&settings.store, Store::Redis { url } if url.expose() == "redis://u:hunter2@h:6379/1")
    );
    let told = format!("{settings:?} {}", setup.load().unwrap().effective.to_toml());
    assert!(!told.contains("hunter2"), "{told}");
    std::fs::write(&file, "http://u:hunter2@h").unwrap();
    let fault = setup.fault();
    assert!(
        fault.starts_with("store.redis_url_file ") && fault.contains("must be redis://"),
        "{fault}"
    );
    assert!(!fault.contains("hunter2"), "{fault}");
}

#[test]
fn containers_need_a_network_and_secrets_in_files() {
    let toml = "[store]\nkind = 'redis'\nredis_url_file = '/missing'\n[provisioner]\nkind = 'docker'\nimage = 'tidepool'";
    let faults = Setup::new(toml).faults();
    let told = faults.iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("provisioner.network"), "{told}");
    let toml = "[store]\nkind = 'redis'\n[provisioner]\nkind = 'docker'\nimage = 'tidepool'\nnetwork = 'tide'";
    let fault = Setup::new(toml)
        .variable("REDIS_URL", "redis://u:hunter2@h")
        .fault();
    assert!(
        fault.contains("set store.redis_url_file instead"),
        "{fault}"
    );
    assert!(!fault.contains("hunter2"), "{fault}");
    let inside = toml.replace(
        "kind = 'redis'\n",
        "kind = 'redis'\nredis_url = 'redis://h'\n",
    );
    assert!(Setup::new(&inside).load().is_ok(), "the file is mounted");
}
