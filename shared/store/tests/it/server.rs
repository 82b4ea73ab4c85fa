//! A real Redis server for one test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidepool_store::RedisStore;

const START_TRIES: usize = 5;
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A server that ends with this value.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    /// Starts an empty server on a free port.
    pub(crate) async fn start() -> Self {
        for _ in 0..START_TRIES {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let directory = tempfile::tempdir().unwrap();
            let child = spawn(port, &directory);
            let mut server = Self {
                child,
                port,
                directory,
            };
            // Somebody may have taken the port in the meantime.
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server did not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.directory);
        assert!(self.answers().await, "redis-server did not start again");
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    async fn answers(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < START_PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if RedisStore::connect(&self.url()).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need a Redis server: apt-get install redis-server")
}
