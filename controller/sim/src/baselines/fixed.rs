//! A fleet that never changes, sized by what the training days needed.

use super::{Rule, whole};
use crate::scaler::Seen;

pub(super) struct Fixed {
    workers: u32,
}

impl Fixed {
    /// Enough for that share of the training seconds, each served as it came: 1.0 is their peak,
    /// 0.95 the 95th percentile (nearest rank). `None` without training.
    pub(super) fn for_share(training_work: &[f64], share: f64) -> Option<Self> {
        let mut sorted = training_work.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = whole(share * sorted.len() as f64).max(1) as usize;
        let need = *sorted.get(rank.min(sorted.len()).checked_sub(1)?)?;
        Some(Self {
            workers: whole(need),
        })
    }
}

impl Rule for Fixed {
    fn want(&mut self, _: &Seen, _: u32) -> u32 {
        self.workers
    }
}
