//! Which passages answer a recall, best first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use tidepool_handler::{CallContext, Failure};

use super::operation::Item;
use super::replica::Replica;
use super::terms::terms_of;

/// Most different terms of a query that are looked for.
const TERMS_MAX: usize = 64;
/// Passages looked at between two looks at whether to stop.
const STOP_CHECK_EVERY: usize = 4_096;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Words, in any order; none for the newest passages.
    pub(super) query: String,
    /// Most passages in the answer.
    pub(super) limit: usize,
    /// A passage must have all of these.
    pub(super) tags: Vec<String>,
    /// A passage must be at least as new, in microseconds since the Unix epoch.
    pub(super) since_us: Option<i64>,
    /// A passage must be at most as new, in microseconds since the Unix epoch.
    pub(super) until_us: Option<i64>,
}

impl Wanted {
    fn admits(&self, item: &Item) -> bool {
        self.since_us.is_none_or(|since| item.at_us >= since)
            && self.until_us.is_none_or(|until| item.at_us <= until)
            && self.tags.iter().all(|tag| item.tags.contains(tag))
    }
}

/// How passages are ranked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strategy {
    /// By BM25 over the terms of the query.
    Bm25,
    /// By time, because the query has no words.
    Newest,
}

/// A passage that answers.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Match {
    /// BM25; zero when there are no terms.
    pub(super) score: f32,
    pub(super) item: Arc<Item>,
}

/// The better one is the greater: by score, then the newer, then the smaller id.
impl Ord for Match {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score
            .then_with(|| self.item.at_us.cmp(&other.item.at_us))
            .then_with(|| other.item.id.cmp(&self.item.id))
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Match {}

/// The answer to a recall.
pub(super) struct Recalled {
    /// Best first.
    pub(super) matches: Vec<Match>,
    /// How they were ranked.
    pub(super) strategy: Strategy,
    /// What was looked for.
    pub(super) terms: Vec<String>,
    /// Passages that were looked at: with a term of the query, or all.
    pub(super) candidates: usize,
    /// Those of them that the filters admit.
    pub(super) admitted: usize,
}

/// Looks for the best passages of an indexed replica.
pub(super) fn recall(
    replica: &Replica,
    wanted: &Wanted,
    context: &CallContext,
) -> Result<Recalled, Failure> {
    let terms = terms_of(&wanted.query, TERMS_MAX);
    let mut best = Best::new(wanted);
    if terms.is_empty() {
        for item in replica.items() {
            if best.candidates.is_multiple_of(STOP_CHECK_EVERY)
                && let Some(stop) = context.stopped()
            {
                return Err(stop.into());
            }
            best.consider(item, 0.0);
        }
    } else {
        replica.search(&terms, context, |item, score| best.consider(item, score))?;
    }
    Ok(Recalled {
        strategy: if terms.is_empty() {
            Strategy::Newest
        } else {
            Strategy::Bm25
        },
        terms,
        candidates: best.candidates,
        admitted: best.admitted,
        matches: best.into_sorted(),
    })
}

/// The best so far.
struct Best<'a> {
    wanted: &'a Wanted,
    kept: BinaryHeap<Reverse<Match>>,
    candidates: usize,
    admitted: usize,
}

impl<'a> Best<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        Self {
            wanted,
            kept: BinaryHeap::with_capacity(wanted.limit + 1),
            candidates: 0,
            admitted: 0,
        }
    }

    fn consider(&mut self, item: &Arc<Item>, score: f32) {
        self.candidates += 1;
        if !self.wanted.admits(item) {
            return;
        }
        self.admitted += 1;
        let is_full = self.kept.len() >= self.wanted.limit;
        if is_full && self.kept.peek().is_some_and(|worst| worst.0.score > score) {
            return;
        }
        self.kept.push(Reverse(Match {
            score,
            item: Arc::clone(item),
        }));
        if is_full {
            self.kept.pop();
        }
    }

    fn into_sorted(self) -> Vec<Match> {
        let worst_last = self.kept.into_sorted_vec();
        worst_last.into_iter().map(|reversed| reversed.0).collect()
    }
}
