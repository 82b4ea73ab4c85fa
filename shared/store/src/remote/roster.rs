//! Who is there: documents in a hash, and in a sorted set until when they count.

use std::time::Duration;

use bytes::Bytes;

use super::RedisStore;
use super::names::group_keys;
use crate::limits::{
    GROUP_LEN_MAX, check, check_document, check_member, check_name, group_is_full, ttl_ms,
};
use crate::port::{Members, Roster, StoreFuture};

impl Roster for RedisStore {
    fn announce(
        &self,
        group: &str,
        member: &str,
        document: Bytes,
        ttl: Duration,
    ) -> StoreFuture<()> {
        let ((), (), ttl) = check!(
            check_member(group, member),
            check_document(&document),
            ttl_ms(ttl)
        );
        let ([documents, until], member) = (group_keys(group), member.to_owned());
        let is_in = self.run(move |mut redis, scripts| {
            let mut call = scripts.announce.prepare_invoke();
            call.key(&documents).key(&until);
            call.arg(&member)
                .arg(&document[..])
                .arg(ttl)
                .arg(GROUP_LEN_MAX);
            async move { call.invoke_async::<bool>(&mut redis).await }
        });
        Box::pin(async move { is_in.await?.then_some(()).ok_or_else(group_is_full) })
    }

    fn withdraw(&self, group: &str, member: &str) -> StoreFuture<bool> {
        check!(check_member(group, member));
        let ([documents, until], member) = (group_keys(group), member.to_owned());
        self.run(move |mut redis, scripts| {
            let mut call = scripts.withdraw.prepare_invoke();
            call.key(&documents).key(&until).arg(&member);
            async move { call.invoke_async(&mut redis).await }
        })
    }

    fn members(&self, group: &str) -> StoreFuture<Members> {
        check!(check_name("the name of a group", group));
        let [documents, until] = group_keys(group);
        self.run(move |mut redis, scripts| {
            let mut call = scripts.members.prepare_invoke();
            call.key(&documents).key(&until);
            async move {
                let found: Vec<(String, Vec<u8>)> = call.invoke_async(&mut redis).await?;
                let mut members: Members = found
                    .into_iter()
                    .map(|(name, document)| (name, document.into()))
                    .collect();
                members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                Ok(members)
            }
        })
    }
}
