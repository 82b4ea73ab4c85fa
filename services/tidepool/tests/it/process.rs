//! The real program as a process of its own: started on free ports, killed when a test ends.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for the banner; a machine that builds at the same time is slow.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the end of a process.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a process is started with.
pub(crate) struct Start {
    folder: PathBuf,
    role: Option<&'static str>,
    variables: Vec<(String, String)>,
    tokens: [Option<String>; 2],
}

impl Start {
    /// A process whose data and log are in `folder`, configured by nothing else.
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            role: None,
            variables: Vec::new(),
            tokens: [None, None],
        }
    }

    /// One of several processes, as `balancer`, `node` or `controller`.
    pub(crate) fn role(self, role: &'static str) -> Self {
        let role = Some(role);
        Self { role, ..self }
    }

    /// Sets an environment variable.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Demands a token of clients and one of operators. Requests of the test carry them.
    pub(crate) fn tokens(self, api: &str, operator: &str) -> Self {
        self.tokens_of_requests(api, operator)
            .set("TIDEPOOL_HTTP__API_TOKEN", api)
            .set("TIDEPOOL_HTTP__OPERATOR_TOKEN", operator)
    }

    /// Requests of the test carry these, however the process has come to know them.
    pub(crate) fn tokens_of_requests(self, api: &str, operator: &str) -> Self {
        Self {
            tokens: [Some(api.to_owned()), Some(operator.to_owned())],
            ..self
        }
    }

    fn command(&self) -> Command {
        let mut command = command(&self.folder);
        command
            .args(self.role)
            .args(["--api-addr", "127.0.0.1:0", "-o", "jsonl"])
            .args(["--operator-addr", "127.0.0.1:0"])
            .env("TIDEPOOL_STORE__PATH", self.folder.join("data"))
            .envs(self.variables.clone());
        command
    }

    /// Starts what is not to come up, and waits for its end; what it said is there.
    pub(crate) async fn refused(self) -> std::process::Output {
        let ended = tokio::time::timeout(START_MAX, self.command().output()).await;
        ended.expect("its end").expect("the program starts")
    }

    /// Starts it and waits until it says where it listens.
    pub(crate) async fn run(self) -> Tidepool {
        let log = self.folder.join("tidepool.log");
        let appended = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log);
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(appended.expect("a log file"))
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = tokio::time::timeout(START_MAX, lines.next_line()).await;
        let banner: Option<Value> = line
            .ok()
            .and_then(Result::ok)
            .flatten()
            .and_then(|line| serde_json::from_str(&line).ok());
        let banner = banner.unwrap_or_else(|| panic!("no banner; the log: {}", read(&log)));
        // Only who serves clients has an address for them.
        let url = |name: &str| banner[name].as_str().unwrap_or_default().to_owned();
        Tidepool {
            child,
            api: url("api"),
            operator: url("operator"),
            keda: banner["keda"].as_str().map(str::to_owned),
            folder: self.folder,
            log,
            tokens: self.tokens,
            client: Client::builder()
                .timeout(ANSWER_MAX)
                .build()
                .expect("a client"),
        }
    }
}

/// The program with a clean environment, in a folder without a configuration.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool"));
    command
        .current_dir(folder)
        .env_clear()
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A process that runs.
pub(crate) struct Tidepool {
    child: Child,
    pub(crate) api: String,
    pub(crate) operator: String,
    /// Where KEDA calls, if it may.
    pub(crate) keda: Option<String>,
    pub(crate) client: Client,
    folder: PathBuf,
    log: PathBuf,
    tokens: [Option<String>; 2],
}

impl Tidepool {
    /// A request to a kind, ready to be sent.
    pub(crate) fn request(&self, kind: &str, input: &Value) -> reqwest::RequestBuilder {
        self.request_of(kind, input.to_string())
    }

    /// A request whose body is whatever the test wants.
    pub(crate) fn request_of(
        &self,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/invoke/{kind}", self.api);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json");
        with_token(request, self.tokens[0].as_deref()).body(body)
    }

    /// Asks a kind; the answer must be good.
    pub(crate) async fn ask(&self, kind: &str, input: &Value) -> Value {
        good(&format!("{kind} {input}"), self.request(kind, input)).await
    }

    /// Reads a route of the operator API; the answer must be good.
    pub(crate) async fn look(&self, route: &str) -> Value {
        good(route, self.operate(route)).await
    }

    /// A request to the operator API, ready to be sent.
    pub(crate) fn operate(&self, route: &str) -> reqwest::RequestBuilder {
        self.order(Method::GET, route)
    }

    /// A request of any method to the operator API, ready to be sent.
    pub(crate) fn order(&self, method: Method, route: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{route}", self.operator);
        let request = self.client.request(method, url);
        with_token(request, self.tokens[1].as_deref())
    }

    /// What happened so far, oldest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let events = self.look("/v1/events?limit=1000").await;
        events.as_array().expect("a batch").clone()
    }

    /// The health of a part, as `/v1/status` tells it.
    pub(crate) async fn component(&self, name: &str) -> Value {
        let status = self.look("/v1/status").await;
        let components = status["components"].as_array().expect("components");
        let mut found = components.iter().filter(|part| part["component"] == name);
        let part = found.next().expect("the component").clone();
        assert_eq!(found.next(), None, "{name} is listed twice");
        part
    }

    /// Runs a command of the same program against this process.
    pub(crate) async fn cli(&self, args: &[&str]) -> std::process::Output {
        let addresses = ["--api-addr", &self.api, "--operator-addr", &self.operator];
        let names = ["TIDEPOOL_HTTP__API_TOKEN", "TIDEPOOL_HTTP__OPERATOR_TOKEN"];
        let tokens = names.iter().zip(&self.tokens);
        let tokens = tokens.filter_map(|(name, token)| Some((name, token.as_ref()?)));
        let run = command(&self.folder)
            .args(args)
            .args(addresses)
            .envs(tokens)
            .output();
        let ended = tokio::time::timeout(STOP_MAX, run).await;
        ended
            .unwrap_or_else(|_| panic!("{args:?} does not end within {STOP_MAX:?}"))
            .expect("the command runs")
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Everything logged in this folder so far, also by processes before this one.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// SIGKILL: nothing is finished, nothing is flushed. Returns when the process is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// Sends a signal such as `TERM` and goes on.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a process that runs").to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        let sent = tokio::time::timeout(ANSWER_MAX, kill).await;
        let sent = sent.unwrap_or_else(|_| panic!("SIG{name} is not sent within {ANSWER_MAX:?}"));
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(STOP_MAX, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not stop within {STOP_MAX:?}"))
            .expect("an exit status")
    }

    /// SIGTERM, then the end, which must be a good one.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM").await;
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0));
    }
}

/// Whatever a test fails at, what the process logged says more.
impl Drop for Tidepool {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the process:\n{}", self.log());
        }
    }
}

fn with_token(request: reqwest::RequestBuilder, token: Option<&str>) -> reqwest::RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Sends a request, whose client bounds the wait; `what` is named when the answer is not good.
async fn good(what: &str, request: reqwest::RequestBuilder) -> Value {
    let answered = async {
        let answer = request.send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.text().await?))
    };
    let (status, text) = answered
        .await
        .unwrap_or_else(|error| panic!("no answer to {what}: {error:?}"));
    assert_eq!(status, StatusCode::OK, "{what}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error} in {text}"))
}

/// Looks until there is something to see, for `within` at most; also a look that hangs ends then.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let seen = tokio::time::timeout(within, seen).await;
    seen.unwrap_or_else(|_| panic!("not within {within:?}: {what}"))
}
