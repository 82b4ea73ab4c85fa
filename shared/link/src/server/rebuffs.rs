//! Which refusals were told. Balancers try a node again every other second for as long as the
//! configuration names it: an operator has to read once why it is refused, not every other second.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::handshake::Refused;

/// Refusals kept in mind; beyond them all are forgotten, and told once more.
const TOLD_MAX: usize = 256;

/// What was told of whom.
#[derive(Debug, Default)]
pub(super) struct Rebuffs {
    told: BTreeSet<(Option<IpAddr>, String)>,
    count: u64,
}

impl Rebuffs {
    /// Counts a refusal. True when it is to be told.
    pub(super) fn note(&mut self, peer: Option<IpAddr>, refused: &Refused) -> bool {
        self.count += 1;
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert((peer, refused.to_string()))
    }

    /// A peer was let in: what comes after is news again.
    pub(super) fn forgive(&mut self, peer: Option<IpAddr>) {
        self.told.retain(|(of, _)| *of != peer);
    }

    /// Refusals so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_refusal_is_told_once_until_the_peer_was_let_in() {
        let mut rebuffs = Rebuffs::default();
        assert!(rebuffs.note(ip(1), &Refused::Secret));
        assert!(!rebuffs.note(ip(1), &Refused::Secret));
        assert!(rebuffs.note(ip(2), &Refused::Secret), "somebody else");
        assert!(rebuffs.note(ip(1), &Refused::TooMany), "something else");
        rebuffs.forgive(ip(1));
        assert!(rebuffs.note(ip(1), &Refused::Secret));
        assert!(!rebuffs.note(ip(2), &Refused::Secret));
        assert_eq!(rebuffs.count(), 6);
    }

    #[test]
    fn strangers_fill_no_memory() {
        let mut rebuffs = Rebuffs::default();
        for number in 0..2_000_u32 {
            let peer = Some(IpAddr::from(number.to_be_bytes()));
            rebuffs.note(peer, &Refused::Secret);
        }
        assert!(rebuffs.told.len() <= TOLD_MAX);
        assert_eq!(rebuffs.count(), 2_000);
    }
}
