//! A `redis-server` from the distribution, with a folder and a port of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Somebody else may take the port between its choice and its use.
const START_TRIES: usize = 5;
/// Longest wait for one start.
const START_MAX: Duration = Duration::from_secs(30);
/// What the server writes when it listens and has read its data.
const READY: &str = "Ready to accept connections";
/// Nothing is kept; who wants otherwise says so in further lines.
const DEFAULTS: &str = "port {port}\nsave \"\"\nappendonly no\n";

/// A running server, reached on loopback only, which ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    config: String,
    folder: TempDir,
}

impl RedisServer {
    /// Starts an empty server on a free port, and returns when it answers.
    ///
    /// # Panics
    /// When it does not start, with what it said.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with lines of `redis.conf`, where `{port}` stands for the port. They come over a
    /// pipe, so a password among them is in no list of processes.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with(config: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = format!("{DEFAULTS}{config}\n");
        let mut said = String::new();
        for _ in 0..START_TRIES {
            let port = free_port();
            match spawn(port, &config, &folder) {
                Ok(child) => {
                    return Self {
                        child,
                        port,
                        config,
                        folder,
                    };
                }
                Err(words) => said = words,
            }
        }
        panic!("redis-server did not start: {said}");
    }

    /// The address without a user: `redis://127.0.0.1:<port>/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The address for a user with a password; an empty `user` is the default one.
    #[must_use]
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a word.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    /// Starts it again on the same port, with what its folder holds, and returns when it answers.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.config, &self.folder)
            .unwrap_or_else(|said| panic!("redis-server did not start again: {said}"));
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Starts the program and waits until it says that it is ready, or for its last words. Whether a
/// port answers would not tell: it may be that of another program.
fn spawn(port: u16, config: &str, folder: &TempDir) -> Result<Child, String> {
    let mut child = Command::new("redis-server")
        .arg("-")
        .args(["--bind", "127.0.0.1", "--loglevel", "notice"])
        .args(["--logfile", "", "--dir"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs a Redis server: apt-get install redis-server");
    let mut input = child.stdin.take().expect("a pipe");
    let config = config.replace("{port}", &port.to_string());
    input.write_all(config.as_bytes()).expect("it reads");
    drop(input);
    let (told, words) = mpsc::channel();
    let output = child.stdout.take().expect("a pipe");
    thread::spawn(move || told.send(read_until_ready(output)));
    match words.recv_timeout(START_MAX) {
        Ok(Ok(())) => Ok(child),
        Ok(Err(said)) => {
            child.wait().expect("its end");
            Err(said)
        }
        Err(_) => {
            child.kill().expect("a process to kill");
            child.wait().expect("its end");
            Err(format!("it is not ready after {START_MAX:?}"))
        }
    }
}

/// Reads what the program says until it is ready, or all that it said.
fn read_until_ready(output: impl Read) -> Result<(), String> {
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        if line.contains(READY) {
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(said)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// What the server answers to one line.
    fn ask(server: &RedisServer, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        write!(stream, "{line}\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_at_once_and_after_a_restart_with_what_it_kept() {
        let mut server = RedisServer::start_with("appendonly yes\nappendfsync always");
        assert_eq!(ask(&server, "SET a 1"), "+OK\r\n+OK\r\n");
        server.kill();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart();
        assert_eq!(ask(&server, "GET a"), "$1\r\n1\r\n+OK\r\n");
    }

    #[test]
    fn a_taken_port_is_told_and_another_server_is_not_mistaken_for_it() {
        let other = RedisServer::start();
        let folder = TempDir::new().unwrap();
        let said = spawn(other.port(), DEFAULTS, &folder).unwrap_err();
        assert!(said.contains("in use"), "{said}");
    }

    #[test]
    fn nobody_gets_in_without_the_password() {
        let server = RedisServer::start_with("requirepass secret");
        assert!(ask(&server, "GET a").starts_with("-NOAUTH"));
        assert!(ask(&server, "AUTH secret").starts_with("+OK"));
        let url = server.url_for("", "secret");
        assert_eq!(url, format!("redis://:secret@127.0.0.1:{}/", server.port()));
    }
}
