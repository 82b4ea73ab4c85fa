use std::time::Duration;

use actix::{Actor, Context, Handler};
use prometheus::Registry;
use tidepool_core::{Deadline, Kind, Priority};
use tidepool_worker::{Lane, SeatNotice};

use super::*;
use crate::metrics::BalancerMetrics;

struct Deaf;

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<SeatNotice> for Deaf {
    type Result = ();

    fn handle(&mut self, _notice: SeatNotice, _ctx: &mut Self::Context) {}
}

/// A pool with one slot.
fn pool() -> Arc<Pool> {
    let spec = PoolSpec {
        name: PoolName::new("act").unwrap(),
        kinds: vec![Kind::new("act").unwrap()],
        slots: 1,
        queue_len_max: 8,
        queue_bytes_max: 100,
        slo_ms: 1_000,
        deadline_ms: 1_000,
    };
    let metrics = BalancerMetrics::register(&Registry::new()).unwrap();
    let pool = Pool::new(spec.clone(), metrics.of_pool(&spec), Instant::now());
    let worker = WorkerId::new(&spec.name, 1);
    let lane = Lane::new("act", 1);
    let notices = Deaf.start().recipient();
    let seat = Seat::new(worker, 1, Vec::new(), lane, notices);
    PoolTable(Arc::clone(&pool)).join(Arc::new(seat));
    pool
}

fn admit(pool: &Arc<Pool>) -> Admitted {
    let now = Instant::now();
    let ask = Ask {
        priority: Priority::default(),
        bytes: 1,
        deadline: Deadline::from_now(now, Duration::from_secs(60)),
        session: None,
        is_idempotent: true,
    };
    pool.admit(&ask, now)
}

fn slot(pool: &Arc<Pool>) -> Slot {
    match admit(pool) {
        Admitted::Slot(slot) => slot,
        _ => panic!("a slot is free"),
    }
}

fn queued(pool: &Arc<Pool>) -> Waiting {
    match admit(pool) {
        Admitted::Queued(waiting) => waiting,
        _ => panic!("no slot is free"),
    }
}

#[actix_web::test]
async fn a_slot_on_its_way_to_a_caller_that_left_goes_back_as_if_untouched() {
    let pool = pool();
    let mut first = slot(&pool);
    first.begin_use();
    let (gone, next) = (queued(&pool), queued(&pool));
    drop(first);
    assert_eq!(pool.busy_slots(), 1, "the slot is on its way");
    drop(gone);
    let handed_on = next.slot().await;
    assert!(handed_on.is_some(), "and goes to the next one");
    drop(handed_on);
    assert_eq!(pool.busy_slots(), 0);
    assert_eq!(pool.report(Instant::now()).work.count(), 1, "one was used");
}

#[actix_web::test]
async fn a_slot_of_a_replaced_seat_is_given_back_and_not_handed_out_again() {
    let pool = pool();
    let held = slot(&pool);
    let waiting = queued(&pool);
    let again = Seat::new(
        WorkerId::new(pool.name(), 1),
        1,
        Vec::new(),
        Lane::new("act", 1),
        Deaf.start().recipient(),
    );
    PoolTable(Arc::clone(&pool)).join(Arc::new(again));
    let fresh = waiting.slot().await.expect("the new seat serves");
    assert!(!Arc::ptr_eq(&fresh.place, &held.place));
    assert_eq!((pool.busy_slots(), pool.ready_slots()), (2, 1));
    drop(held);
    assert!(matches!(admit(&pool), Admitted::Queued(_)));
    drop(fresh);
    assert_eq!((pool.busy_slots(), pool.ready_slots()), (0, 1));
}
