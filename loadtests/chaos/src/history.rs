//! What a run leaves behind: every request as its client saw it, every fault as it was made, and
//! what was found at the end. One JSON object a line, judged by [`crate::check`] and by nobody
//! else.
//!
//! Times are microseconds since the beginning of the run, by one clock.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::check::Demands;
use crate::scenario::Scenario;

/// Requests of this time from the beginning are not timed: connections are made.
const WARMUP: Duration = Duration::from_secs(2);
/// Lines that wait to be written.
const WAITING_MAX: usize = 8_192;
/// Lines that a history may have.
const LINES_MAX: usize = 20_000_000;

/// One line of a history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Header(Box<Header>),
    /// A request that ended, one way or another.
    Request(Request),
    /// A fault that is over.
    Fault(Fault),
    /// A record of the stream of desired states.
    Desired(Desired),
    /// How often a note was found when all was over.
    Found(Found),
    /// What a process took.
    Sample(Sample),
    /// What nodes ran.
    Fleet(Fleet),
    /// The last one: how many requests there were to be.
    End {
        /// Requests that the plan had.
        planned: u64,
    },
}

/// What a run was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Name of the scenario.
    pub scenario: String,
    /// Everything that was drawn follows from it.
    pub seed: u64,
    /// When it began (RFC 3339).
    pub begun: String,
    /// Requests before this time warm up: they are judged, but not timed.
    pub warmup_us: u64,
    /// What must hold.
    pub demands: Demands,
}

impl Header {
    /// Of a run that begins now.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self {
            scenario: scenario.name.to_owned(),
            seed,
            begun: jiff::Timestamp::now().to_string(),
            warmup_us: WARMUP.as_micros() as u64,
            demands: scenario.demands.clone(),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Gives back its body; may be done twice.
    Echo,
    /// Stores a note without an id of its own: done twice, it is there twice.
    Note,
    /// Looks for a note of before: the newest, or an older one.
    Read,
}

/// A request as its client saw it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its number in the run, from 0.
    pub id: u64,
    /// What it asked for.
    pub kind: RequestKind,
    /// When it was to be sent.
    pub intended_us: u64,
    /// When it was sent.
    pub sent_us: u64,
    /// When its answer was read, or given up.
    pub ended_us: u64,
    /// HTTP status; 0 without an answer.
    pub status: u16,
    /// Code of the problem, or the client's own word where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The worker that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The balancer that it went to last, by its place.
    pub balancer: usize,
    /// Balancers that it was offered to.
    pub attempts: u32,
    /// Whether the answer is the one to this request; of a read: whether it says how often the note is
    /// there.
    pub is_own: bool,
    /// Of a read: the note that it looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<u64>,
    /// Of a good read: how often that note was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl Request {
    /// Whether it was answered with what was asked for.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == 200
    }

    /// How long its caller waited, from when it was to be sent.
    #[must_use]
    pub fn latency_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.intended_us)
    }

    /// Name of the node that answered.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.worker.as_deref()?.rsplit_once('@').map(|(_, n)| n)
    }
}

/// What was done to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Frozen,
    /// SIGTERM, until it was started anew.
    Stopped,
    /// Is not heard, or does not hear, by who hands work to it; its connections stay.
    Cut,
    /// The same, but between it and the store; work reaches it.
    Adrift,
    /// The disk of the store has no byte left.
    DiskFull,
    /// Answers late: through a proxy, or because it has next to no processor.
    Slow,
    /// More requests than can be served.
    Overloaded,
    /// Strangers throw bytes at its port.
    Pelted,
}

/// A fault, from its beginning to its end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What was done.
    pub kind: FaultKind,
    /// To whom.
    pub target: String,
    /// Only on the way from this balancer, by its place; nothing: for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<usize>,
    /// Since when it was in force.
    pub from_us: u64,
    /// Since when it no longer was.
    pub until_us: u64,
}

/// A record of the stream of desired states.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Desired {
    /// When it was seen.
    pub at_us: u64,
    /// Its place in the stream.
    pub position: u64,
    /// Fencing epoch of its writer.
    pub epoch: u64,
    /// Order within the epoch.
    pub seq: u64,
    /// Who held the lease of that epoch when it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// Echo workers that each node is to run.
    #[serde(default)]
    pub workers: BTreeMap<String, u32>,
}

/// What nodes ran, as they said themselves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fleet {
    /// When it was seen.
    pub at_us: u64,
    /// Echo workers that served on each node that answered.
    pub running: BTreeMap<String, u32>,
    /// Nodes that controllers have started and that are there as processes; each as often as it is.
    #[serde(default)]
    pub started: Vec<String>,
}

/// How often a note was found when all was over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Number of the request that stored it.
    pub id: u64,
    /// Times that it is there.
    pub times: u64,
}

/// What a process took.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// Which.
    pub process: String,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

/// Writes a history as the run goes on, in the order in which lines come.
#[derive(Clone, Debug)]
pub struct Recorder {
    lines: mpsc::Sender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Line(Box<Line>),
    Flush(oneshot::Sender<std::io::Result<()>>),
}

impl Recorder {
    /// Begins a new file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let (lines, entries) = mpsc::channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write_all(BufWriter::new(file), entries))?;
        Ok(Self { lines })
    }

    /// Adds a line. Waits while the disk is slower than the run.
    pub async fn add(&self, line: Line) {
        // The writer ends with its last sender, never before.
        let _ = self.lines.send(Entry::Line(Box::new(line))).await;
    }

    /// Waits until everything added so far is in the file.
    ///
    /// # Errors
    /// When something could not be written: the history is not whole.
    pub async fn flush(&self) -> anyhow::Result<()> {
        let (told, is_done) = oneshot::channel();
        let sent = self.lines.send(Entry::Flush(told)).await;
        ensure!(sent.is_ok(), "the writer of the history is gone");
        is_done.await?.context("the history is not whole")
    }
}

fn write_all(mut file: BufWriter<std::fs::File>, mut entries: mpsc::Receiver<Entry>) {
    let mut written = Ok(());
    while let Some(entry) = entries.blocking_recv() {
        match entry {
            Entry::Line(line) if written.is_ok() => written = write(&mut file, &line),
            Entry::Line(_) => {}
            Entry::Flush(told) => {
                let flushed = std::mem::replace(&mut written, Ok(())).and_then(|()| file.flush());
                // Who asked may have given up.
                let _ = told.send(flushed);
            }
        }
    }
}

fn write(file: &mut impl Write, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

/// Reads a whole history.
///
/// # Errors
/// When it cannot be read; the message has the line.
pub fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = BufReader::new(file).lines().take(LINES_MAX).enumerate();
    lines
        .map(|(n, line)| {
            let place = || format!("{}, line {}", path.display(), n + 1);
            serde_json::from_str(&line.with_context(place)?).with_context(place)
        })
        .collect()
}
