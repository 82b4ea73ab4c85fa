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
