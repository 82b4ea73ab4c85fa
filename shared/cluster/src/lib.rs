//! How the processes of one cluster know of each other: over the store, and only about what can
//! wait a moment. Requests never come this way.
//!
//! - [`Announcer`]: every process says once a second who it is and what it has seen.
//! - [`Roll`]: who is there, as of the last time the store answered.
//! - [`DesiredState`]: what the leading controller wants every node to run, fenced by its epoch.
//! - [`Board`]: what that controller knows of the pools, for everybody to show.
//!
//! While the store is away everybody goes on with what was known last, and says how old that is.

mod announce;
mod board;
mod desired;
mod documents;
mod roll;
mod rows;

pub use announce::{Announcer, Nudge};
pub use board::{Board, Boards, Posted, post};
pub use desired::{DesiredState, Follower, Orders, fence, publish};
pub use documents::{
    BALANCERS, BalancerDocument, BalancerStanding, CONTROLLERS, ControllerDocument, Document,
    NODES, NodeDocument, NodeStanding, NumberedReports, ReportWindows,
};
pub use roll::{Roll, Seen};
