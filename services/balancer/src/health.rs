//! How a seat does beside its peers: who fails or is far slower than the others gets no work for
//! a while, then one request, then more and more.
//!
//! The numbers are those of Envoy's outlier detection, with two of its complaints mended: the
//! first request back is one, whoever asks, and a seat is never put out for being the last.
//!
//! How long failures took says nothing of how long work takes: who fails at once would look fast
//! and draw everything (linkerd2-proxy#4537). They raise the cost of a seat instead, for a while.

use std::time::{Duration, Instant};

/// Failures in a row that put a seat out.
const STRIKES_MAX: u32 = 5;
/// Weight of the newest work time in its moving average.
const WORK_WEIGHT: f64 = 0.1;
/// Weight of the newest end, good or bad, in the moving share of failures.
const FAILING_WEIGHT: f64 = 0.1;
/// What is known of failures fades by this time constant, so that a seat that gets nothing any more is
/// tried again: half of the 10 s of peak EWMA (Finagle, tower, linkerd2-proxy), about twice in its time.
const FAILING_TAU_S: f64 = 5.0;
/// Below this nothing is left of it; keeps the arithmetic out of the way of sound seats.
const FAILING_MIN: f64 = 0.001;
/// How many times more a seat costs, all of whose requests fail; by the square of their share, so that
/// one failure now and then costs nothing. Our own, by `slots/failing.rs`: of two, one that fails half
/// of the time gets 1.4 % of the requests, and one that fails 1 % its half (at 200 it gets 45 %).
const FAILING_COST: f64 = 50.0;
/// A seat that fails so often is put out, if its peers do not, though some answers lie between.
const FAILING_OUT: f64 = 0.5;
/// From this share on sessions do not stay with a seat that fails: 5 failures in a row make 0.41.
const FAILING_SESSIONS: f64 = 0.25;
/// Requests that a seat must have served before its speed is judged.
const SAMPLES_MIN: u32 = 20;
/// A seat this many times slower than the median of its peers is put out.
const SLOW_FACTOR: f64 = 4.0;
/// Unless the difference is below this: microseconds vary for other reasons.
const SLOW_MARGIN_S: f64 = 0.005;
/// How long a seat is out the first time; doubled each time.
const OUT_FIRST_S: f64 = 1.0;
/// Longest time that a seat is out.
const OUT_MAX_S: f64 = 60.0;
/// Work times from longer ago than this say nothing of now.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How long a seat that is back takes to get all of its slots again.
const RAMP: Duration = Duration::from_secs(10);

/// What a request tells about the seat that it ran on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It answered.
    Good,
    /// It failed in a way that another seat might not have.
    Bad,
    /// It had not answered by the deadline, which may be the request's fault.
    Late,
    /// Nothing: the caller went away, or a dependency of all seats failed.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    In,
    Out {
        until: Instant,
    },
    /// One request decides.
    Probing,
    Ramp {
        since: Instant,
    },
}

/// What is known of one seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeatHealth {
    work_s: f64,
    samples: u32,
    sampled: Option<Instant>,
    strikes: u32,
    /// Moving share of failures, as of `failed`.
    failing: f64,
    /// When it was last reckoned; it fades from then on.
    failed: Instant,
    times_out: i32,
    phase: Phase,
}

impl SeatHealth {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            work_s: 0.0,
            samples: 0,
            sampled: None,
            strikes: 0,
            failing: 0.0,
            failed: now,
            times_out: 0,
            phase: Phase::In,
        }
    }

    /// Moving average of its work times, once there is one.
    pub(crate) fn work_s(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.work_s)
    }

    /// Its work time as far as it may be compared with that of others.
    pub(crate) fn settled_work_s(&self) -> Option<f64> {
        (self.samples >= SAMPLES_MIN && self.is_in()).then_some(self.work_s)
    }

    /// Share of failures among its latest ends, as far as it counts now.
    pub(crate) fn failing(&self, now: Instant) -> f64 {
        if self.failing < FAILING_MIN {
            return 0.0;
        }
        let faded_s = now.saturating_duration_since(self.failed).as_secs_f64();
        self.failing * (-faded_s / FAILING_TAU_S).exp()
    }

    /// How many times more it costs than if it did not fail.
    pub(crate) fn penalty(&self, now: Instant) -> f64 {
        let failing = self.failing(now);
        1.0 + FAILING_COST * failing * failing
    }

    /// Whether it fails too often to be preferred by anybody.
    pub(crate) fn is_shunned(&self, now: Instant) -> bool {
        self.failing(now) >= FAILING_SESSIONS
    }

    /// Whether it fails so often that it should be put out.
    pub(crate) fn is_failing(&self, now: Instant) -> bool {
        self.is_in() && self.failing(now) >= FAILING_OUT
    }

    /// Whether it gets work as usual, or nearly so.
    pub(crate) fn is_in(&self) -> bool {
        matches!(self.phase, Phase::In | Phase::Ramp { .. })
    }

    /// How many of its slots may be taken.
    pub(crate) fn open_slots(&self, slots: u32, now: Instant) -> u32 {
        match self.phase {
            Phase::In => slots,
            Phase::Out { .. } => 0,
            Phase::Probing => slots.min(1),
            Phase::Ramp { since } => {
                let share = now.saturating_duration_since(since).as_secs_f64() / RAMP.as_secs_f64();
                // At most `slots`, which fits.
                let open = (f64::from(slots) * share.min(1.0)).ceil() as u32;
                open.clamp(slots.min(1), slots)
            }
        }
    }

    /// Takes in how a request ended. True when the seat should be put out, if its peers allow.
    pub(crate) fn ended(
        &mut self,
        held: Duration,
        verdict: Verdict,
        typical_s: Option<f64>,
        now: Instant,
    ) -> bool {
        let held_s = held.as_secs_f64();
        match verdict {
            Verdict::Nothing => return false,
            Verdict::Late => {}
            Verdict::Good => {
                self.strikes = 0;
                self.note(0.0, now);
            }
            Verdict::Bad => {
                self.strikes = self.strikes.saturating_add(1);
                self.note(1.0, now);
            }
        }
        if self.phase == Phase::Probing {
            let failed = matches!(verdict, Verdict::Bad | Verdict::Late)
                || typical_s.is_some_and(|typical_s| is_slow(held_s, typical_s));
            if !failed {
                self.samples = 0;
                self.phase = Phase::Ramp { since: now };
            }
            return failed;
        }
        if verdict != Verdict::Bad {
            self.learn(held_s, now);
        }
        self.is_in() && self.strikes >= STRIKES_MAX
    }

    /// Takes an end into the share of failures: 1 for a failure, 0 for an answer.
    fn note(&mut self, end: f64, now: Instant) {
        let failing = self.failing(now);
        if failing > 0.0 || end > 0.0 {
            self.failing = failing + FAILING_WEIGHT * (end - failing);
            self.failed = now;
        }
    }

    /// Takes a work time into their average.
    fn learn(&mut self, held_s: f64, now: Instant) {
        let before = self.sampled.replace(now);
        if before.is_none_or(|before| now.saturating_duration_since(before) >= FORGOTTEN_AFTER) {
            self.samples = 0;
        }
        if self.samples == 0 {
            self.work_s = held_s;
        }
        self.work_s += WORK_WEIGHT * (held_s - self.work_s);
        self.samples = self.samples.saturating_add(1);
    }

    /// Whether it is far slower than the median of all.
    pub(crate) fn is_outlier(&self, typical_s: f64) -> bool {
        self.settled_work_s()
            .is_some_and(|work_s| is_slow(work_s, typical_s))
    }

    /// Puts it out. `jitter` is between 0 and 1, so that seats do not come back together.
    pub(crate) fn put_out(&mut self, jitter: f64, now: Instant) {
        let out_s = (OUT_FIRST_S * 2_f64.powi(self.times_out.min(16))).min(OUT_MAX_S);
        self.times_out += 1;
        self.strikes = 0;
        let out = Duration::from_secs_f64(out_s * (0.5 + jitter));
        self.phase = Phase::Out { until: now + out };
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Out { until } if now >= until => Phase::Probing,
            Phase::Ramp { since } if now.saturating_duration_since(since) >= RAMP => {
                self.times_out = 0;
                Phase::In
            }
            phase => phase,
        };
    }
}

fn is_slow(work_s: f64, typical_s: f64) -> bool {
    work_s > SLOW_FACTOR * typical_s && work_s - typical_s > SLOW_MARGIN_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn five_failures_in_a_row_put_a_seat_out_and_a_success_between_does_not() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        for _ in 0..4 {
            assert!(!seat.ended(MS, Verdict::Bad, None, now));
        }
        seat.ended(MS, Verdict::Good, None, now);
        for _ in 0..4 {
            assert!(!seat.ended(MS, Verdict::Bad, None, now));
        }
        assert!(!seat.ended(MS, Verdict::Nothing, None, now));
        assert!(seat.ended(MS, Verdict::Bad, None, now));
    }

    #[test]
    fn how_long_a_failure_took_is_no_work_time() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        seat.ended(MS / 10, Verdict::Bad, None, now);
        assert_eq!(seat.work_s(), None);
        seat.ended(20 * MS, Verdict::Good, None, now);
        seat.ended(MS / 10, Verdict::Bad, None, now);
        assert_eq!(seat.work_s(), Some(0.02));
    }

    #[test]
    fn failures_raise_the_cost_until_they_are_long_ago_or_answers_follow() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        assert_eq!(seat.penalty(now), 1.0);
        seat.ended(MS, Verdict::Late, None, now);
        seat.ended(MS, Verdict::Nothing, None, now);
        assert_eq!(seat.penalty(now), 1.0);
        for _ in 0..5 {
            seat.ended(MS, Verdict::Bad, None, now);
        }
        assert!(seat.is_shunned(now));
        assert!((9.0..10.0).contains(&seat.penalty(now)));
        let later = now + Duration::from_secs_f64(2.0 * FAILING_TAU_S);
        assert!((1.1..1.2).contains(&seat.penalty(later)));
        for _ in 0..70 {
            seat.ended(MS, Verdict::Good, None, now);
        }
        assert_eq!(seat.penalty(now), 1.0);
        assert!(!seat.is_shunned(now));
    }

    #[test]
    fn comes_back_by_one_request_and_then_slowly() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        seat.put_out(0.5, now);
        assert_eq!(seat.open_slots(8, now), 0);
        let back = now + Duration::from_secs(1);
        seat.tick(back);
        assert_eq!(seat.open_slots(8, back), 1);
        assert!(!seat.ended(MS, Verdict::Good, Some(0.001), back));
        let open = |seat: &SeatHealth, s| seat.open_slots(8, back + Duration::from_secs(s));
        assert_eq!((open(&seat, 0), open(&seat, 5), open(&seat, 10)), (1, 4, 8));
        seat.tick(back + RAMP);
        assert_eq!(open(&seat, 0), 8);
    }

    #[test]
    fn a_probe_that_fails_or_is_slow_doubles_the_time_out() {
        let mut now = Instant::now();
        let mut seat = SeatHealth::new(now);
        let mut times = Vec::new();
        for n in 0..8 {
            seat.put_out(0.5, now);
            let Phase::Out { until } = seat.phase else {
                panic!("{:?}", seat.phase)
            };
            times.push((until - now).as_secs());
            now = until;
            seat.tick(now);
            let (held, verdict) = if n % 2 == 0 {
                (MS, Verdict::Bad)
            } else {
                (100 * MS, Verdict::Good)
            };
            assert!(seat.ended(held, verdict, Some(0.001), now));
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn work_of_long_ago_says_nothing_of_now() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        seat.ended(200 * MS, Verdict::Good, None, now);
        seat.ended(200 * MS, Verdict::Good, None, now + FORGOTTEN_AFTER / 2);
        assert_eq!(seat.work_s(), Some(0.2));
        seat.ended(MS, Verdict::Good, None, now + FORGOTTEN_AFTER * 2);
        assert_eq!(seat.work_s(), Some(0.001));
    }

    #[test]
    fn only_a_settled_average_is_judged_and_microseconds_are_not() {
        let now = Instant::now();
        let mut seat = SeatHealth::new(now);
        for _ in 0..SAMPLES_MIN - 1 {
            seat.ended(40 * MS, Verdict::Good, None, now);
        }
        assert!(!seat.is_outlier(0.004));
        seat.ended(40 * MS, Verdict::Good, None, now);
        assert!(seat.is_outlier(0.004));
        assert!(!seat.is_outlier(0.011));
        let mut quick = SeatHealth::new(now);
        for _ in 0..SAMPLES_MIN {
            quick.ended(MS, Verdict::Good, None, now);
        }
        assert!(!quick.is_outlier(0.000_01));
    }
}
