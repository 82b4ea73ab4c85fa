//! One run of a scenario: starts the cluster, sends, lets the director do its worst, looks for what
//! was acknowledged, and hands the history to the judge.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use tidepool_store::RedisStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::check::{self, Verdict};
use crate::client::{Callers, Load};
use crate::cluster::{Cluster, Programs, TOKEN, knows};
use crate::director::Director;
use crate::history::{self, Found, Header, Line, Recorder, RequestKind};
use crate::process::Process;
use crate::proxy::{Proxy, Way, Weather};
use crate::scenario::{Act, Length, Scenario, Step};
use crate::{disk, net, process, quota, watch as aside};

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
    /// No packet is lost in a cut.
    ShamCut,
    /// A full disk is not full.
    ShamFill,
    /// What one of the nodes runs is not seen.
    HiddenWorkers,
    /// A process is there that says of itself that a controller had started it.
    Orphan,
    /// Every third read is taken for one that found nothing.
    StaleRead,
}

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program `tidepool`.
    pub program: PathBuf,
    /// An older build of it, where upgrades begin.
    pub from: Option<PathBuf>,
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
    tokio::task::spawn_blocking(remove_leftovers).await?;
    if let Some(reason) = cannot(scenario, options).await {
        return Ok(Outcome::Skipped(reason));
    }
    let programs = Programs {
        current: options.program.clone(),
        older: options.from.clone(),
    };
    let cluster = Cluster::start(programs, scenario.layout, options.seed).await?;
    let recorder = Recorder::create(&options.history)?;
    play(scenario, options, cluster, &recorder).await?;
    recorder.flush().await?;
    // From the file, as anybody else would.
    let lines = history::read(&options.history)?;
    Ok(Outcome::Judged(Box::new(check::judge(&lines))))
}

/// Ends and removes what runs of dead processes have left.
fn remove_leftovers() {
    process::end_leftovers();
    // Nobody else can have made the rest, or remove it.
    if rustix::process::geteuid().is_root() {
        quota::remove_leftovers();
        net::remove_leftovers();
        disk::remove_leftovers();
    }
}

/// Why a scenario cannot be run here, if it cannot.
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
    if layout.begins_old
        && let Some(reason) = no_older(options)
    {
        return Some(reason);
    }
    if layout.is_apart
        && let Some(reason) = net::is_missing().await
    {
        return Some(reason);
    }
    if layout.disk_mib.is_some()
        && let Some(reason) = disk::is_missing()
    {
        return Some(reason);
    }
    let is_starving = |step: &Step| matches!(step.act, Act::Starve { .. });
    let plan = (scenario.plan)(Length::of(scenario.seconds), &mut fastrand::Rng::new());
    plan.iter().any(is_starving).then(quota::is_missing)?
}

/// Why there is no older program to begin with, if there is none.
fn no_older(options: &Options) -> Option<String> {
    let Some(older) = &options.from else {
        return Some("no older program is named (--from)".to_owned());
    };
    match has_same_bytes(older, &options.program) {
        Ok(false) => None,
        Ok(true) => Some(format!(
            "{} (--from) is the program that is tested, so nothing would be upgraded",
            older.display()
        )),
        Err(error) => Some(format!("the older program (--from): {error:#}")),
    }
}

fn has_same_bytes(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| {
        let file = std::fs::File::open(path);
        file.with_context(|| format!("{} cannot be read", path.display()))
    };
    let (one, other) = (open(one)?, open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (bytes, others) = (one.fill_buf()?, other.fill_buf()?);
        let length = bytes.len().min(others.len());
        if bytes[..length] != others[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(bytes.len() == others.len());
        }
        one.consume(length);
        other.consume(length);
    }
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
    let header = Box::new(Header::new(scenario, options.seed));
    recorder.add(Line::Header(header)).await;

    let begun = Instant::now();
    let mut load = scenario.load;
    load.rate_per_s = options.rate_per_s.unwrap_or(load.rate_per_s);
    let (addrs, _bad) = balancers(&cluster, scenario, options).await?;
    let callers = Callers::new(
        addrs,
        TOKEN.to_owned(),
        recorder.clone(),
        load,
        begun,
        options.plant,
    )?;
    let (surge, factor) = watch::channel(1.0);
    let store = store(&cluster).await?;
    let _orphan = orphan(&cluster, options)?;
    let aside = watch_aside(&cluster, store.clone(), recorder, (begun, options.plant));

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
    drop(aside);
    let found = match played {
        // Asked first: who is killed and started again has not ended by itself for all to see.
        Ok(()) if director.cluster.ended().is_empty() => {
            find_notes(&mut director.cluster, &callers, recorder, (planned, load)).await
        }
        other => other,
    };
    recorder.add(Line::End { planned }).await;
    conclude(director, found, options.keep)
}

/// Ends all. Logs are kept if that is asked for, or somebody has to find out what went wrong.
fn conclude(mut director: Director, found: anyhow::Result<()>, keeps: bool) -> anyhow::Result<()> {
    let ended = director.cluster.ended();
    if keeps || found.is_err() || !ended.is_empty() {
        let kept = director.keep();
        let told = format!("{}\nlogs are in {}", ended.join("\n"), kept.display());
        found.with_context(|| told.trim_start().to_owned())?;
        ensure!(ended.is_empty(), "{told}");
    }
    Ok(())
}

/// Where clients go; through a proxy that corrupts, if that is planted.
async fn balancers(
    cluster: &Cluster,
    scenario: &Scenario,
    options: &Options,
) -> anyhow::Result<(Vec<String>, Option<Proxy>)> {
    let fronts = scenario.layout.fronts();
    let addrs = fronts.iter().map(|who| Ok(cluster.addr(*who)?.to_string()));
    let mut addrs = addrs.collect::<anyhow::Result<Vec<_>>>()?;
    if options.plant != Some(Plant::CorruptAnswers) {
        return Ok((addrs, None));
    }
    let proxy = Proxy::start(cluster.addr(fronts[0])?, options.seed).await?;
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
    (begun, plant): (Instant, Option<Plant>),
) -> Aside {
    let mut tasks = vec![tokio::spawn(aside::memory(
        cluster.ids(),
        recorder.clone(),
        begun,
    ))];
    if let Some(store) = store {
        if let Some(scaled) = cluster.layout().scaled {
            let mark = scaled.started_nodes.and_then(|_| cluster.mark());
            let fleet = aside::fleet(store.clone(), mark, recorder.clone(), begun, plant);
            tasks.push(tokio::spawn(fleet));
        }
        tasks.push(tokio::spawn(aside::desired(store, recorder.clone(), begun)));
    }
    Aside(tasks)
}

/// A process that nobody wants, if that is planted.
fn orphan(cluster: &Cluster, options: &Options) -> anyhow::Result<Option<Process>> {
    let Some(mark) = cluster
        .mark()
        .filter(|_| options.plant == Some(Plant::Orphan))
    else {
        return Ok(None);
    };
    let (variable, value) = mark.of_node("auto-99");
    let mut command = tokio::process::Command::new("sleep");
    command.arg("1000").env(variable, value);
    Process::start(command, Path::new("/dev/null")).map(Some)
}

/// Looks for every note that was to be stored, whatever its client was told; first everybody who keeps
/// or remembers one is killed.
async fn find_notes(
    cluster: &mut Cluster,
    callers: &Callers,
    recorder: &Recorder,
    (planned, load): (u64, Load),
) -> anyhow::Result<()> {
    let mut notes = (0..planned)
        .filter(|id| load.kind(*id) == RequestKind::Note)
        .peekable();
    if notes.peek().is_some() {
        cluster.kill_memory().await?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_older_than_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        // Longer than what is read at once.
        let long = vec![7_u8; 100_000];
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            path
        };
        let mut changed = long.clone();
        changed[99_999] = 8;
        let program = file("program", &long);
        let is_same = |other: &Path| has_same_bytes(&program, other).expect("both are there");
        assert!(is_same(&program));
        assert!(is_same(&file("copy", &long)));
        assert!(!is_same(&file("changed", &changed)));
        assert!(!is_same(&file("shorter", &long[1..])));
        assert!(has_same_bytes(&program, &folder.path().join("none")).is_err());
    }
}
