//! Hosts workers: a [`Node`] actor keeps each pool at its target, and a [`Worker`] actor owns the
//! life of one worker. Requests never pass through either: they take slots in place from the
//! table that a worker joins through [`Membership`], and run on the HTTP thread or on the
//! worker's [`Lane`].

mod hosted;
mod lane;
mod membership;
mod node;
mod reconcile;
mod resources;
mod restart;
mod turn;
mod worker;

pub use lane::{Job, Lane};
pub use membership::{Membership, Seat, SeatNotice};
pub use node::{
    AskStatus, DrainWorker, Naming, Node, NodeConfig, NodePorts, PoolHosting, Shutdown, Target,
};
pub use restart::{Restart, RestartPolicy, RestartState};
pub use turn::turn;
