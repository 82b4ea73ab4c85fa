//! How many slots of a pool are in use, and who waits for one.

use tidepool_policy::WorkerCounts;

use crate::intake::Newest;

/// Slots that take work, those in use, and requests that wait for one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct SlotUse {
    pub(crate) slots: u32,
    pub(crate) busy: u32,
    pub(crate) queued: u32,
}

impl SlotUse {
    /// Balancers count all that is under way, and may have more of that to quick workers than these
    /// have slots: the rest waits there. Where workers are not known, what balancers say stands.
    pub(crate) fn of(newest: Newest, workers: Option<WorkerCounts>) -> Self {
        let slots = workers.map_or(newest.ready_slots, |workers| {
            let ready = workers.ready.saturating_mul(workers.slots_per_worker);
            newest.ready_slots.min(ready)
        });
        let busy = newest.busy_slots.min(busy_max(workers));
        Self {
            slots,
            busy,
            queued: newest.queued.saturating_add(newest.busy_slots - busy),
        }
    }
}

/// Most slots that can be in use, as far as is known. A worker that was starting when it was last
/// heard of may be at work by now.
pub(crate) fn busy_max(workers: Option<WorkerCounts>) -> u32 {
    workers.map_or(u32::MAX, |workers| {
        let at_work = workers.ready.saturating_add(workers.draining);
        let at_work = at_work.saturating_add(workers.starting);
        at_work.saturating_mul(workers.slots_per_worker)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidepool_core::Timestamp;

    use super::*;

    #[test]
    fn what_is_on_its_way_to_full_workers_waits() {
        let newest = |busy_slots, ready_slots| Newest {
            received: Timestamp(0),
            queued: 3,
            oldest_wait: Duration::ZERO,
            busy_slots,
            ready_slots,
        };
        let workers = |ready, draining| {
            Some(WorkerCounts {
                ready,
                draining,
                starting: 0,
                slots_per_worker: 8,
            })
        };
        let shown = |newest, workers| {
            let SlotUse {
                slots,
                busy,
                queued,
            } = SlotUse::of(newest, workers);
            (slots, busy, queued)
        };
        assert_eq!(shown(newest(5, 8), workers(1, 0)), (8, 5, 3));
        assert_eq!(shown(newest(40, 40), workers(1, 0)), (8, 8, 35));
        // Slots of workers that finish what they have are no longer there, and in use.
        assert_eq!(shown(newest(12, 8), workers(1, 1)), (8, 12, 3));
        assert_eq!(shown(newest(40, 40), None), (40, 40, 3));
    }
}
