//! Who leads, as far as this process knows: a pure state machine. Time and what the store answered
//! come in; what to ask next and what became of it go out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidepool_store::Epoch;

/// What this process is to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Somebody else leads, or nobody yet.
    Standby,
    /// This process leads.
    Leading {
        epoch: Epoch,
        /// When the renewal that succeeded last was sent: the store counts from later.
        renewed_at: Instant,
    },
    /// The store does not answer, so nobody can be known to lead.
    Away { since: Instant },
}

/// What to ask the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Acquire,
    Renew(Epoch),
}

/// What it answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The lease is this process's under this epoch.
    Granted(Epoch),
    /// It is somebody else's, or no longer this process's.
    Refused,
    Renewed,
    /// Nothing in time.
    Nothing,
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Won(Epoch),
    Lost(Epoch),
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Leadership {
    standing: Standing,
    ttl: Duration,
}

impl Leadership {
    pub(super) fn new(ttl: Duration) -> Self {
        let standing = Standing::Standby;
        Self { standing, ttl }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn ask(&self) -> Ask {
        match self.standing {
            Standing::Leading { epoch, .. } => Ask::Renew(epoch),
            Standing::Standby | Standing::Away { .. } => Ask::Acquire,
        }
    }

    /// Until when this process may act, if it leads.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        match self.standing {
            Standing::Leading { renewed_at, .. } => Some(renewed_at + self.ttl),
            Standing::Standby | Standing::Away { .. } => None,
        }
    }

    /// Takes in the answer to what was asked at `asked_at`.
    pub(super) fn hear(&mut self, answer: Answer, asked_at: Instant, now: Instant) -> Option<Turn> {
        let is_late = now.saturating_duration_since(asked_at) >= self.ttl;
        match (answer, self.standing) {
            (Answer::Granted(epoch), _) if !is_late => {
                let renewed_at = asked_at;
                self.standing = Standing::Leading { epoch, renewed_at };
                Some(Turn::Won(epoch))
            }
            (Answer::Renewed, Standing::Leading { epoch, .. }) if !is_late => {
                let renewed_at = asked_at;
                self.standing = Standing::Leading { epoch, renewed_at };
                None
            }
            (Answer::Refused, Standing::Leading { epoch, .. }) => {
                self.standing = Standing::Standby;
                Some(Turn::Lost(epoch))
            }
            (Answer::Refused, _) => {
                self.standing = Standing::Standby;
                None
            }
            (_, Standing::Standby) => {
                self.standing = Standing::Away { since: now };
                None
            }
            (_, Standing::Leading { .. } | Standing::Away { .. }) => self.lapse(now),
        }
    }

    /// Steps down when the lease has not been renewed for as long as it lasts.
    pub(super) fn lapse(&mut self, now: Instant) -> Option<Turn> {
        match self.standing {
            Standing::Leading { epoch, renewed_at } if now >= renewed_at + self.ttl => {
                self.standing = Standing::Away { since: renewed_at };
                Some(Turn::Lost(epoch))
            }
            _ => None,
        }
    }

    /// Steps down because the store refused what this process wrote.
    pub(super) fn abdicate(&mut self) -> Option<Turn> {
        let Standing::Leading { epoch, .. } = self.standing else {
            return None;
        };
        self.standing = Standing::Standby;
        Some(Turn::Lost(epoch))
    }
}

/// The right to act under an epoch. It runs out by itself, so that a process that was frozen and
/// wakes up acts no more, whatever it does first.
#[derive(Debug)]
pub(super) struct Mandate {
    pub(super) epoch: Epoch,
    began: Instant,
    /// Milliseconds after `began`.
    until_ms: AtomicU64,
    is_resigned: AtomicBool,
}

impl Mandate {
    pub(super) fn new(epoch: Epoch, until: Instant) -> Self {
        let mandate = Self {
            epoch,
            began: Instant::now(),
            until_ms: AtomicU64::new(0),
            is_resigned: AtomicBool::new(false),
        };
        mandate.extend(until);
        mandate
    }

    /// Lets it hold until then.
    pub(super) fn extend(&self, until: Instant) {
        let until = until.saturating_duration_since(self.began).as_millis();
        let until_ms = u64::try_from(until).unwrap_or(u64::MAX);
        self.until_ms.store(until_ms, Ordering::Release);
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.until_ms.store(0, Ordering::Release);
    }

    /// Ends it for good, so that another process may lead: this one can make nothing of it.
    pub(super) fn resign(&self) {
        self.is_resigned.store(true, Ordering::Release);
        self.end();
    }

    pub(super) fn is_resigned(&self) -> bool {
        self.is_resigned.load(Ordering::Acquire)
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        // A renewal that was under way extends it all the same.
        if self.is_resigned() {
            return false;
        }
        let until = Duration::from_millis(self.until_ms.load(Ordering::Acquire));
        now.saturating_duration_since(self.began) < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn leading(start: Instant) -> Leadership {
        let mut leadership = Leadership::new(TTL);
        let won = leadership.hear(Answer::Granted(Epoch(7)), start, start);
        assert_eq!(won, Some(Turn::Won(Epoch(7))));
        leadership
    }

    #[test]
    fn a_standby_asks_until_it_is_granted_and_then_renews() {
        let start = Instant::now();
        let mut leadership = Leadership::new(TTL);
        assert_eq!(leadership.ask(), Ask::Acquire);
        assert_eq!(leadership.hear(Answer::Refused, start, start), None);
        assert_eq!(leadership.ask(), Ask::Acquire);
        let leadership = leading(start);
        assert_eq!(leadership.ask(), Ask::Renew(Epoch(7)));
        assert_eq!(leadership.ends_at(), Some(start + TTL));
    }

    #[test]
    fn a_leader_whom_nothing_answers_stops_when_its_lease_may_have_run_out() {
        let start = Instant::now();
        let mut leadership = leading(start);
        let renewed = leadership.hear(Answer::Renewed, after(start, 1_000), after(start, 1_900));
        assert_eq!(renewed, None);
        let asked = after(start, 2_900);
        assert_eq!(leadership.hear(Answer::Nothing, asked, asked), None);
        assert_eq!(leadership.lapse(after(start, 3_999)), None);
        // Counted from when the renewal was sent, not from when it was answered.
        let lost = leadership.lapse(after(start, 4_000));
        assert_eq!(lost, Some(Turn::Lost(Epoch(7))));
        let since = after(start, 1_000);
        assert_eq!(leadership.standing(), Standing::Away { since });
        assert_eq!(leadership.hear(Answer::Refused, asked, asked), None);
        assert_eq!(leadership.standing(), Standing::Standby);
    }

    #[test]
    fn a_refused_renewal_and_a_fenced_write_end_it_at_once() {
        let start = Instant::now();
        let mut refused = leading(start);
        let lost = refused.hear(Answer::Refused, start, start);
        assert_eq!(lost, Some(Turn::Lost(Epoch(7))));
        let mut fenced = leading(start);
        assert_eq!(fenced.abdicate(), Some(Turn::Lost(Epoch(7))));
        assert_eq!(fenced.abdicate(), None);
        assert_eq!(fenced.ask(), Ask::Acquire);
    }

    #[test]
    fn an_answer_that_took_longer_than_the_lease_grants_nothing() {
        let start = Instant::now();
        let mut frozen = leading(start);
        let lost = frozen.hear(Answer::Renewed, after(start, 10), after(start, 30_000));
        assert_eq!(lost, Some(Turn::Lost(Epoch(7))));
        let mut standby = Leadership::new(TTL);
        let granted = standby.hear(Answer::Granted(Epoch(8)), start, after(start, 3_000));
        assert_eq!(granted, None);
    }

    #[test]
    fn a_mandate_runs_out_by_itself() {
        let mandate = Mandate::new(Epoch(1), Instant::now() + TTL);
        let now = Instant::now();
        assert!(mandate.holds(now));
        assert!(!mandate.holds(now + TTL));
        mandate.extend(now + 2 * TTL);
        assert!(mandate.holds(now + TTL));
        mandate.end();
        assert!(!mandate.holds(now));
        mandate.extend(now + TTL);
        mandate.resign();
        mandate.extend(now + TTL);
        assert!(!mandate.holds(now), "resigned for good");
    }
}
