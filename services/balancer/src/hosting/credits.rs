//! Who may send how much: the slots of each pool, shared among the balancers that are linked.
//!
//! A balancer that is frozen or cut off keeps its link, and can use no slot: from when that shows, the
//! others share all of them. It is told nothing until it is heard again. What it sends before it knows
//! its new share waits here, as what is sent to a node with more balancers than before.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use tidepool_core::PoolName;
use tidepool_link::{Peer, Steering};
use tidepool_wire::frame::{Credit, Grant, InstanceId, Ping};

use super::silence::Silence;
use crate::shares::shares;

/// A balancer and what it was told.
struct Balancer {
    steering: Steering,
    wants: HashMap<PoolName, u32>,
    told: Option<Credit>,
}

/// The balancers that are linked, by their lives.
#[derive(Default)]
pub(super) struct Credits {
    balancers: BTreeMap<InstanceId, Balancer>,
    generation: u64,
    silence: Silence,
}

impl Credits {
    /// A balancer has come. If it was there already, its newer link counts.
    pub(super) fn join(&mut self, peer: &Peer, steering: Steering, now: Instant) {
        let balancer = Balancer {
            steering,
            wants: HashMap::new(),
            told: None,
        };
        self.balancers.insert(peer.instance, balancer);
        self.silence.heard(peer.instance, now);
    }

    /// A control link has ended; the balancer stays if it has opened another one.
    pub(super) fn leave(&mut self, peer: &Peer) {
        let is_gone = |balancer: &Balancer| balancer.steering.is_closed();
        if self.balancers.get(&peer.instance).is_some_and(is_gone) {
            self.balancers.remove(&peer.instance);
            self.silence.gone(peer.instance);
        }
    }

    /// A balancer says what it needs.
    pub(super) fn want(&mut self, peer: &Peer, ping: &Ping, now: Instant) {
        if let Some(balancer) = self.balancers.get_mut(&peer.instance) {
            self.silence.heard(peer.instance, now);
            let wants = ping.demand.iter();
            balancer.wants = wants
                .map(|demand| {
                    let wanted = demand.in_flight.saturating_add(demand.queued);
                    (demand.pool.clone(), wanted)
                })
                .collect();
        }
    }

    /// Tells those whose share has changed. Whoever has fallen silent has none.
    pub(super) fn tell(&mut self, slots: impl Iterator<Item = (PoolName, Offer)>, now: Instant) {
        self.silence.look(now);
        let balancers = self.balancers.iter_mut();
        let heard: Vec<_> = balancers
            .filter(|(instance, _)| !self.silence.is_silent(**instance))
            .map(|(_, balancer)| balancer)
            .collect();
        let mut grants = vec![Vec::new(); heard.len()];
        for (pool, offer) in slots {
            let wants: Vec<u32> = heard
                .iter()
                .map(|balancer| balancer.wants.get(&pool).copied().unwrap_or(0))
                .collect();
            for (grants, share) in grants.iter_mut().zip(shares(offer.slots, &wants)) {
                if share > 0 {
                    grants.push(Grant {
                        pool: pool.clone(),
                        slots: share,
                        workers: offer.workers,
                    });
                }
            }
        }
        for (balancer, mut grants) in heard.into_iter().zip(grants) {
            grants.sort_by(|a, b| a.pool.cmp(&b.pool));
            if balancer
                .told
                .as_ref()
                .is_some_and(|told| told.grants == grants)
            {
                continue;
            }
            self.generation += 1;
            let credit = Credit {
                generation: self.generation,
                grants,
            };
            balancer.steering.credit(credit.clone());
            balancer.told = Some(credit);
        }
    }
}

/// What a node has of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    /// Requests that may be in flight.
    pub(crate) slots: u32,
    /// Workers that are ready.
    pub(crate) workers: u32,
}
