//! What one of several processes needs of the store: they find one another in it. A store that no other
//! process sees leaves each of them alone, and that has to be said before anybody wonders.

use super::Role;
use crate::settings::{NodeSource, Settings, Store};

/// The way out, for all of them.
const OTHERWISE: &str = "set store.kind = \"redis\" and store.redis_url for every process, or run \
                         `tidepool`, which is everything in one process";

/// What is wrong with the store of a process of this role, so that it could never do its work.
pub(crate) fn fault(role: Role, settings: &Settings) -> Option<String> {
    let why = match (role, &settings.store, &settings.cluster.nodes) {
        (Role::Controller, Store::Embedded { .. }, _) => {
            "no other process sees an embedded store: this controller would lead alone, of no nodes \
             and no balancers"
        }
        (Role::Balancer, Store::Embedded { .. }, NodeSource::Roster) => {
            "no other process sees an embedded store, in which nodes would announce themselves: this \
             balancer would find none (cluster.nodes or cluster.nodes_dns can name them instead)"
        }
        _ => return None,
    };
    Some(format!("{why}; {OTHERWISE}"))
}

/// What a process of this role has to do without because of its store, if it can do its work.
pub(super) fn warning(role: Role, settings: &Settings) -> Option<String> {
    let why = match (role, &settings.store) {
        (Role::Node, Store::Embedded { .. }) => {
            "the store is embedded: no controller sees this node, so it runs the least of each pool \
             and tells its events to nobody else; only balancers that name it in cluster.nodes or \
             cluster.nodes_dns find it; and what memory keeps here no other node knows"
        }
        (Role::Balancer, Store::Embedded { .. }) => {
            "the store is embedded: no controller sees this balancer, so nobody scales by its load, \
             it tells its events to nobody else, and an Idempotency-Key counts here only"
        }
        _ => return None,
    };
    Some(format!("{why}; to change that, {OTHERWISE}"))
}
