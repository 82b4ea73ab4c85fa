//! One run of a scenario: starts the cluster, sends, lets the director do its worst, looks for what
//! was acknowledged, and hands the history to the judge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use tidepool_store::RedisStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::check::{self, Verdict};
use crate::client::Callers;
use crate::cluster::{Cluster, Who, knows};
use crate::director::Director;
use crate::history::{self, Found, Header, Line, Recorder};
use crate::proxy::{Proxy, Way, Weather};
use crate::scenario::{Length, Scenario};
use crate::watch as aside;

/// Requests of this time from the beginning are not timed: connections are made.
const WARMUP: Duration = Duration::from_secs(2);

/// Something wrong on purpose: the judge must find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Plant {
    /// Answers of the first balancer have a byte changed now and then.
    CorruptAnswers,
    /// Frozen processes go on.
    ShamFreeze,
    /// Each note is sent twice.
    DoubledNote,
    /// Some notes are taken for acknowledged that were never sent.
    InventedNote,
    /// The client forgets one of a hundred requests.
    ForgetfulClient,
}

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program `tidepool`.
    pub program: PathBuf,
    /// How long, in seconds; unset: as the scenario says.
    pub seconds: Option<u64>,
    /// Everything drawn follows from it.
    pub seed: u64,
    /// Requests a second; unset: as the scenario says.
    pub rate_per_s: Option<f64>,
    /// Where the history goes.
    pub history: PathBuf,
    /// Something wrong on purpose.
    pub plant: Option<Plant>,
    /// Whether logs are kept.
    pub keep: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was run, and judged.
    Judged(Box<Verdict>),
    /// It could not be run here, and why. That is no pass.
    Skipped(String),
}

impl Outcome {
    /// Whether everything was shown to hold.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Judged(verdict) if verdict.is_pass())
    }
}

/// Runs a scenario.
///
/// # Errors
/// When the run could not be made as planned; nothing was shown then.
pub async fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Outcome> {
    if let Some(reason) = cannot(scenario, options).await {
        return Ok(Outcome::Skipped(reason));
    }
    let cluster = Cluster::start(&options.program, scenario.layout, options.seed).await?;
    let recorder = Recorder::create(&options.history)?;
    play(scenario, options, cluster, &recorder).await?;
    recorder.flush().await?;
    // From the file, as anybody else would.
    let lines = history::read(&options.history)?;
    Ok(Outcome::Judged(Box::new(check::judge(&lines))))
}

async fn cannot(scenario: &Scenario, options: &Options) -> Option<String> {
    let layout = scenario.layout;
    if layout.controllers > 0 && !knows(&options.program, "controller").await {
        return Some("this program has no role `controller`".to_owned());
    }
    let redis = tokio::process::Command::new("redis-server")
        .arg("--version")
        .output();
    if layout.has_redis && redis.await.is_err() {
        return Some("redis-server is not installed".to_owned());
    }
    None
}

async fn play(
    scenario: &Scenario,
    options: &Options,
    cluster: Cluster,
    recorder: &Recorder,
) -> anyhow::Result<()> {
    let length = Length::of(options.seconds.unwrap_or(scenario.seconds));
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let plan = (scenario.plan)(length, &mut rng);
    recorder.add(Line::Header(header(scenario, options))).await;

    let begun = Instant::now();
    let mut load = scenario.load;
    load.rate_per_s = options.rate_per_s.unwrap_or(load.rate_per_s);
    let (addrs, _bad) = balancers(&cluster, scenario, options).await?;
    let callers = Callers::new(addrs, recorder.clone(), load, begun, options.plant)?;
    let (surge, factor) = watch::channel(1.0);
    let store = store(&cluster).await?;
    let _aside = watch_aside(&cluster, store.clone(), recorder, begun);

    let sender = callers.clone();
    let sending = tokio::spawn(async move {
        let factor = |_| *factor.borrow();
        sender.send(length.all(), factor).await
    });
    let hurt = (options.plant, store);
    let proxied = scenario.layout.proxied;
    let mut director = Director::new(cluster, recorder.clone(), begun, proxied, surge, hurt);
    let played = director.play(&plan, length.calm + length.faults).await;
    let planned = sending.await?;
    let found = match played {
        Ok(()) => find_notes(&callers, recorder, planned, load.note_every).await,
        Err(error) => Err(error),
    };
    recorder.add(Line::End { planned }).await;
    let ended = director.cluster.ended();
    if options.keep || found.is_err() || !ended.is_empty() {
        let kept = director.cluster.keep();
        found.with_context(|| format!("logs are in {}", kept.display()))?;
        ensure!(
            ended.is_empty(),
            "{}\nlogs are in {}",
            ended.join("\n"),
            kept.display()
        );
    }
    Ok(())
}

fn header(scenario: &Scenario, options: &Options) -> Header {
    Header {
        scenario: scenario.name.to_owned(),
        seed: options.seed,
        begun: jiff::Timestamp::now().to_string(),
        warmup_us: WARMUP.as_micros() as u64,
        demands: scenario.demands.clone(),
    }
}

/// Where clients go; through a proxy that corrupts, if that is planted.
async fn balancers(
    cluster: &Cluster,
    scenario: &Scenario,
    options: &Options,
) -> anyhow::Result<(Vec<String>, Option<Proxy>)> {
    let balancers = (0..scenario.layout.balancers).map(Who::Balancer);
    let addrs = balancers.map(|who| Ok(cluster.addr(who)?.to_string()));
    let mut addrs = addrs.collect::<anyhow::Result<Vec<_>>>()?;
    if options.plant != Some(Plant::CorruptAnswers) {
        return Ok((addrs, None));
    }
    let proxy = Proxy::start(cluster.addr(Who::Balancer(0))?, options.seed).await?;
    proxy.set(Weather {
        there: Way::default(),
        back: Way {
            corrupt_every: Some(20),
            ..Way::default()
        },
    });
    addrs[0] = proxy.addr().to_string();
    Ok((addrs, Some(proxy)))
}

async fn store(cluster: &Cluster) -> anyhow::Result<Option<RedisStore>> {
    match cluster.redis_url() {
        Some(url) => Ok(Some(RedisStore::connect(&url).await?)),
        None => Ok(None),
    }
}

/// Tasks that end with the run.
struct Aside(Vec<JoinHandle<()>>);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn watch_aside(
    cluster: &Cluster,
    store: Option<RedisStore>,
    recorder: &Recorder,
    begun: Instant,
) -> Aside {
    let memory = aside::memory(cluster.ids(), recorder.clone(), begun);
    let desired = store.map(|store| tokio::spawn(aside::desired(store, recorder.clone(), begun)));
    Aside(desired.into_iter().chain([tokio::spawn(memory)]).collect())
}

/// Looks for every note that was to be stored, whatever its client was told.
async fn find_notes(
    callers: &Callers,
    recorder: &Recorder,
    planned: u64,
    note_every: u64,
) -> anyhow::Result<()> {
    let notes = (0..planned).filter(|id| note_every > 0 && id % note_every == note_every - 1);
    for id in notes {
        let times = callers.find(id).await?;
        recorder.add(Line::Found(Found { id, times })).await;
    }
    Ok(())
}

/// Where a history goes unless told.
#[must_use]
pub fn history_path(folder: &Path, scenario: &Scenario, seed: u64) -> PathBuf {
    folder.join(format!("{}-{seed}.jsonl", scenario.name))
}
