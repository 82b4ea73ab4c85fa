//! Redis as `deploy` sets it up, with the users that `deploy/make-secrets` writes: what was acknowledged
//! is there after it was killed, and nobody gets in who should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use tempfile::TempDir;
use tidepool_store::{Appended, Epoch, Kv, Log, Position, RedisStore};
use tidepool_testing::RedisServer;

struct Deployed {
    folder: TempDir,
    server: RedisServer,
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

impl Deployed {
    /// Secrets are made beside the script, so it is run from a copy.
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("make-secrets");
        fs::copy(deploy().join("make-secrets"), &script).expect("the script");
        let status = Command::new(&script).stdout(Stdio::null()).status();
        assert!(status.expect("bash").success());
        let users = folder.path().join("secrets/redis_users.acl");
        let config = fs::read_to_string(deploy().join("kubernetes/redis/redis.conf"));
        // That folder is the container's.
        let config = config.expect("a file").replace("dir /data", "");
        let server = RedisServer::start_with(&format!(
            "{config}\naclfile {}\nport {{port}}",
            users.display()
        ));
        Self { folder, server }
    }

    async fn store(&self) -> RedisStore {
        RedisStore::connect(&self.url()).await.expect("a way in")
    }

    /// The address that the secret file names, with the host and port of this server.
    fn url(&self) -> String {
        let file = self.folder.path().join("secrets/store.toml");
        let text = fs::read_to_string(file).expect("the secret");
        let url = text.split('"').find(|part| part.starts_with("redis://"));
        let here = format!("@127.0.0.1:{}/", self.server.port());
        url.expect("an address").replace("@redis:6379/", &here)
    }

    /// What a command answers to a user, or why it does not.
    fn ask(&self, user: &str, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.server.port().to_string(), "--no-auth-warning"])
            .args(["--user", user, "--pass", "x"])
            .args(command)
            .output()
            .expect("redis-cli");
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let mut redis = Deployed::start();
    let store = redis.store().await;
    let record = |n: u64| vec![Bytes::from(n.to_string())];
    // Some of these are single commands, some scripts: Redis keeps and plays back both.
    let mut end = Position::START;
    for n in 0..20 {
        let appended = store.append_at("s", Epoch(1), end, record(n)).await;
        let Ok(Appended::At(position)) = appended else {
            panic!("{appended:?}");
        };
        end = position;
        store.append("t", Epoch(1), record(n)).await.unwrap();
    }
    store.put("k", Bytes::from("v"), None).await.unwrap();
    let set = store.compare_and_set("k2", None, Bytes::from("w"), None);
    assert!(set.await.unwrap().is_some());
    redis.server.kill();
    drop(store);
    redis.server.restart();
    let store = redis.store().await;
    for stream in ["s", "t"] {
        let read = store.read(stream, Position::START, 100).await.unwrap();
        assert_eq!(read.len(), 20, "{stream}");
    }
    for key in ["k", "k2"] {
        assert!(store.get(key).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn without_the_password_there_is_only_a_ping() {
    let redis = Deployed::start();
    assert_eq!(redis.ask("health", &["ping"]).trim(), "PONG");
    for command in [
        &["get", "tidepool:x"][..],
        &["flushall"],
        &["config", "get", "*"],
        &["acl", "list"],
        &["publish", "c", "m"],
    ] {
        let answer = redis.ask("health", command);
        assert!(answer.contains("NOPERM"), "{command:?}: {answer}");
    }
    for user in ["default", "tidepool"] {
        let answer = redis.ask(user, &["ping"]);
        assert!(answer.contains("WRONGPASS"), "{user}: {answer}");
    }
}
