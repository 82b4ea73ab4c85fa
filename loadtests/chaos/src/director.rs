//! Does what the plan says, and writes down from when to when it was in force.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tidepool_store::{Lease, RedisStore};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attack::Attack;
use crate::client::micros;
use crate::cluster::{Cluster, Proxied, Who};
use crate::history::{Fault, FaultKind, Line, Recorder};
use crate::proxy::Weather;
use crate::quota::Quota;
use crate::run::Plant;
use crate::scenario::{Act, Lost, Side, Step, Whom};

/// Name of the lease that controllers contend for.
pub(crate) const LEASE: &str = "controller";

/// Who does it.
pub(crate) struct Director {
    /// The first to be dropped: a process ends slowly under a quota, and its group is there until then.
    quota: Option<Quota>,
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    pub(crate) begun: Instant,
    pub(crate) proxied: Proxied,
    pub(crate) plant: Option<Plant>,
    /// Tells the client how much to send.
    pub(crate) surge: watch::Sender<f64>,
    pub(crate) store: Option<RedisStore>,
    open: Vec<Fault>,
    leader: Option<Who>,
    attack: Option<Attack>,
}

impl Director {
    /// Has done nothing yet.
    pub(crate) fn new(
        cluster: Cluster,
        recorder: Recorder,
        begun: Instant,
        proxied: Proxied,
        surge: watch::Sender<f64>,
        (plant, store): (Option<Plant>, Option<RedisStore>),
    ) -> Self {
        Self {
            quota: None,
            cluster,
            recorder,
            begun,
            proxied,
            plant,
            surge,
            store,
            open: Vec::new(),
            leader: None,
            attack: None,
        }
    }

    /// Does all of a plan, and returns when the last step is done. What is still in force then is
    /// over at `end`.
    pub(crate) async fn play(&mut self, plan: &[Step], end: Duration) -> anyhow::Result<()> {
        for step in plan {
            tokio::time::sleep_until(self.begun + step.at).await;
            self.act(step.act)
                .await
                .with_context(|| format!("the step at {:?} failed: {:?}", step.at, step.act))?;
        }
        tokio::time::sleep_until(self.begun + end).await;
        for fault in std::mem::take(&mut self.open) {
            self.write_down(fault).await;
        }
        Ok(())
    }

    /// Ends all, and keeps the folder with all logs; says where it is.
    pub(crate) fn keep(self) -> PathBuf {
        let Self { quota, cluster, .. } = self;
        drop(quota);
        cluster.keep()
    }

    async fn act(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::Kill(whom) => self.kill(whom).await,
            Act::Freeze(whom) => self.freeze(whom).await,
            Act::Thaw(whom) => self.thaw(whom).await,
            Act::Stop(whom) => self.stop(whom).await,
            Act::Start(whom) => self.start(whom).await,
            Act::Become(whom, build) => {
                let who = self.find(whom).await?;
                self.cluster.become_build(who, build)
            }
            Act::Wipe => self.cluster.wipe(),
            Act::Weather {
                node,
                weather,
                fault,
            } => self.weather(node, weather, fault).await,
            Act::Cut { whom, from, lost } => self.cut(whom, from, lost).await,
            Act::Heal(whom) => self.heal(whom).await,
            Act::Fill | Act::Free => self.fill(act == Act::Fill).await,
            Act::Starve { node, percent } => self.starve(Who::Node(node), percent).await,
            Act::Surge(factor) => self.surge(factor).await,
            Act::Pelt { node, begins } => self.pelt(Who::Node(node), begins).await,
        }
    }

    async fn kill(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        let process = self.cluster.take(who)?;
        // Redis ends by itself rather than acknowledge what it cannot write.
        let is_full = |fault: &Fault| fault.kind == FaultKind::DiskFull;
        let may_have_ended = who == Who::Redis && self.open.iter().any(is_full);
        self.begin(FaultKind::Killed, who.name(), None);
        match may_have_ended {
            true => process.kill_unless_ended().await,
            false => process.kill().await,
        }
    }

    async fn freeze(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        if self.plant != Some(Plant::ShamFreeze) {
            self.cluster.process(who)?.freeze()?;
        }
        self.begin(FaultKind::Frozen, who.name(), None);
        Ok(())
    }

    async fn thaw(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        // Over as soon as it may run again, not when that is known.
        self.end(&who.name()).await;
        self.cluster.process(who)?.thaw()
    }

    async fn stop(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        self.begin(FaultKind::Stopped, who.name(), None);
        self.cluster.stop(who).await
    }

    async fn start(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        self.cluster.begin(who).await?;
        self.end(&who.name()).await;
        Ok(())
    }

    async fn weather(
        &mut self,
        node: usize,
        weather: Weather,
        fault: Option<FaultKind>,
    ) -> anyhow::Result<()> {
        let name = Who::Node(node).name();
        if fault.is_none() {
            self.end(&name).await;
        }
        self.cluster.proxy(node)?.set(weather);
        if let Some(kind) = fault {
            let only = (self.proxied == Proxied::First).then_some(0);
            self.begin(kind, name, only);
        }
        Ok(())
    }

    async fn surge(&mut self, factor: f64) -> anyhow::Result<()> {
        self.surge.send_replace(factor);
        if factor > 1.0 {
            self.begin(FaultKind::Overloaded, "clients".to_owned(), None);
        } else {
            self.end("clients").await;
        }
        Ok(())
    }

    async fn heal(&mut self, whom: Whom) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        // Over as soon as the first packet may come through.
        self.end(&who.name()).await;
        self.cluster.net()?.heal(who).await
    }

    async fn cut(&mut self, whom: Whom, from: Side, lost: Lost) -> anyhow::Result<()> {
        let who = self.find(whom).await?;
        let others = from.parts(&self.cluster.layout());
        if self.plant != Some(Plant::ShamCut) {
            let pairs = lost.pairs(who, &others);
            self.cluster.net()?.lose(&pairs, true).await?;
        }
        let kind = match (who, from) {
            (Who::Redis, _) | (_, Side::Redis) => FaultKind::Adrift,
            _ => FaultKind::Cut,
        };
        self.begin(kind, who.name(), None);
        Ok(())
    }

    async fn fill(&mut self, begins: bool) -> anyhow::Result<()> {
        let is_sham = self.plant == Some(Plant::ShamFill);
        let disk = self.cluster.disk()?;
        match (begins, is_sham) {
            (true, false) => disk.fill()?,
            (false, false) => disk.free()?,
            (_, true) => {}
        }
        if begins {
            self.begin(FaultKind::DiskFull, "disk".to_owned(), None);
        } else {
            self.end("disk").await;
        }
        Ok(())
    }

    async fn starve(&mut self, who: Who, percent: Option<u32>) -> anyhow::Result<()> {
        self.quota = None;
        match percent {
            Some(percent) => {
                self.quota = Some(Quota::set(self.cluster.process(who)?.id(), percent)?);
                self.begin(FaultKind::Slow, who.name(), None);
            }
            None => self.end(&who.name()).await,
        }
        Ok(())
    }

    async fn pelt(&mut self, who: Who, begins: bool) -> anyhow::Result<()> {
        self.attack = None;
        if begins {
            self.attack = Some(Attack::start(self.cluster.addr(who)?));
            self.begin(FaultKind::Pelted, who.name(), None);
        } else {
            self.end(&who.name()).await;
        }
        Ok(())
    }

    /// Who is meant. The leader is looked for once.
    async fn find(&mut self, whom: Whom) -> anyhow::Result<Who> {
        if let Whom::The(who) = whom {
            return Ok(who);
        }
        if let Some(leader) = self.leader {
            return Ok(leader);
        }
        let store = self
            .store
            .as_ref()
            .context("without a Redis nobody leads")?;
        let held = store.current(LEASE).await?.context("nobody leads")?;
        for n in 0..8 {
            let who = Who::Controller(n);
            // A holder is a name and, after it, one of its lives.
            if held.holder.split('/').next() == Some(&who.name()) {
                self.leader = Some(who);
                return Ok(who);
            }
        }
        bail!("{} leads, and is not of this run", held.holder)
    }

    fn since_us(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    fn begin(&mut self, kind: FaultKind, target: String, balancer: Option<usize>) {
        let from_us = self.since_us();
        self.open.push(Fault {
            kind,
            target,
            balancer,
            from_us,
            until_us: from_us,
        });
    }

    async fn end(&mut self, target: &str) {
        let is_over = |fault: &mut Fault| fault.target == target;
        for fault in self.open.extract_if(.., is_over).collect::<Vec<_>>() {
            self.write_down(fault).await;
        }
    }

    async fn write_down(&self, fault: Fault) {
        let until_us = self.since_us();
        self.recorder
            .add(Line::Fault(Fault { until_us, ..fault }))
            .await;
    }
}
