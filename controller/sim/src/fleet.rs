//! Workers from launch to their last request.

use tidepool_policy::{MemorySample, WorkerCounts};

use crate::model::Model;

/// A worker that was launched and does not serve yet.
#[derive(Clone, Copy, Debug)]
struct Starting {
    launched: u64,
    due: u64,
    fails: bool,
}

/// Memory of a worker that does nothing, of a request that it serves, and its limit, in bytes.
const IDLE_BYTES: f64 = 100e6;
const REQUEST_BYTES: f64 = 20e6;
const LIMIT_BYTES: f64 = 1e9;
/// Largest deviation of how fast a worker leaks, as a share.
const LEAK_SPREAD: f64 = 0.3;

/// Shares of their working memory that ready workers have leaked, in order of their age. Empty
/// while nothing leaks.
#[derive(Clone, Debug, Default)]
struct Leaks(std::collections::VecDeque<Leaked>);

#[derive(Clone, Copy, Debug, Default)]
struct Leaked {
    /// Of the room between idle and limit.
    share: f64,
    /// How fast this one leaks, about 1.
    pace: f64,
}

/// A pool's workers that serve or start. Times are steps.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    slots: u32,
    steps_per_s: f64,
    startup_s: f64,
    startup_spread: f64,
    launch_failure: f64,
    pub(crate) ready: u32,
    /// In order of launch.
    starting: Vec<Starting>,
    next_due: u64,
    random: fastrand::Rng,
    pub(crate) launches: u64,
    startups: Startups,
    leaks: Leaks,
}

impl Fleet {
    pub(crate) fn new(model: &Model, ready: u32, random: fastrand::Rng) -> Self {
        Self {
            slots: model.slots,
            steps_per_s: f64::from(model.steps_per_s()),
            startup_s: model.startup_s,
            startup_spread: model.startup_spread,
            launch_failure: model.launch_failure,
            ready,
            starting: Vec::new(),
            next_due: u64::MAX,
            random,
            launches: 0,
            startups: Startups::default(),
            leaks: Leaks::default(),
        }
    }

    /// Lets a second of a leak pass that fills a worker within `life_s` seconds, and tells how many
    /// have reached their limit. They are the oldest: who is taken away next is one of them.
    pub(crate) fn leak(&mut self, life_s: Option<f64>) -> u32 {
        let Some(life_s) = life_s else {
            return 0;
        };
        let leaks = &mut self.leaks.0;
        // Who was retired meanwhile was the oldest, who became ready is new.
        while leaks.len() > self.ready as usize {
            leaks.pop_front();
        }
        while leaks.len() < self.ready as usize {
            // Spread evenly without a draw, so that other streams stay as they are.
            let turn = (leaks.len() as f64 * 0.618).fract();
            let pace = 1.0 + LEAK_SPREAD * (2.0 * turn - 1.0);
            leaks.push_back(Leaked { share: 0.0, pace });
        }
        let mut dying = 0;
        leaks.retain_mut(|leaked| {
            leaked.share += leaked.pace / life_s;
            dying += u32::from(leaked.share >= 1.0);
            leaked.share < 1.0
        });
        dying
    }

    /// Memory of the ready workers with `busy` requests.
    pub(crate) fn memory(&self, busy: u32) -> MemorySample {
        let leaked: f64 = self.leaks.0.iter().map(|leaked| leaked.share).sum();
        let room = LIMIT_BYTES - IDLE_BYTES;
        MemorySample {
            used_bytes: f64::from(self.ready) * IDLE_BYTES
                + f64::from(busy) * REQUEST_BYTES
                + leaked * room,
            idle_bytes_per_worker: IDLE_BYTES,
            limit_bytes_per_worker: LIMIT_BYTES,
        }
    }

    pub(crate) fn places(&self) -> u32 {
        self.ready.saturating_mul(self.slots)
    }

    pub(crate) fn starting(&self) -> u32 {
        u32::try_from(self.starting.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn have(&self) -> u32 {
        self.ready.saturating_add(self.starting())
    }

    pub(crate) fn counts(&self, draining: u32) -> WorkerCounts {
        WorkerCounts {
            ready: self.ready,
            starting: self.starting(),
            draining,
            slots_per_worker: self.slots,
        }
    }

    /// Makes those ready whose start-up ends by `now`, and loses those that failed.
    pub(crate) fn pass(&mut self, now: u64) {
        if now < self.next_due {
            return;
        }
        let (ready, startups) = (&mut self.ready, &mut self.startups);
        let steps_per_s = self.steps_per_s;
        self.starting.retain(|worker| {
            if worker.due > now {
                return true;
            }
            if !worker.fails {
                *ready += 1;
                startups.add((worker.due - worker.launched) as f64 / steps_per_s);
            }
            false
        });
        self.find_next();
    }

    fn find_next(&mut self) {
        self.next_due = self
            .starting
            .iter()
            .map(|worker| worker.due)
            .min()
            .unwrap_or(u64::MAX);
    }

    /// Launches `count` workers.
    pub(crate) fn launch(&mut self, now: u64, count: u32) {
        for _ in 0..count {
            let spread = self.startup_spread * (2.0 * self.random.f64() - 1.0);
            let steps = (self.startup_s * (1.0 + spread) * self.steps_per_s).round();
            let fails = self.random.f64() < self.launch_failure;
            let due = now + steps as u64;
            self.starting.push(Starting {
                launched: now,
                due,
                fails,
            });
            self.next_due = self.next_due.min(due);
        }
        self.launches += u64::from(count);
    }

    /// Calls off up to `count` workers that still start, the newest first; tells how many.
    pub(crate) fn call_off(&mut self, count: u32) -> u32 {
        let off = count.min(self.starting());
        self.starting.truncate(self.starting.len() - off as usize);
        self.find_next();
        off
    }

    /// 95th percentile of measured start-up times, as the supervisor measures it.
    pub(crate) fn startup_p95_s(&self) -> Option<f64> {
        self.startups.p95_s
    }
}

/// The newest start-up times.
#[derive(Clone, Debug, Default)]
struct Startups {
    seconds: std::collections::VecDeque<f64>,
    p95_s: Option<f64>,
}

impl Startups {
    /// As many as the supervisor keeps.
    const KEPT: usize = 64;

    fn add(&mut self, seconds: f64) {
        if self.seconds.len() == Self::KEPT {
            self.seconds.pop_front();
        }
        self.seconds.push_back(seconds);
        let mut sorted: Vec<f64> = self.seconds.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank.
        let rank = (sorted.len() * 95).div_ceil(100);
        self.p95_s = rank.checked_sub(1).and_then(|at| sorted.get(at).copied());
    }
}
