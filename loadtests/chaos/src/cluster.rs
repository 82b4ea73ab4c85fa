//! A cluster on this machine: Redis, nodes, balancers and controllers as processes of the real
//! program, each at an address that it keeps when it is started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Process;
use crate::proxy::Proxy;

/// Longest wait until a process is ready for work.
const READY_MAX: Duration = Duration::from_secs(30);
/// Longest wait until a process that was told to stop is gone.
const STOP_MAX: Duration = Duration::from_secs(45);
/// Ports that parts get; below those that systems give to connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Ports that are tried.
const PORT_TRIES: usize = 100;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for an answer of an operator API.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// A part of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Who {
    /// A node, by its place.
    Node(usize),
    /// A balancer, by its place.
    Balancer(usize),
    /// A controller, by its place.
    Controller(usize),
    /// The only Redis.
    Redis,
}

impl Who {
    /// Its name in the cluster.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Node(n) => format!("n{n}"),
            Self::Balancer(n) => format!("b{n}"),
            Self::Controller(n) => format!("c{n}"),
            Self::Redis => "redis".to_owned(),
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::Balancer(_) => "balancer",
            Self::Controller(_) => "controller",
            Self::Redis => "redis",
        }
    }
}

/// Which balancers reach nodes through proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proxied {
    /// None.
    #[default]
    Nobody,
    /// The first one; the others go straight.
    First,
    /// All.
    Everybody,
}

/// What a cluster consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Nodes.
    pub nodes: usize,
    /// Balancers.
    pub balancers: usize,
    /// Controllers; with any there is a Redis.
    pub controllers: usize,
    /// Whether processes find one another, and keep notes, in Redis.
    pub has_redis: bool,
    /// Who goes through proxies.
    pub proxied: Proxied,
    /// Echo workers of each node.
    pub workers: u32,
    /// Requests that each of them does at a time.
    pub slots: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            nodes: 4,
            balancers: 2,
            controllers: 0,
            has_redis: false,
            proxied: Proxied::Nobody,
            workers: 2,
            slots: 8,
        }
    }
}

/// A process and where it is.
#[derive(Debug, Default)]
struct Member {
    process: Option<Process>,
    /// `http://..` of its operator API; another one in each of its lives.
    operator: String,
    /// Where it serves: clients, links or Redis' own protocol.
    addr: Option<SocketAddr>,
}

/// A cluster that runs; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    layout: Layout,
    folder: TempDir,
    members: BTreeMap<Who, Member>,
    proxies: Vec<Proxy>,
    http: reqwest::Client,
}

impl Cluster {
    /// Starts all parts and waits until every balancer has all nodes.
    pub(crate) async fn start(program: &Path, layout: Layout, seed: u64) -> anyhow::Result<Self> {
        let mut cluster = Self {
            program: program.to_owned(),
            layout,
            folder: tempfile::Builder::new()
                .prefix("tidepool-chaos-")
                .tempdir()?,
            members: BTreeMap::new(),
            proxies: Vec::new(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(LOOK_MAX)
                .build()?,
        };
        let redis = layout.has_redis.then_some(Who::Redis);
        let nodes = (0..layout.nodes).map(Who::Node);
        let balancers = (0..layout.balancers).map(Who::Balancer);
        let controllers = (0..layout.controllers).map(Who::Controller);
        let all = redis
            .into_iter()
            .chain(nodes)
            .chain(balancers)
            .chain(controllers);
        for who in all.collect::<Vec<_>>() {
            let addr = (!matches!(who, Who::Controller(_)))
                .then(free_addr)
                .transpose()?;
            let member = Member {
                addr,
                ..Member::default()
            };
            cluster.members.insert(who, member);
        }
        if layout.proxied != Proxied::Nobody {
            for n in 0..layout.nodes {
                let proxy = Proxy::start(cluster.addr(Who::Node(n))?, seed ^ n as u64).await?;
                cluster.proxies.push(proxy);
            }
        }
        // In the order of `Who`, nodes come first; they need Redis.
        if layout.has_redis {
            cluster.begin(Who::Redis).await?;
        }
        for who in cluster.members.keys().copied().collect::<Vec<_>>() {
            if who != Who::Redis {
                cluster.begin(who).await?;
            }
        }
        // Where there is a controller, it says which node has how many.
        for node in (0..layout.nodes).filter(|_| layout.controllers == 0) {
            cluster.wait_for_workers(Who::Node(node)).await?;
        }
        for balancer in 0..layout.balancers {
            cluster.wait_for_nodes(balancer, layout.nodes).await?;
        }
        Ok(cluster)
    }

    /// Where a part serves.
    pub(crate) fn addr(&self, who: Who) -> anyhow::Result<SocketAddr> {
        let member = self.members.get(&who);
        member
            .and_then(|member| member.addr)
            .with_context(|| format!("there is no {}", who.name()))
    }

    /// The proxy before a node.
    pub(crate) fn proxy(&self, node: usize) -> anyhow::Result<&Proxy> {
        self.proxies.get(node).context("the node has no proxy")
    }

    /// URL of the store.
    pub(crate) fn redis_url(&self) -> Option<String> {
        let addr = self.addr(Who::Redis).ok()?;
        Some(format!("redis://{addr}/0"))
    }

    /// Ids of all processes that run, by name.
    pub(crate) fn ids(&self) -> Vec<(String, i32)> {
        let members = self.members.iter();
        members
            .filter_map(|(who, member)| Some((who.name(), member.process.as_ref()?.id())))
            .collect()
    }

    /// A part that runs.
    pub(crate) fn process(&self, who: Who) -> anyhow::Result<&Process> {
        let member = self.members.get(&who);
        member
            .and_then(|member| member.process.as_ref())
            .with_context(|| format!("{} does not run", who.name()))
    }

    /// Takes a part out, to be ended.
    pub(crate) fn take(&mut self, who: Who) -> anyhow::Result<Process> {
        let member = self.members.get_mut(&who);
        member
            .and_then(|member| member.process.take())
            .with_context(|| format!("{} does not run", who.name()))
    }

    /// Ends a part as an operator would, and waits until it is gone.
    pub(crate) async fn stop(&mut self, who: Who) -> anyhow::Result<()> {
        let status = self.take(who)?.stop(STOP_MAX).await?;
        ensure!(status.success(), "{} stopped with {status}", who.name());
        Ok(())
    }

    /// Forgets what Redis has kept.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        let data = self.folder.path().join("redis");
        std::fs::remove_dir_all(&data).context("what Redis kept cannot be removed")
    }

    /// Those that have ended by themselves, with the ends of their logs.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let members = self.members.iter_mut();
        let ended = members.filter_map(|(who, member)| {
            let process = member.process.as_mut()?;
            let status = process.ended()?;
            Some(format!(
                "{} ended: {status}\n{}",
                who.name(),
                process.log_tail()
            ))
        });
        ended.collect()
    }

    /// Keeps the folder with all logs, and says where it is.
    pub(crate) fn keep(self) -> PathBuf {
        let Self { folder, .. } = self;
        folder.keep()
    }

    /// Starts a part and waits until it is ready.
    pub(crate) async fn begin(&mut self, who: Who) -> anyhow::Result<()> {
        let begun = if who == Who::Redis {
            self.begin_redis().await
        } else {
            self.begin_role(who).await
        };
        begun.with_context(|| format!("{} cannot be started", who.name()))
    }

    async fn begin_redis(&mut self) -> anyhow::Result<()> {
        let addr = self.addr(Who::Redis)?;
        let data = self.folder.path().join("redis");
        std::fs::create_dir_all(&data)?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &addr.port().to_string()])
            .args(["--appendonly", "yes", "--save", "", "--dir"])
            .arg(&data);
        let process = Process::start(command, &self.log_of(Who::Redis))?;
        self.put(Who::Redis, process, String::new());
        let end = Instant::now() + READY_MAX;
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            ensure!(Instant::now() < end, "Redis does not listen");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn begin_role(&mut self, who: Who) -> anyhow::Result<()> {
        let file = self.folder.path().join(format!("{}.toml", who.name()));
        std::fs::write(&file, self.settings(who)?)?;
        let mut command = Command::new(&self.program);
        command
            .arg(who.role())
            .args(["-o", "jsonl", "--config"])
            .arg(&file)
            .current_dir(self.folder.path())
            .env_clear()
            .env("TZ", "UTC");
        let mut process = Process::start(command, &self.log_of(who))?;
        let banner = process.banner().await?;
        let operator = banner["operator"].as_str().context("no operator address")?;
        self.put(who, process, operator.to_owned());
        let end = Instant::now() + READY_MAX;
        while !self.is_ready(who).await {
            ensure!(Instant::now() < end, "{} does not become ready", who.name());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn put(&mut self, who: Who, process: Process, operator: String) {
        let member = self.members.entry(who).or_default();
        (member.process, member.operator) = (Some(process), operator);
    }

    fn log_of(&self, who: Who) -> PathBuf {
        self.folder.path().join(format!("{}.log", who.name()))
    }

    fn settings(&self, who: Who) -> anyhow::Result<String> {
        let name = who.name();
        let mut settings = String::from(
            "[http]\noperator_addr = \"127.0.0.1:0\"\nshutdown_grace_s = 10\nmax_connections = 20000\n",
        );
        match who {
            Who::Balancer(n) => {
                settings += &format!("api_addr = \"{}\"\n", self.addr(who)?);
                settings += &self.listed_nodes(n)?;
                settings += &format!("[node]\nname = \"{name}\"\n");
            }
            Who::Node(_) => {
                let addr = self.addr(who)?;
                settings += &format!("[node]\nname = \"{name}\"\naddr = \"{addr}\"\n");
            }
            _ => settings += &format!("[node]\nname = \"{name}\"\n"),
        }
        settings += &match self.redis_url() {
            Some(url) => format!("[store]\nkind = \"redis\"\nredis_url = \"{url}\"\n"),
            None => format!(
                "[store]\npath = \"{}\"\n",
                self.folder.path().join(&name).display()
            ),
        };
        let Layout { workers, slots, .. } = self.layout;
        // Controllers count the workers of the whole cluster, a node without one counts its own.
        let nodes = match self.layout.controllers {
            0 => 1,
            _ => u32::try_from(self.layout.nodes)?,
        };
        let workers = workers * nodes;
        settings += &format!(
            "[pools.echo]\nmin = {workers}\nmax = {workers}\nslots = {slots}\n\
             [pools.memory]\nmin = 1\nmax = 1\n\
             [pools.grammar]\nmin = 0\nmax = 0\n[pools.reasoning]\nmin = 0\nmax = 0\n"
        );
        Ok(settings)
    }

    /// Nodes as a balancer is told of them; nothing where it finds them in Redis.
    fn listed_nodes(&self, balancer: usize) -> anyhow::Result<String> {
        let is_proxied = match self.layout.proxied {
            Proxied::Nobody if self.layout.has_redis => return Ok(String::new()),
            Proxied::Nobody => false,
            Proxied::First => balancer == 0,
            Proxied::Everybody => true,
        };
        let addr = |n: usize| match is_proxied {
            true => Ok(self.proxy(n)?.addr()),
            false => self.addr(Who::Node(n)),
        };
        let addrs: Vec<_> = (0..self.layout.nodes)
            .map(|n| Ok(format!("\"{}\"", addr(n)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(format!("[cluster]\nnodes = [{}]\n", addrs.join(", ")))
    }

    async fn is_ready(&self, who: Who) -> bool {
        let Some(member) = self.members.get(&who) else {
            return false;
        };
        let asked = self.http.get(format!("{}/readyz", member.operator));
        let answer = asked.send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until a balancer has links to so many nodes.
    async fn wait_for_nodes(&self, balancer: usize, nodes: usize) -> anyhow::Result<()> {
        let who = Who::Balancer(balancer);
        let operator = &self.members[&who].operator;
        let end = Instant::now() + READY_MAX;
        let mut seen = String::new();
        while Instant::now() < end {
            seen = self.links(operator).await.unwrap_or_default();
            let has = seen.split_once(' ').and_then(|(n, _)| n.parse().ok());
            if has == Some(nodes) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{} does not find {nodes} nodes: {seen}", who.name())
    }

    /// Waits until a node has echo workers: it says that it is ready before it has.
    async fn wait_for_workers(&self, who: Who) -> anyhow::Result<()> {
        let end = Instant::now() + READY_MAX;
        while self.workers(who).await.unwrap_or(0) < self.layout.workers as usize {
            ensure!(Instant::now() < end, "{} has no workers", who.name());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn workers(&self, who: Who) -> Option<usize> {
        let workers = format!("{}/v1/workers", self.members.get(&who)?.operator);
        let answer = self
            .http
            .get(workers)
            .send()
            .await
            .ok()?
            .bytes()
            .await
            .ok()?;
        let workers: Value = serde_json::from_slice(&answer).ok()?;
        let is_ready = |w: &&Value| w["pool"] == "echo" && w["state"] == "ready";
        Some(
            workers["workers"]
                .as_array()?
                .iter()
                .filter(is_ready)
                .count(),
        )
    }

    async fn links(&self, operator: &str) -> Option<String> {
        let asked = self.http.get(format!("{operator}/v1/status")).send().await;
        let status: Value = serde_json::from_slice(&asked.ok()?.bytes().await.ok()?).ok()?;
        let parts = status["components"].as_array()?;
        let links = parts.iter().find(|part| part["component"] == "nodes")?;
        Some(links["detail"].as_str()?.to_owned())
    }
}

/// An address of this machine that is free now, of those that are not given to connections:
/// whoever serves there leaves it and comes back. Somebody else may still take it meanwhile; then
/// the start fails and says so.
fn free_addr() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let addr = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if std::net::TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

/// Whether the program knows a command.
pub(crate) async fn knows(program: &Path, command: &str) -> bool {
    let asked = Command::new(program)
        .args([command, "--help"])
        .output()
        .await;
    asked.is_ok_and(|output| output.status.success())
}
