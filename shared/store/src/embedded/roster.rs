//! Who is there, in memory: a store of one process has only members of that process, and they end
//! with it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidepool_core::Timestamp;

use crate::error::StoreError;
use crate::limits::{GROUP_LEN_MAX, group_is_full};
use crate::port::Members;

#[derive(Debug)]
struct Member {
    document: Bytes,
    expires: Timestamp,
}

/// All groups. A group is here while somebody is in it.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, BTreeMap<String, Member>>);

impl Groups {
    pub(super) fn announce(
        &mut self,
        group: &str,
        member: &str,
        document: Bytes,
        ttl_ms: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.purge(group, now);
        let members = self.0.entry(group.to_owned()).or_default();
        if members.len() >= GROUP_LEN_MAX && !members.contains_key(member) {
            return Err(group_is_full());
        }
        let expires = now.after(Duration::from_millis(ttl_ms));
        members.insert(member.to_owned(), Member { document, expires });
        Ok(())
    }

    pub(super) fn withdraw(&mut self, group: &str, member: &str, now: Timestamp) -> bool {
        self.purge(group, now);
        let members = self.0.get_mut(group);
        members.is_some_and(|members| members.remove(member).is_some())
    }

    pub(super) fn members(&mut self, group: &str, now: Timestamp) -> Members {
        self.purge(group, now);
        let members = self.0.get(group).into_iter().flatten();
        members
            .map(|(name, member)| (name.clone(), member.document.clone()))
            .collect()
    }

    fn purge(&mut self, group: &str, now: Timestamp) {
        if let Some(members) = self.0.get_mut(group) {
            members.retain(|_, member| now < member.expires);
            if members.is_empty() {
                self.0.remove(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_members_takes_no_place() {
        let mut groups = Groups::default();
        groups
            .announce("g", "m", Bytes::new(), 10, Timestamp(5))
            .unwrap();
        assert_eq!(groups.members("g", Timestamp(14)).len(), 1);
        assert!(groups.members("g", Timestamp(15)).is_empty());
        assert!(groups.0.is_empty());
    }
}
