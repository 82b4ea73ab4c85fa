//! What a cluster consists of, as data.

use serde::{Deserialize, Serialize};

/// A part of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Who {
    /// A node, by its place.
    Node(usize),
    /// A balancer, by its place.
    Balancer(usize),
    /// A controller, by its place.
    Controller(usize),
    /// One process that does everything, with a store of its own.
    Whole,
    /// The only Redis.
    Redis,
}

impl Who {
    /// Its name in the cluster.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Node(n) => format!("n{n}"),
            Self::Balancer(n) => format!("b{n}"),
            Self::Controller(n) => format!("c{n}"),
            Self::Whole => "whole".to_owned(),
            Self::Redis => "redis".to_owned(),
        }
    }

    /// The command that it is started with.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::Balancer(_) => "balancer",
            Self::Controller(_) => "controller",
            Self::Whole => "serve",
            Self::Redis => "redis-server",
        }
    }
}

/// Which balancers reach nodes through proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proxied {
    /// None.
    #[default]
    Nobody,
    /// The first one; the others go straight.
    First,
    /// All.
    Everybody,
}

/// An echo pool that controllers size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scaled {
    /// Fewest workers in the whole cluster.
    pub min: u32,
    /// Most of them.
    pub max: u32,
    /// Most workers of all pools on one node.
    pub node_max: u32,
    /// Fewest and most nodes that controllers start as processes, besides those of the layout.
    pub started_nodes: Option<(u32, u32)>,
}

/// What a cluster consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Nodes.
    pub nodes: usize,
    /// Balancers.
    pub balancers: usize,
    /// Controllers; with any there is a Redis.
    pub controllers: usize,
    /// Whether there is one process that does everything; then there is nothing else.
    pub is_whole: bool,
    /// Whether processes find one another, and keep notes, in Redis.
    pub has_redis: bool,
    /// Who goes through proxies.
    pub proxied: Proxied,
    /// Whether each part has a network namespace of its own.
    pub is_apart: bool,
    /// Size of the disk that the store lies on, in MiB; nothing: the disk of the machine.
    pub disk_mib: Option<u32>,
    /// Whether all begin as the older program.
    pub begins_old: bool,
    /// Echo workers of each node.
    pub workers: u32,
    /// Requests that each of them does at a time.
    pub slots: u32,
    /// How controllers size the echo pool; nothing: it keeps its size.
    pub scaled: Option<Scaled>,
}

impl Layout {
    /// Four nodes, two balancers, and nothing that they share.
    pub const PLAIN: Self = Self {
        nodes: 4,
        balancers: 2,
        controllers: 0,
        is_whole: false,
        has_redis: false,
        proxied: Proxied::Nobody,
        is_apart: false,
        disk_mib: None,
        begins_old: false,
        workers: 2,
        slots: 8,
        scaled: None,
    };

    /// Whom clients call.
    #[must_use]
    pub fn fronts(&self) -> Vec<Who> {
        let balancers = (0..self.balancers).map(Who::Balancer);
        balancers
            .chain(self.is_whole.then_some(Who::Whole))
            .collect()
    }

    /// All parts, in the order in which they are started: who is needed comes first.
    #[must_use]
    pub fn parts(&self) -> Vec<Who> {
        let redis = self.has_redis.then_some(Who::Redis);
        let nodes = (0..self.nodes).map(Who::Node);
        let controllers = (0..self.controllers).map(Who::Controller);
        let parts = redis.into_iter().chain(nodes).chain(controllers);
        parts.chain(self.fronts()).collect()
    }

    /// Nodes that there are at least, whoever starts them.
    #[must_use]
    pub fn nodes_min(&self) -> usize {
        let started = self.scaled.and_then(|scaled| scaled.started_nodes);
        self.nodes + started.map_or(0, |(min, _)| min as usize)
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::PLAIN
    }
}
