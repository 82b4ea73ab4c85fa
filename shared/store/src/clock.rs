//! The time that expiry goes by. Injected, so that a test of a time-to-live need not wait.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tidepool_core::Timestamp;

/// Tells the current time. Called from the store's own thread.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Wall-clock time of this call, carried on by the monotonic clock: when somebody sets the
/// machine's clock forward or back, nothing expires early and no lease is cut short.
#[must_use]
pub fn steady_clock() -> Clock {
    let (wall, started) = (Timestamp::from(SystemTime::now()), Instant::now());
    Arc::new(move || wall.after(started.elapsed()))
}
