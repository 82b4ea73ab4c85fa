//! Provisioners against real processes and against servers that answer as the real ones do.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod processes;
#[cfg(any(feature = "docker", feature = "kubernetes"))]
mod server;

/// Of a leader that nobody deposes.
const ALWAYS: tidepool_provisioner::MayAct<'static> = &|| true;
