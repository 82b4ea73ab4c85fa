//! Whether a balancer reaches any node. Pure, with time passed in: one that never has is not ready, and
//! one that has lost all of them is not for long, so that clients are sent elsewhere. Redis has no part
//! in it: over links that are there requests are served without it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A balancer that has had no link for so long is not ready. Shorter ones are those of a node that
/// is started anew.
const GRACE: Duration = Duration::from_secs(5);

/// What was seen of the links.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<Seen>);

#[derive(Clone, Copy, Debug, Default)]
enum Seen {
    #[default]
    Never,
    Linked,
    Lost(Instant),
}

impl Reach {
    /// Takes in how many nodes are linked now.
    pub(super) fn see(&self, linked: usize, now: Instant) {
        let mut seen = self.0.lock();
        *seen = match *seen {
            _ if linked > 0 => Seen::Linked,
            Seen::Linked => Seen::Lost(now),
            before => before,
        };
    }

    /// Why the balancer is not ready, if it is not.
    pub(super) fn missing(&self, now: Instant) -> Option<String> {
        match *self.0.lock() {
            Seen::Never => Some("no node has been linked yet".to_owned()),
            Seen::Lost(since) if now.saturating_duration_since(since) >= GRACE => {
                let s = now.saturating_duration_since(since).as_secs();
                Some(format!("no node has been linked for {s} s"))
            }
            Seen::Linked | Seen::Lost(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_from_the_first_link_until_there_has_been_none_for_a_while() {
        let (reach, begin) = (Reach::default(), Instant::now());
        let at = |s: u64| begin + Duration::from_secs(s);
        reach.see(0, at(0));
        let never = reach.missing(at(100)).unwrap();
        assert_eq!(never, "no node has been linked yet");
        reach.see(1, at(100));
        assert_eq!(reach.missing(at(200)), None);
        reach.see(0, at(200));
        reach.see(0, at(204));
        assert_eq!(reach.missing(at(204)), None, "a node may come back");
        let lost = reach.missing(at(206)).unwrap();
        assert_eq!(lost, "no node has been linked for 6 s");
        reach.see(2, at(207));
        assert_eq!(reach.missing(at(207)), None);
    }
}
