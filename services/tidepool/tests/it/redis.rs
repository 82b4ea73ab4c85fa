//! A real Redis server for one test.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tidepool_store::RedisStore;

use crate::process::eventually;

const START_MAX: Duration = Duration::from_secs(20);

/// An empty server on a free port, which ends with this value.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    password: Option<String>,
    _folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Nobody gets in without the password.
    pub(crate) async fn guarded(password: &str) -> Self {
        Self::start_with(Some(password)).await
    }

    async fn start_with(password: Option<&str>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("redis-server")
            // The password comes on the standard input: arguments are for everybody to read.
            .arg("-")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs a Redis server: apt-get install redis-server");
        let setup =
            password.map_or_else(String::new, |password| format!("requirepass {password}\n"));
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(setup.as_bytes()).expect("it reads");
        drop(input);
        let server = Self {
            child,
            port,
            password: password.map(str::to_owned),
            _folder: folder,
        };
        eventually("redis-server answers", START_MAX, async || {
            server.store().await
        })
        .await;
        server
    }

    pub(crate) fn url(&self) -> String {
        self.url_with(self.password.as_deref())
    }

    /// The address, with any password.
    pub(crate) fn url_with(&self, password: Option<&str>) -> String {
        let user = password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    pub(crate) async fn store(&self) -> Option<RedisStore> {
        RedisStore::connect(&self.url()).await.ok()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
