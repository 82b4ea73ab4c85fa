//! Links: connections between balancers and nodes that know each other.
//!
//! A balancer opens one [`Control`] per node (credits, drains, signs of life) and one [`Link`] per
//! HTTP thread and node (requests and answers). A node runs a [`Server`] whose connections call a
//! [`Host`]. Everything but [`Server`] and [`Steering`] lives on one thread, on a
//! `tokio::task::LocalSet`: no locks on the way of a request. The first push wakes the task of the
//! link, which queues behind the other tasks that are ready; so one write carries the batch of
//! all of them, without a timer.
//!
//! Whatever happens, a call ends: answered, rejected, lost or expired ([`CallEnd`]). Everything is
//! bounded by [`Limits`] and [`Patience`].

mod client;
mod config;
mod control;
mod duplex;
mod greeting;
mod handshake;
mod intake;
mod outbox;
mod peer;
mod secret;
mod server;
mod transport;

pub use client::{Call, CallEnd, Full, Link};
pub use config::{Limits, LinkConfig, Local, Patience};
pub use control::{Control, ControlEvent};
pub use handshake::Refused;
pub use peer::{Closed, Peer};
pub use secret::{Secret, WeakSecret, instance_id};
pub use server::{Answer, Host, Outcome, Server, Steering};
#[cfg(feature = "tls")]
pub use transport::tls::{Tls, TlsError};
pub use transport::{Connected, Io, Tcp, Transport, bind};
