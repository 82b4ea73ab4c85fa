//! A cluster on this machine: Redis, nodes, balancers and controllers as processes of the real
//! program, each at an address that it keeps when it is started again.

mod layout;
mod look;
mod settings;
mod started;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::Instant;

use self::settings::{Role, Store};
use self::started::StartedNodes;
use crate::disk::Disk;
use crate::net::Net;
use crate::process::Process;
use crate::proxy::Proxy;

pub(crate) use layout::{Layout, Proxied, Scaled, Who};
pub(crate) use started::Mark;

/// What callers show where somebody asks who they are; also the secret of the cluster.
pub(crate) const TOKEN: &str = "known-for-the-length-of-a-run";
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

/// The programs that parts are made of.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) current: PathBuf,
    /// An older build of it.
    pub(crate) older: Option<PathBuf>,
}

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Build {
    /// The one that is tested.
    #[default]
    Current,
    /// The one before it.
    Older,
}

/// Ids of all processes that run, by name.
pub(crate) type Ids = BTreeMap<String, i32>;

/// A process and where it is.
#[derive(Debug, Default)]
struct Member {
    process: Option<Process>,
    build: Build,
    /// `http://..` of its operator API; another one in each of its lives.
    operator: String,
    /// Where it serves: clients, links or Redis' own protocol.
    addr: Option<SocketAddr>,
}

/// A cluster that runs; gone when it is dropped, in the order of its fields: processes before the
/// network and the disk that they use.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: BTreeMap<Who, Member>,
    proxies: Vec<Proxy>,
    started: StartedNodes,
    net: Option<Net>,
    disk: Option<Disk>,
    folder: TempDir,
    programs: Programs,
    layout: Layout,
    http: reqwest::Client,
    ids: watch::Sender<Ids>,
}

impl Cluster {
    /// Starts all parts and waits until every balancer has all nodes.
    pub(crate) async fn start(
        programs: Programs,
        layout: Layout,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(programs, layout).await?;
        if layout.proxied != Proxied::Nobody {
            for n in 0..layout.nodes {
                let proxy = Proxy::start(cluster.addr(Who::Node(n))?, seed ^ n as u64).await?;
                cluster.proxies.push(proxy);
            }
        }
        for who in layout.parts() {
            cluster.begin(who).await?;
        }
        // Where there is a controller, it says which node has how many.
        for node in (0..layout.nodes).filter(|_| layout.controllers == 0) {
            cluster.wait_for_workers(Who::Node(node)).await?;
        }
        for balancer in 0..layout.balancers {
            cluster.wait_for_nodes(Who::Balancer(balancer)).await?;
        }
        Ok(cluster)
    }

    /// All that there has to be before the first process.
    async fn prepare(programs: Programs, layout: Layout) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tidepool-chaos-")
            .tempdir()?;
        let parts = layout.parts();
        let net = match layout.is_apart {
            true => Some(Net::make(&parts).await?),
            false => None,
        };
        let data = folder.path().join("disk");
        let disk = layout.disk_mib.map(|mib| Disk::mount(&data, mib));
        let mut cluster = Self {
            members: BTreeMap::new(),
            proxies: Vec::new(),
            started: StartedNodes::default(),
            net,
            disk: disk.transpose()?,
            folder,
            programs,
            layout,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(LOOK_MAX)
                .build()?,
            ids: watch::Sender::default(),
        };
        let build = match layout.begins_old {
            true => Build::Older,
            false => Build::Current,
        };
        for who in parts {
            let member = Member {
                addr: cluster.place(who)?,
                build,
                ..Member::default()
            };
            cluster.members.insert(who, member);
        }
        if let Some(addr) = cluster
            .members
            .get(&Who::Redis)
            .and_then(|redis| redis.addr)
        {
            cluster.started = StartedNodes::of(addr);
        }
        Ok(cluster)
    }

    /// Where a part is to serve. A controller serves nobody but operators.
    fn place(&self, who: Who) -> anyhow::Result<Option<SocketAddr>> {
        let port = match who {
            Who::Controller(_) => return Ok(None),
            Who::Node(_) => 8_702,
            Who::Balancer(_) | Who::Whole => 8_700,
            Who::Redis => 6_379,
        };
        match &self.net {
            Some(net) => Ok(Some(SocketAddr::from((net.ip(who)?, port)))),
            None => free_addr().map(Some),
        }
    }

    /// Where a part is to serve operators.
    fn operator_place(&self, who: Who) -> anyhow::Result<SocketAddr> {
        match &self.net {
            Some(net) => Ok(SocketAddr::from((net.ip(who)?, 8_701))),
            None => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        }
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

    /// The network that parts have between them.
    pub(crate) fn net(&mut self) -> anyhow::Result<&mut Net> {
        self.net.as_mut().context("all parts are in one network")
    }

    /// The disk of the store.
    pub(crate) fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk
            .as_ref()
            .context("the store has no disk of its own")
    }

    /// What the cluster consists of.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// URL of the store.
    pub(crate) fn redis_url(&self) -> Option<String> {
        let addr = self.addr(Who::Redis).ok()?;
        Some(format!("redis://{addr}/0"))
    }

    /// What nodes carry that controllers have started.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.started.mark()
    }

    /// Ids of all processes that run, always as they are now.
    pub(crate) fn ids(&self) -> watch::Receiver<Ids> {
        self.ids.subscribe()
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
        let process = member.and_then(|member| member.process.take());
        self.ids.send_modify(|ids| {
            ids.remove(&who.name());
        });
        process.with_context(|| format!("{} does not run", who.name()))
    }

    /// Which program a part is when it is started the next time.
    pub(crate) fn become_build(&mut self, who: Who, build: Build) -> anyhow::Result<()> {
        let member = self.members.get_mut(&who);
        member.context("there is no such part")?.build = build;
        Ok(())
    }

    /// Ends a part as an operator would, and waits until it is gone.
    pub(crate) async fn stop(&mut self, who: Who) -> anyhow::Result<()> {
        let status = self.take(who)?.stop(STOP_MAX).await?;
        ensure!(status.success(), "{} stopped with {status}", who.name());
        Ok(())
    }

    /// Kills all that keep or remember notes and run, and starts them again: what is there then was
    /// durable. That one of them has ended by itself is an error.
    pub(crate) async fn kill_memory(&mut self) -> anyhow::Result<()> {
        let is_one = |who: &Who| matches!(who, Who::Redis | Who::Whole | Who::Node(_));
        let parts = self.layout.parts().into_iter().filter(is_one);
        let parts: Vec<_> = parts.filter(|who| self.process(*who).is_ok()).collect();
        for who in &parts {
            let killed = self.take(*who)?.kill().await;
            killed.with_context(|| who.name())?;
        }
        for who in parts {
            self.begin(who).await?;
        }
        Ok(())
    }

    /// Forgets what Redis has kept.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(self.data_of(Who::Redis))
            .context("what Redis kept cannot be removed")
    }

    /// Those that have ended by themselves, with the ends of their logs.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let members = self.members.iter_mut();
        let ended = members.filter_map(|(who, member)| {
            let process = member.process.as_mut()?;
            let status = process.ended()?;
            Some(format!("{} {}", who.name(), process.told_of(status)))
        });
        ended.collect()
    }

    /// Ends all, and keeps the folder with all logs; says where it is.
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

    /// A program, in the network of a part if it has one.
    fn command(&self, who: Who, program: &OsStr) -> Command {
        match &self.net {
            Some(net) => net.command(who, program),
            None => Command::new(program),
        }
    }

    async fn begin_redis(&mut self) -> anyhow::Result<()> {
        let addr = self.addr(Who::Redis)?;
        let data = self.data_of(Who::Redis);
        std::fs::create_dir_all(&data)?;
        let mut command = self.command(Who::Redis, OsStr::new("redis-server"));
        command
            .args(["--bind", &addr.ip().to_string(), "--protected-mode", "no"])
            .args(["--port", &addr.port().to_string(), "--appendonly", "yes"])
            // A title would be written over its environment, and the mark of the run is there.
            .args(["--set-proc-title", "no", "--save", "", "--dir"])
            .arg(&data)
            // As is asked of operators: otherwise Redis acknowledges what it has not written.
            .args(["--appendfsync", "always"]);
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
        let mut command = self.command(who, self.program_of(who)?.as_os_str());
        // Only for finding `ip`.
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .arg(who.role())
            .args(["-o", "jsonl", "--config"])
            .arg(&file)
            .current_dir(self.folder.path())
            .env_clear()
            .envs([("PATH", path), ("TZ", "UTC".into())]);
        let mut process = Process::start_with_banner(command, &self.log_of(who))?;
        let banner = process.banner().await?;
        let operator = banner["operator"].as_str().context("no operator address")?;
        self.put(who, process, operator.to_owned());
        self.wait_for_ready(who).await
    }

    fn program_of(&self, who: Who) -> anyhow::Result<&Path> {
        let Programs { current, older } = &self.programs;
        match self.members.get(&who).map(|member| member.build) {
            Some(Build::Older) => older.as_deref().context("there is no older program"),
            _ => Ok(current),
        }
    }

    fn put(&mut self, who: Who, process: Process, operator: String) {
        let id = process.id();
        self.ids.send_modify(|ids| {
            ids.insert(who.name(), id);
        });
        let member = self.members.entry(who).or_default();
        (member.process, member.operator) = (Some(process), operator);
    }

    fn log_of(&self, who: Who) -> PathBuf {
        self.folder.path().join(format!("{}.log", who.name()))
    }

    /// Where a part keeps what must not be lost.
    fn data_of(&self, who: Who) -> PathBuf {
        let disk = self.disk.as_ref().map(Disk::folder);
        disk.unwrap_or_else(|| self.folder.path()).join(who.name())
    }

    fn settings(&self, who: Who) -> anyhow::Result<String> {
        let role = Role {
            who,
            layout: &self.layout,
            serves: self.members.get(&who).and_then(|member| member.addr),
            operator: self.operator_place(who)?,
            nodes: match who {
                Who::Balancer(n) => self.listed_nodes(n)?,
                _ => Vec::new(),
            },
            store: match self.redis_url() {
                Some(url) => Store::Redis(url),
                None => Store::Folder(self.data_of(who)),
            },
        };
        Ok(role.text())
    }

    /// Nodes as a balancer is told of them; none where it finds them in Redis.
    fn listed_nodes(&self, balancer: usize) -> anyhow::Result<Vec<SocketAddr>> {
        let is_proxied = match self.layout.proxied {
            Proxied::Nobody if self.layout.has_redis => return Ok(Vec::new()),
            Proxied::Nobody => false,
            Proxied::First => balancer == 0,
            Proxied::Everybody => true,
        };
        let addr = |n: usize| match is_proxied {
            true => Ok(self.proxy(n)?.addr()),
            false => self.addr(Who::Node(n)),
        };
        (0..self.layout.nodes).map(addr).collect()
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
