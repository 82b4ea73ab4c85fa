//! The last day of every pool as numbers, in memory: enough for the graphs of the console without
//! another program. One ring a pool, one point every ten seconds, the mean of what was decided in
//! between; what was not measured is absent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tidepool_core::series::{Line, SERIES, SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::{PoolName, Timestamp};
use tidepool_policy::{Decision, WorkerCounts};

/// Width of a point in seconds.
const STEP_S: u64 = 10;
/// Points of one line in an answer unless a step is asked for.
const POINTS_DEFAULT: u64 = 1_000;
/// Most points in an answer, over all lines.
const POINTS_MAX: u64 = 200_000;
/// Most pools whose history is kept: 256 pools take 70 MB for a day.
const POOLS_MAX: usize = 256;

type Values = [f32; SERIES.len()];

/// The history of all pools. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    points_max: usize,
    rings: Mutex<BTreeMap<PoolName, Ring>>,
}

/// Points of one pool, oldest first and without gaps.
#[derive(Debug, Default)]
struct Ring {
    /// Step of the point after the last.
    next: u64,
    points: VecDeque<Values>,
    sums: [f64; SERIES.len()],
    counts: [u32; SERIES.len()],
}

impl History {
    /// A history of the last `hours`.
    pub(crate) fn new(hours: u32) -> Self {
        let points = u64::from(hours) * 3_600 / STEP_S;
        Self(Arc::new(Inner {
            points_max: usize::try_from(points).unwrap_or(usize::MAX),
            rings: Mutex::default(),
        }))
    }

    /// Takes in a decision.
    pub(crate) fn add(
        &self,
        pool: &PoolName,
        decision: &Decision,
        workers: WorkerCounts,
        now: Timestamp,
    ) {
        let mut rings = self.0.rings.lock();
        if !rings.contains_key(pool) {
            if rings.len() >= POOLS_MAX {
                return;
            }
            rings.insert(pool.clone(), Ring::default());
        }
        if let Some(ring) = rings.get_mut(pool) {
            ring.turn(now.0 / (STEP_S * 1_000), self.0.points_max);
            ring.add(values(decision, workers));
        }
    }

    /// The asked part of it, the newest complete point last.
    ///
    /// # Errors
    /// When no such series is kept, or more points are asked for than an answer holds.
    pub(crate) fn read(
        &self,
        query: &SeriesQuery,
        now: Timestamp,
    ) -> Result<SeriesAnswer, SeriesError> {
        let place = SERIES.iter().position(|(name, _)| *name == query.name);
        let place = place.ok_or_else(|| SeriesError::Unknown(query.name.clone()))?;
        let kept_ms = self.0.points_max as u64 * STEP_S * 1_000;
        let oldest = Timestamp(now.0.saturating_sub(kept_ms));
        let since = query.since.unwrap_or(oldest).max(oldest);
        let span_s = now.since(since).as_secs();
        let step_s = query.step_s.unwrap_or(span_s / POINTS_DEFAULT).max(1);
        let step_s = step_s.div_ceil(STEP_S) * STEP_S;
        let rings = self.0.rings.lock();
        let wanted = |pool: &PoolName| query.pool.as_ref().is_none_or(|name| name == pool);
        let wanted: Vec<_> = rings.iter().filter(|(pool, _)| wanted(pool)).collect();
        let points = wanted.len() as u64 * (span_s / step_s);
        if points > POINTS_MAX {
            let max = POINTS_MAX;
            return Err(SeriesError::TooMany { points, max });
        }
        let lines = wanted.into_iter().map(|(pool, ring)| Line {
            pool: pool.clone(),
            points: ring.read(place, since.0 / (STEP_S * 1_000), step_s / STEP_S),
        });
        Ok(SeriesAnswer {
            name: query.name.clone(),
            step_s,
            series: lines.collect(),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "graphs need no last digits"
)]
fn values(decision: &Decision, workers: WorkerCounts) -> Values {
    let forecast = decision.forecast;
    [
        decision.observed_rate,
        forecast.map(|forecast| forecast.p50),
        forecast.map(|forecast| forecast.p99),
        decision.raw_need,
        Some(f64::from(decision.to)),
        Some(f64::from(workers.ready)),
        decision.score,
        decision.queued,
    ]
    .map(|value| value.map_or(f32::NAN, |value| value as f32))
}

impl Ring {
    /// Finishes the point that is open when `step` is a later one.
    fn turn(&mut self, step: u64, points_max: usize) {
        if self.points.is_empty() && self.counts == [0; SERIES.len()] {
            self.next = step;
        }
        // A clock that went back adds to the open point.
        let missed = step.saturating_sub(self.next);
        if missed == 0 {
            return;
        }
        self.points.push_back(self.mean());
        (self.sums, self.counts) = ([0.0; SERIES.len()], [0; SERIES.len()]);
        let gap = usize::try_from(missed - 1).unwrap_or(usize::MAX);
        let absent = [f32::NAN; SERIES.len()];
        self.points
            .extend(std::iter::repeat_n(absent, gap.min(points_max)));
        self.next = step;
        let surplus = self.points.len().saturating_sub(points_max);
        self.points.drain(..surplus);
    }

    fn add(&mut self, values: Values) {
        for (place, value) in values.into_iter().enumerate() {
            if value.is_finite() {
                self.sums[place] += f64::from(value);
                self.counts[place] += 1;
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "graphs need no last digits"
    )]
    fn mean(&self) -> Values {
        std::array::from_fn(|place| match self.counts[place] {
            0 => f32::NAN,
            n => (self.sums[place] / f64::from(n)) as f32,
        })
    }

    /// Points from step `since` on, `width` of them made one.
    fn read(&self, place: usize, since: u64, width: u64) -> Vec<(u64, Option<f32>)> {
        let first = self.next - self.points.len() as u64;
        // Wide points begin at multiples of their width, so that two answers line up.
        let begin = since.max(first) / width * width;
        let mut points = Vec::new();
        let mut step = begin;
        while step + width <= self.next {
            let from = usize::try_from(step.max(first) - first).unwrap_or(usize::MAX);
            let to = usize::try_from(step + width - first).unwrap_or(usize::MAX);
            let inside = self.points.range(from..to).map(|values| values[place]);
            points.push((step * STEP_S * 1_000, mean(inside)));
            step += width;
        }
        points
    }
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f32> {
    let (mut sum, mut n) = (0.0, 0_u16);
    for value in values.filter(|value| value.is_finite()) {
        sum += value;
        n = n.saturating_add(1);
    }
    (n > 0).then(|| sum / f32::from(n))
}

#[cfg(test)]
mod tests {
    use tidepool_policy::{Memory, Observation, Policy, decide};

    use super::*;
    use crate::intake::tests::pool_name;

    fn decision() -> Decision {
        let observation = Observation::default();
        decide(&Policy::tidepool(3, 8), Memory::default(), &observation, 0).0
    }

    fn query(name: &str, step_s: Option<u64>) -> SeriesQuery {
        SeriesQuery {
            name: name.to_owned(),
            pool: None,
            since: None,
            step_s,
        }
    }

    /// `seconds` of decisions with as many ready workers as there are tens of seconds.
    fn filled(hours: u32, seconds: u32) -> (History, Timestamp) {
        let history = History::new(hours);
        let at = |second: u32| Timestamp(1_000_000_000 + u64::from(second) * 1_000);
        for second in 0..seconds {
            let workers = WorkerCounts {
                ready: second / 10,
                ..WorkerCounts::default()
            };
            history.add(&pool_name(), &decision(), workers, at(second));
        }
        (history, at(seconds))
    }

    #[test]
    fn points_are_means_and_missing_numbers_stay_missing() {
        let (history, now) = filled(1, 100);
        let ready = history.read(&query("ready", None), now).unwrap();
        assert_eq!(ready.step_s, 10);
        let points = &ready.series[0].points;
        assert_eq!(points.len(), 9, "the open point is not told");
        assert_eq!(points[0], (1_000_000_000, Some(0.0)));
        assert_eq!(points[8], (1_000_080_000, Some(8.0)));
        let wide = history.read(&query("ready", Some(20)), now).unwrap();
        assert_eq!(wide.series[0].points[1].1, Some(2.5));
        let rate = history.read(&query("rate", None), now).unwrap();
        assert!(
            rate.series[0]
                .points
                .iter()
                .all(|(_, value)| value.is_none())
        );
    }

    #[test]
    fn the_ring_keeps_its_hours_and_survives_gaps() {
        let (history, now) = filled(1, 5_000);
        let later = Timestamp(now.0 + 600_000);
        history.add(&pool_name(), &decision(), WorkerCounts::default(), later);
        let target = history.read(&query("target", Some(10)), later).unwrap();
        let points = &target.series[0].points;
        assert_eq!(points.len(), 360);
        assert_eq!(
            points.iter().filter(|(_, value)| value.is_none()).count(),
            60
        );
        assert!(points.windows(2).all(|two| two[1].0 - two[0].0 == 10_000));
        // A week of silence does not grow it.
        let week = Timestamp(later.0 + 604_800_000);
        history.add(&pool_name(), &decision(), WorkerCounts::default(), week);
        let after = history.read(&query("target", Some(10)), week).unwrap();
        assert!(after.series[0].points.len() <= 360);
    }

    #[test]
    fn what_is_not_kept_is_told() {
        let (history, now) = filled(1, 10);
        let unknown = history.read(&query("nonsense", None), now).unwrap_err();
        assert!(unknown.to_string().contains("ready"), "{unknown}");
    }
}
