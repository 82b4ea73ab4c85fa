//! The nodes that this process may call: a control link to each, and what its credits mean for
//! the slot tables.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidepool_core::PoolName;
use tidepool_link::{Control, ControlEvent};
use tidepool_wire::frame::{Credit, Demand, Ping};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RemoteSeat;
use super::linked::{Dialing, LinkedNode};
use crate::pool::Pool;

/// How often a node is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// A node that was silent for so long gets nothing any more.
const SILENT_AFTER: Duration = Duration::from_millis(750);
/// Pause before a node that is gone is tried again: the first, and the longest.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Keeps links to all nodes of a directory that may change. Ends, with its links, when the handle
/// is dropped. Must be started on a thread that outlives those of connections.
pub struct Nodes {
    task: JoinHandle<()>,
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
        });
        let task = actix_web::rt::spawn(attend(shared, directory));
        Self { task, linked }
    }

    /// How many are linked, for those who look.
    #[must_use]
    pub fn linked(&self) -> LinkedNodes {
        self.linked.clone()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    pools: Vec<Arc<Pool>>,
    dialing: Arc<Dialing>,
    lives: Cell<u64>,
    linked: LinkedNodes,
}

/// Runs a task for every address; those of addresses that are gone end with their link, not
/// before: a node that the directory lost sight of may still serve.
async fn attend(shared: Rc<Shared>, mut directory: watch::Receiver<Vec<String>>) {
    let mut tasks: BTreeMap<String, Attended> = BTreeMap::new();
    loop {
        let listed = directory.borrow_and_update().clone();
        tasks.retain(|_, attended| !attended.task.0.is_finished());
        for (addr, attended) in &tasks {
            attended.is_listed.send_replace(listed.contains(addr));
        }
        for addr in listed {
            tasks.entry(addr).or_insert_with_key(|addr| {
                let (is_listed, listing) = watch::channel(true);
                let node = keep_linked(Rc::clone(&shared), addr.clone(), listing);
                let task = AbortOnDrop(actix_web::rt::spawn(node));
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
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Links to one address again and again, as long as the directory lists it.
async fn keep_linked(shared: Rc<Shared>, addr: String, mut is_listed: watch::Receiver<bool>) {
    let mut pause = AGAIN_AFTER.0;
    while *is_listed.borrow_and_update() {
        if live(&shared, &addr).await {
            pause = AGAIN_AFTER.0;
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

/// One life of a node, from its greeting to its end. Whether it came to a greeting.
async fn live(shared: &Shared, addr: &str) -> bool {
    let dialing = &shared.dialing;
    let mut control = Control::open(dialing.transport(addr), dialing.link.clone());
    let peer = match control.next().await {
        Some(ControlEvent::Up(peer)) => peer,
        Some(ControlEvent::Down(why)) => {
            tracing::debug!(addr, %why, "a node cannot be reached");
            return false;
        }
        _ => return false,
    };
    shared.lives.set(shared.lives.get() + 1);
    let (name, life) = (peer.name.clone(), shared.lives.get());
    tracing::info!(node = %name, addr, "a node is there");
    let node = LinkedNode::new(name.clone(), addr.to_owned(), Arc::clone(dialing), life);
    let seated = Seated::new(shared, Arc::new(node));
    let why = seated.attend(&mut control).await;
    tracing::warn!(node = %name, addr, why, "a node is gone");
    true
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
        let mut heard = Instant::now();
        let mut nonce = 0;
        loop {
            let silent = tokio::time::sleep_until((heard + SILENT_AFTER).into());
            tokio::select! {
                biased;
                event = control.next() => {
                    heard = Instant::now();
                    match event {
                        Some(ControlEvent::Credit(credit)) => self.grant(&credit),
                        Some(ControlEvent::Drain) => self.leave(),
                        Some(ControlEvent::Up(_) | ControlEvent::Pong(_)) => {}
                        Some(ControlEvent::Down(why)) => return why.to_string(),
                        None => return "the link ended".to_owned(),
                    }
                }
                () = silent => return format!("silent for {} ms", SILENT_AFTER.as_millis()),
                _ = pings.tick() => {
                    nonce += 1;
                    control.ping(Ping { nonce, demand: self.demand() });
                }
            }
        }
    }

    /// Takes what the node grants as its slots.
    fn grant(&self, credit: &Credit) {
        let now = Instant::now();
        for pool in self.pools {
            let granted = credit
                .grants
                .iter()
                .find(|grant| grant.pool == *pool.name());
            match granted.map_or(0, |grant| grant.slots) {
                0 => pool.withdraw(&self.seat),
                slots => pool.offer(self.seat.clone(), slots, now),
            }
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
