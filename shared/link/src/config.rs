//! What bounds a link. Each number is a promise about memory or about time.

use std::time::Duration;

use tidepool_wire::frame::{FRAME_BODY_MAX, HelloLimits, InstanceId, Role, VERSIONS, Versions};

use crate::secret::Secret;

/// Messages of the largest size that a link has room for.
const LARGEST_AT_ONCE: usize = 4;

/// Who this process is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// What it is.
    pub role: Role,
    /// Its name, for people.
    pub name: String,
    /// This life of it; all its links share it. See [`crate::instance_id`].
    pub instance: InstanceId,
}

/// What a link may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest body of a frame, in bytes.
    pub frame_bytes: usize,
    /// Longest payload of a request or an answer, in bytes.
    pub message_bytes: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Bytes that wait to be written, in bytes; one message more in the worst case.
    pub queued_bytes: usize,
    /// Bytes of payloads that have come in part, in bytes.
    pub partial_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: FRAME_BODY_MAX,
            message_bytes: 16 * 1024 * 1024,
            // Credits are the true bound; fewer than those would turn free slots into refusals.
            in_flight: 65_536,
            queued_bytes: 64 * 1024 * 1024,
            partial_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The same with room for messages of `bytes`, and for as many of them as before: a bound of the
    /// whole link below that of one message would refuse such a message for ever.
    #[must_use]
    pub fn with_messages_of(self, bytes: usize) -> Self {
        let message_bytes = self.message_bytes.max(bytes);
        let all = message_bytes.saturating_mul(LARGEST_AT_ONCE);
        Self {
            message_bytes,
            queued_bytes: self.queued_bytes.max(all),
            partial_bytes: self.partial_bytes.max(all),
            ..self
        }
    }

    pub(crate) fn hello(&self) -> HelloLimits {
        let wide = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        HelloLimits {
            frame_bytes: wide(self.frame_bytes),
            message_bytes: wide(self.message_bytes),
            in_flight: wide(self.in_flight),
        }
    }
}

/// How long a link waits for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For the connection and the greeting together.
    pub greeting: Duration,
    /// For a peer to read on when there is something to write.
    pub stall: Duration,
    /// Between two looks at deadlines; a call may expire this much late.
    pub sweep: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(2),
            stall: Duration::from_secs(5),
            sweep: Duration::from_millis(20),
        }
    }
}

/// What both ends of a link need to know of themselves.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Who this process is.
    pub local: Local,
    /// The versions that it speaks: [`VERSIONS`], but for tests of another release's.
    pub versions: Versions,
    /// What peers must know too. Without one, links go to this machine only.
    pub secret: Option<Secret>,
    /// What a link may hold.
    pub limits: Limits,
    /// How long it waits.
    pub patience: Patience,
}

impl LinkConfig {
    /// The usual bounds.
    #[must_use]
    pub fn new(local: Local, secret: Option<Secret>) -> Self {
        Self {
            local,
            versions: VERSIONS,
            secret,
            limits: Limits::default(),
            patience: Patience::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_room_for_some_of_the_largest_messages() {
        let usual = Limits::default();
        assert_eq!(usual.with_messages_of(1), usual);
        let wide = usual.with_messages_of(100 << 20);
        assert_eq!(wide.message_bytes, 100 << 20);
        assert_eq!(wide.queued_bytes, 400 << 20);
        assert_eq!(wide.partial_bytes, 400 << 20);
        assert_eq!(wide.with_messages_of(1), wide);
    }
}
