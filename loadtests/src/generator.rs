//! The open loop: one thread paces, others send.
//!
//! The pacer sleeps until each intended start and hands the arrival to a sender's lane. It
//! never waits for an answer: when as many requests are in flight as the scenario allows, the
//! arrival is dropped and counted. It has a thread of its own because the timers of the
//! runtime have a resolution of a millisecond, which would show in every latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};

use crate::arrivals::{Arrival, Arrivals};
use crate::client::{Client, Target};
use crate::recorder::{Grid, Recorder, Sample};
use crate::scenario::Scenario;

/// Longest sleep of the pacer between two looks at the interrupt.
const NAP: Duration = Duration::from_millis(20);
/// What the threads get to build their runtimes before the first arrival.
const HEAD_START: Duration = Duration::from_millis(50);
/// How long requests in flight may still take after an interrupt.
const GRACE: Duration = Duration::from_secs(1);

/// Counts that can be read while the run goes on. They publish nothing but themselves, so
/// relaxed ordering is enough.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) in_flight: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Live {
    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Takes a place in flight unless `max` are taken. Only the pacer takes places.
    fn enter(&self, max: usize) -> bool {
        let is_free = Self::read(&self.in_flight) < max as u64;
        if is_free {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        is_free
    }

    fn leave(&self, is_ok: bool) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
        if !is_ok {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the pacer did.
pub(crate) struct Paced {
    /// Arrivals that were due after the warm-up, sent or dropped.
    pub(crate) due: u64,
    /// Those of them that were dropped.
    pub(crate) dropped: u64,
    /// Drops on the timeline, warm-up included.
    pub(crate) dropped_at: Vec<u64>,
    /// How far into the plan it came.
    pub(crate) lasted: Duration,
}

/// What a run left.
pub(crate) struct Results {
    pub(crate) paced: Paced,
    pub(crate) recorder: Recorder,
    /// Requests whose answer was not waited for after an interrupt.
    pub(crate) abandoned: u64,
    pub(crate) grid: Grid,
}

/// A run under way.
pub(crate) struct Generator {
    pub(crate) live: Arc<Live>,
    /// The instant from which the plan counts.
    pub(crate) start: Instant,
    grid: Grid,
    stop: watch::Sender<bool>,
    paced: oneshot::Receiver<Paced>,
    lanes: Vec<oneshot::Receiver<Result<Recorder, String>>>,
}

impl Generator {
    /// Starts the pacer and the senders.
    pub(crate) fn start(scenario: &Arc<Scenario>, target: &Target) -> Result<Self, String> {
        let live = Arc::new(Live::default());
        let grid = Grid::over(scenario.plan.duration());
        let (stop, stopped) = watch::channel(false);
        let start = Instant::now() + HEAD_START;
        let (mut entries, mut lanes) = (Vec::new(), Vec::new());
        for n in 0..scenario.threads {
            // Every place in flight fits into every lane: handing over never waits or fails.
            let (entry, arrivals) = mpsc::channel(scenario.max_in_flight);
            let lane = Lane {
                scenario: Arc::clone(scenario),
                live: Arc::clone(&live),
                stopped: stopped.clone(),
                start,
                recorder: Recorder::new(scenario.warmup, grid),
            };
            let target = target.clone();
            lanes.push(spawn(format!("load-{n}"), move || {
                lane.run(&target, arrivals)
            })?);
            entries.push(entry);
        }
        let pacer = Pacer {
            scenario: Arc::clone(scenario),
            live: Arc::clone(&live),
            stopped,
            start,
            entries,
        };
        let paced = spawn("load-pacer".to_owned(), move || pacer.run(grid))?;
        Ok(Self {
            live,
            start,
            grid,
            stop,
            paced,
            lanes,
        })
    }

    /// A handle that interrupts the run.
    pub(crate) fn stopper(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }

    /// Waits for the end: of the plan, or after an interrupt.
    pub(crate) async fn finish(self) -> Result<Results, String> {
        let lost = |_| "a thread of it ended early".to_owned();
        let paced = self.paced.await.map_err(lost)?;
        let mut all: Option<Recorder> = None;
        for lane in self.lanes {
            let recorder = lane.await.map_err(lost)??;
            match &mut all {
                Some(all) => all.merge(recorder),
                None => all = Some(recorder),
            }
        }
        Ok(Results {
            paced,
            recorder: all.ok_or("it has no threads")?,
            abandoned: Live::read(&self.live.in_flight),
            grid: self.grid,
        })
    }
}

/// Runs `work` on a thread of its own; a panic there closes the receiver.
fn spawn<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, String> {
    let (done, result) = oneshot::channel();
    thread::Builder::new()
        .name(name)
        .spawn(move || {
            // Nobody waits any more when the receiver is gone.
            let _ = done.send(work());
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    Ok(result)
}

struct Pacer {
    scenario: Arc<Scenario>,
    live: Arc<Live>,
    stopped: watch::Receiver<bool>,
    start: Instant,
    entries: Vec<mpsc::Sender<Arrival>>,
}

impl Pacer {
    fn run(self, grid: Grid) -> Paced {
        let scenario = &self.scenario;
        let mut paced = Paced {
            due: 0,
            dropped: 0,
            dropped_at: vec![0; grid.buckets],
            lasted: Duration::ZERO,
        };
        let arrivals = Arrivals::new(&scenario.plan, scenario.arrivals, scenario.seed);
        for (arrival, entry) in arrivals.zip(self.entries.iter().cycle()) {
            if !self.wait_until(arrival.at) {
                paced.lasted = self.start.elapsed();
                return paced;
            }
            let is_judged = arrival.at >= scenario.warmup;
            paced.due += u64::from(is_judged);
            if !self.dispatch(arrival, entry) {
                self.live.dropped.fetch_add(1, Ordering::Relaxed);
                paced.dropped += u64::from(is_judged);
                paced.dropped_at[grid.position(arrival.at)] += 1;
            }
        }
        // The plan may end with silence, during which the pool is still worth watching.
        self.wait_until(scenario.plan.duration());
        paced.lasted = self.start.elapsed().min(scenario.plan.duration());
        paced
    }

    fn dispatch(&self, arrival: Arrival, entry: &mpsc::Sender<Arrival>) -> bool {
        if !self.live.enter(self.scenario.max_in_flight) {
            return false;
        }
        let is_sent = entry.try_send(arrival).is_ok();
        if !is_sent {
            self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        is_sent
    }

    /// Sleeps until `at`; false when interrupted. Late arrivals are due at once.
    fn wait_until(&self, at: Duration) -> bool {
        let due = self.start + at;
        loop {
            if *self.stopped.borrow() {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(NAP));
        }
    }
}

/// A sender: one runtime on one thread, so that nothing it touches is shared.
struct Lane {
    scenario: Arc<Scenario>,
    live: Arc<Live>,
    stopped: watch::Receiver<bool>,
    start: Instant,
    recorder: Recorder,
}

impl Lane {
    fn run(self, target: &Target, arrivals: mpsc::Receiver<Arrival>) -> Result<Recorder, String> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start a runtime: {e}"))?
            .block_on(self.send_all(target, arrivals))
    }

    async fn send_all(
        mut self,
        target: &Target,
        mut arrivals: mpsc::Receiver<Arrival>,
    ) -> Result<Recorder, String> {
        let scenario = Arc::clone(&self.scenario);
        let kinds = scenario.mix.kinds();
        let client = Client::new(target, kinds, &scenario.headers, scenario.timeout)?;
        let mut flying = FuturesUnordered::new();
        let mut is_open = true;
        let interrupt = interrupted(self.stopped.clone());
        tokio::pin!(interrupt);
        while is_open || !flying.is_empty() {
            tokio::select! {
                arrival = arrivals.recv(), if is_open => match arrival {
                    Some(arrival) => flying.push(fly(&client, &scenario, self.start, arrival)),
                    None => is_open = false,
                },
                Some(sample) = flying.next() => self.land(sample),
                () = &mut interrupt => break,
            }
        }
        Ok(self.recorder)
    }

    fn land(&mut self, sample: Sample) {
        let is_ok = sample.outcome.class() == crate::outcome::Class::Ok;
        self.recorder.record(sample);
        self.live.leave(is_ok);
    }
}

/// Completes some grace after an interrupt; never without one.
async fn interrupted(mut stopped: watch::Receiver<bool>) {
    match stopped.wait_for(|is_stopped| *is_stopped).await {
        Ok(_) => tokio::time::sleep(GRACE).await,
        Err(_) => std::future::pending().await,
    }
}

/// One request from its body to the end of its answer.
async fn fly(client: &Client, scenario: &Scenario, start: Instant, arrival: Arrival) -> Sample {
    let prepared = scenario.mix.request(arrival.index);
    let sent = Instant::now();
    let reply = client.send(prepared).await;
    Sample {
        at: arrival.at,
        lag: sent.saturating_duration_since(start + arrival.at),
        service: sent.elapsed(),
        outcome: reply.outcome,
        request_id: reply.request_id,
    }
}
