//! The nodes that this process may call: a control link to each, and what its credits mean for
//! the slot tables.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidepool_core::PoolName;
use tidepool_link::{Closed, Control, ControlEvent};
use tidepool_wire::frame::{Credit, Demand, InstanceId, Ping};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::RemoteSeat;
use super::linked::{Dialing, LinkedNode};
use crate::pool::Pool;

/// How often a node is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// A node that leaves a ping unanswered for so long gets nothing any more: 750 ms after its last
/// sign of life at the latest.
const SILENT_AFTER: Duration = Duration::from_millis(500);
/// A timer this late says that it was this process that was silent.
const STALL: Duration = Duration::from_millis(200);
/// Pause before a node that is gone is tried again: the first, and the longest.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Keeps links to all nodes of a directory that may change. Ends, with its links, when the handle
/// is dropped. Must be started on a thread that outlives those of connections.
pub struct Nodes {
    _task: AbortOnDropHandle<()>,
    linked: LinkedNodes,
}

/// How many nodes are linked now.
#[derive(Clone, Debug, Default)]
pub struct LinkedNodes(Arc<AtomicUsize>);

impl LinkedNodes {
    /// The number.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Nodes {
    /// Starts with the addresses (`host:port`) that `directory` holds, and follows it.
    #[must_use]
    pub fn follow(
        pools: Vec<Arc<Pool>>,
        dialing: Dialing,
        directory: watch::Receiver<Vec<String>>,
    ) -> Self {
        let linked = LinkedNodes::default();
        let shared = Rc::new(Shared {
            pools,
            dialing: Arc::new(dialing),
            lives: Cell::new(0),
            linked: linked.clone(),
            seated: RefCell::default(),
        });
        let task = actix_web::rt::spawn(attend(shared, directory));
        Self {
            _task: AbortOnDropHandle::new(task),
            linked,
        }
    }

    /// How many are linked, for those who look.
    #[must_use]
    pub fn linked(&self) -> LinkedNodes {
        self.linked.clone()
    }
}

struct Shared {
    pools: Vec<Arc<Pool>>,
    dialing: Arc<Dialing>,
    lives: Cell<u64>,
    linked: LinkedNodes,
    /// Lives of nodes that have seats.
    seated: RefCell<BTreeSet<InstanceId>>,
}

/// Runs a task for every address; those of addresses that are gone end with their link, not
/// before: a node that the directory lost sight of may still serve.
async fn attend(shared: Rc<Shared>, mut directory: watch::Receiver<Vec<String>>) {
    let mut tasks: BTreeMap<String, Attended> = BTreeMap::new();
    loop {
        let listed = directory.borrow_and_update().clone();
        tasks.retain(|_, attended| !attended.task.is_finished());
        for (addr, attended) in &tasks {
            attended.is_listed.send_replace(listed.contains(addr));
        }
        for addr in listed {
            tasks.entry(addr).or_insert_with_key(|addr| {
                let (is_listed, listing) = watch::channel(true);
                let node = keep_linked(Rc::clone(&shared), addr.clone(), listing);
                let task = AbortOnDropHandle::new(actix_web::rt::spawn(node));
                Attended { is_listed, task }
            });
        }
        if directory.changed().await.is_err() {
            // Nobody will tell of other nodes; those that are there stay.
            std::future::pending::<()>().await;
        }
    }
}

struct Attended {
    is_listed: watch::Sender<bool>,
    task: AbortOnDropHandle<()>,
}

/// Links to one address again and again, as long as the directory lists it.
async fn keep_linked(shared: Rc<Shared>, addr: String, mut is_listed: watch::Receiver<bool>) {
    let mut pause = AGAIN_AFTER.0;
    let mut told = None;
    while *is_listed.borrow_and_update() {
        match live(&shared, &addr).await {
            Ok(()) => (pause, told) = (AGAIN_AFTER.0, None),
            Err(why) if is_lasting(&why) && told.as_ref() != Some(&why) => {
                tracing::warn!(addr, %why, "a node cannot be reached");
                told = Some(why);
            }
            Err(why) => tracing::debug!(addr, %why, "a node cannot be reached"),
        }
        // Between half and all of it, so that balancers do not come back together.
        let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        pause = (pause * 2).min(AGAIN_AFTER.1);
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            _ = is_listed.wait_for(|is_listed| !is_listed) => {}
        }
    }
}

/// Whether it does not pass by itself, as what keeps a node that starts does: somebody has to be told.
fn is_lasting(why: &Closed) -> bool {
    matches!(why, Closed::Tls(_) | Closed::Refused(_))
}

/// One life of a node, from its greeting to its end; or why there was no greeting.
async fn live(shared: &Shared, addr: &str) -> Result<(), Closed> {
    let dialing = &shared.dialing;
    let mut control = Control::open(dialing.transport(addr), dialing.link.clone());
    let peer = match control.next().await {
        Some(ControlEvent::Up(peer)) => peer,
        Some(ControlEvent::Down(why)) => return Err(why),
        _ => return Err(Closed::Eof),
    };
    let Some(_seat) = OneSeat::take(&shared.seated, peer.instance) else {
        let why = format!("{} is linked by another address already", peer.name);
        return Err(Closed::Protocol(why));
    };
    shared.lives.set(shared.lives.get() + 1);
    let (name, life) = (peer.name.clone(), shared.lives.get());
    tracing::info!(node = %name, addr, "a node is there");
    let node = LinkedNode::new(name.clone(), addr.to_owned(), Arc::clone(dialing), life);
    let seated = Seated::new(shared, Arc::new(node));
    let why = seated.attend(&mut control).await;
    tracing::warn!(node = %name, addr, why, "a node is gone");
    Ok(())
}

/// The right to seats of one life of a node: with two addresses it would have twice its slots.
struct OneSeat<'a>(&'a RefCell<BTreeSet<InstanceId>>, InstanceId);

impl<'a> OneSeat<'a> {
    fn take(seated: &'a RefCell<BTreeSet<InstanceId>>, instance: InstanceId) -> Option<Self> {
        let is_new = seated.borrow_mut().insert(instance);
        is_new.then_some(Self(seated, instance))
    }
}

impl Drop for OneSeat<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().remove(&self.1);
    }
}

/// When a node that does not answer is silent, with time passed in.
#[derive(Default)]
struct Silence {
    /// When the oldest unanswered ping was sent.
    asked: Option<Instant>,
}

impl Silence {
    fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    fn heard(&mut self) {
        self.asked = None;
    }

    /// When to look.
    fn due(&self) -> Option<Instant> {
        Some(self.asked? + SILENT_AFTER)
    }

    /// Whether it is silent, looked at when it was due. Late looks prove nothing: answers may lie
    /// there unread, and the time begins anew.
    fn is_silent(&mut self, now: Instant) -> bool {
        let Some(due) = self.due() else {
            return false;
        };
        let is_own = now.saturating_duration_since(due) >= STALL;
        if is_own {
            self.asked = Some(now);
        }
        now >= due && !is_own
    }
}

/// A node that has seats in the slot tables; they go with it.
struct Seated<'a> {
    pools: &'a [Arc<Pool>],
    linked: &'a LinkedNodes,
    node: Arc<LinkedNode>,
    seat: RemoteSeat,
}

impl<'a> Seated<'a> {
    fn new(shared: &'a Shared, node: Arc<LinkedNode>) -> Self {
        shared.linked.0.fetch_add(1, Ordering::Relaxed);
        Self {
            pools: &shared.pools,
            linked: &shared.linked,
            seat: RemoteSeat::new(node.clone()),
            node,
        }
    }

    /// Until the link ends or the node is silent; says which.
    async fn attend(&self, control: &mut Control) -> String {
        let mut pings = tokio::time::interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silence = Silence::default();
        let mut is_draining = false;
        let mut nonce = 0;
        loop {
            let due = silence.due();
            let look = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into());
            tokio::select! {
                biased;
                event = control.next() => {
                    silence.heard();
                    match event {
                        // Slots of a node that drains are not for new work.
                        Some(ControlEvent::Credit(credit)) if !is_draining => self.grant(&credit),
                        Some(ControlEvent::Drain) => {
                            is_draining = true;
                            self.leave();
                        }
                        Some(ControlEvent::Pong(_)) => self.trust(),
                        Some(ControlEvent::Up(_) | ControlEvent::Credit(_)) => {}
                        Some(ControlEvent::Down(why)) => return why.to_string(),
                        None => return "the link ended".to_owned(),
                    }
                }
                () = look, if due.is_some() => {
                    if silence.is_silent(Instant::now()) {
                        return format!("silent for {} ms", SILENT_AFTER.as_millis());
                    }
                }
                _ = pings.tick() => {
                    nonce += 1;
                    control.ping(Ping { nonce, demand: self.demand() });
                    silence.asked(Instant::now());
                }
            }
        }
    }

    /// Ends the doubt of calls that it did not take: it lives.
    fn trust(&self) {
        self.pools.iter().for_each(|pool| pool.trust(&self.seat));
    }

    /// Takes what the node grants as its slots.
    fn grant(&self, credit: &Credit) {
        let now = Instant::now();
        for pool in self.pools {
            let granted = credit
                .grants
                .iter()
                .find(|grant| grant.pool == *pool.name());
            // A seat without slots stays, and what is known of it.
            pool.offer(&self.seat, granted.map_or(0, |grant| grant.slots), now);
        }
    }

    fn leave(&self) {
        self.pools.iter().for_each(|pool| pool.withdraw(&self.seat));
    }

    fn demand(&self) -> Vec<Demand> {
        let demand = |pool: &Arc<Pool>| {
            let (in_flight, queued) = pool.demand_of(&self.seat);
            let pool: PoolName = pool.name().clone();
            Demand {
                pool,
                in_flight,
                queued,
            }
        };
        self.pools.iter().map(demand).collect()
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.leave();
        self.node.end();
        self.linked.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tidepool_link::Refused;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_node_is_silent_750_ms_after_its_last_sign_of_life() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        assert_eq!(silence.due(), None, "nothing was asked");
        silence.asked(begin);
        silence.heard();
        // The longest time until the next ping.
        silence.asked(begin + PING_INTERVAL);
        silence.asked(begin + 2 * PING_INTERVAL);
        let due = silence.due().unwrap();
        assert_eq!(due, begin + ms(750));
        assert!(!silence.is_silent(due - ms(1)));
        assert!(silence.is_silent(due + ms(1)));
    }

    #[test]
    fn who_slept_through_the_time_asks_again_first() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        silence.asked(begin);
        let woken = begin + ms(5_000);
        assert!(!silence.is_silent(woken));
        assert_eq!(silence.due(), Some(woken + SILENT_AFTER));
        assert!(silence.is_silent(woken + SILENT_AFTER + ms(5)));
    }

    #[test]
    fn what_does_not_pass_by_itself_is_told() {
        let refused = "no common version".to_owned();
        assert!(is_lasting(&Closed::Refused(Refused::ByPeer(refused))));
        assert!(is_lasting(&Closed::Tls("unknown issuer".to_owned())));
        assert!(!is_lasting(&Closed::Io("connection refused".to_owned())));
        assert!(!is_lasting(&Closed::Eof));
    }

    #[test]
    fn a_life_of_a_node_is_seated_once_whatever_its_addresses() {
        let seated = RefCell::default();
        let first = OneSeat::take(&seated, [1; 16]);
        assert!(first.is_some());
        assert!(OneSeat::take(&seated, [1; 16]).is_none());
        assert!(OneSeat::take(&seated, [2; 16]).is_some());
        drop(first);
        assert!(OneSeat::take(&seated, [1; 16]).is_some());
    }
}
