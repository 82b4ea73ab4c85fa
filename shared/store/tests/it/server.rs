//! A real Redis server for one test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidepool_store::RedisStore;

const START_TRIES: usize = 5;
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The rights that the store needs and no more; `shared/README.md` has the same line.
pub(crate) const RIGHTS: &str = "~tidepool:* resetchannels -@all +ping +info +time +evalsha \
    +script|load +get +set +del +exists +pexpire +persist +pttl +hget +hmget +hset +hdel +hgetall \
    +xadd +xrange +xtrim +zadd +zrem +zrange +zrangebyscore +zscore +zcard";

/// How a server is started.
#[derive(Clone)]
pub(crate) struct Setup {
    args: Vec<String>,
    port_arg: &'static str,
    /// With `{port}` in it.
    url: String,
}

impl Setup {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            port_arg: "--port",
            url: "redis://127.0.0.1:{port}/".to_owned(),
        }
    }

    /// Nobody but a user `tidepool` with these rights and a password gets in.
    pub(crate) fn with_rights(rights: &str) -> Self {
        let password = format!(">{PASSWORD}");
        let mut args = vec![
            "--user", "default", "off", "--user", "tidepool", "on", &password,
        ];
        args.extend(rights.split_whitespace());
        Self {
            url: format!("redis://tidepool:{PASSWORD}@127.0.0.1:{{port}}/"),
            ..Self::new(&args)
        }
    }

    /// TLS only, with `server.pem` and `server.key` of this directory, known from its `ca.pem`.
    pub(crate) fn with_tls(directory: &Path) -> Self {
        let file = |name: &str| directory.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        Self {
            port_arg: "--tls-port",
            url: format!("rediss://127.0.0.1:{{port}}/?ca_file={ca}"),
            ..Self::new(&[
                "--port",
                "0",
                "--tls-auth-clients",
                "no",
                "--tls-ca-cert-file",
                &ca,
                "--tls-cert-file",
                &cert,
                "--tls-key-file",
                &key,
            ])
        }
    }
}

/// The password of the user `tidepool`.
pub(crate) const PASSWORD: &str = "not-to-be-told";

/// A server that ends with this value.
pub(crate) struct Server {
    child: Child,
    port: u16,
    setup: Setup,
    directory: TempDir,
}

impl Server {
    /// Starts an empty server on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_as(Setup::new(&[])).await
    }

    pub(crate) async fn start_as(setup: Setup) -> Self {
        for _ in 0..START_TRIES {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let directory = tempfile::tempdir().unwrap();
            let child = spawn(port, &setup, &directory);
            let mut server = Self {
                child,
                port,
                setup: setup.clone(),
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
        self.setup.url.replace("{port}", &self.port.to_string())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command that the store has no use for.
    pub(crate) async fn command(&self, words: &[&str]) {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = ::redis::Cmd::new();
        command.arg(words);
        command.exec_async(&mut connection).await.unwrap();
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.setup, &self.directory);
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

fn spawn(port: u16, setup: &Setup, directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args([setup.port_arg, &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory.path())
        .args(&setup.args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need a Redis server: apt-get install redis-server")
}
