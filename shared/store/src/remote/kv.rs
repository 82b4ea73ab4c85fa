//! Keys with values. The epoch of a key is a key of its own beside it, because it outlives the value.

use std::time::Duration;

use bytes::Bytes;
use redis::ScriptInvocation;

use super::RedisStore;
use super::names::pair_keys;
use super::script::Scripts;
use crate::error::StoreError;
use crate::limits::{check, check_epoch, check_name, check_value, ttl_ms};
use crate::port::{Epoch, Kv, StoreFuture, Value, Version};

/// A time to live as scripts take it: 0 for none.
fn script_ttl(ttl: Option<Duration>) -> Result<u64, StoreError> {
    ttl.map_or(Ok(0), ttl_ms)
}

impl Kv for RedisStore {
    fn get(&self, key: &str) -> StoreFuture<Option<Value>> {
        check!(check_name("a key", key));
        let [key, _] = pair_keys(key);
        self.run(move |mut redis, _| {
            let key = key.clone();
            async move {
                let found: (Option<u64>, Option<Vec<u8>>) = redis::cmd("HMGET")
                    .arg(key)
                    .arg("version")
                    .arg("bytes")
                    .query_async(&mut redis)
                    .await?;
                Ok(match found {
                    (Some(version), Some(bytes)) => Some(Value {
                        bytes: bytes.into(),
                        version: Version(version),
                    }),
                    _ => None,
                })
            }
        })
    }

    fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<Version> {
        let ((), (), ttl) = check!(
            check_name("a key", key),
            check_value(&value),
            script_ttl(ttl)
        );
        let ([key, _], version) = (pair_keys(key), Version::fresh());
        self.run(move |mut redis, scripts| {
            let mut call = scripts.put.prepare_invoke();
            call.key(&key).arg(version.0).arg(&value[..]).arg(ttl);
            async move {
                call.invoke_async::<()>(&mut redis).await?;
                Ok(version)
            }
        })
    }

    fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let ((), (), ttl) = check!(
            check_name("a key", key),
            check_value(&value),
            script_ttl(ttl)
        );
        let ([key, _], version) = (pair_keys(key), Version::fresh());
        // No version is 0.
        let expected = expected.map_or(0, |version| version.0);
        self.run(move |mut redis, scripts| {
            let mut call = scripts.compare_and_set.prepare_invoke();
            call.key(&key)
                .arg(version.0)
                .arg(&value[..])
                .arg(ttl)
                .arg(expected);
            async move {
                let is_set: bool = call.invoke_async(&mut redis).await?;
                Ok(is_set.then_some(version))
            }
        })
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        check!(check_name("a key", key));
        let [key, _] = pair_keys(key);
        self.run(move |mut redis, _| {
            let key = key.clone();
            async move { redis::cmd("DEL").arg(key).query_async(&mut redis).await }
        })
    }

    fn fence(&self, key: &str, epoch: Epoch) -> StoreFuture<Option<Value>> {
        check!(check_name("a key", key), check_epoch(epoch));
        let answer = self.run_fenced(key, epoch, |scripts| scripts.fence.prepare_invoke());
        Box::pin(async move {
            let (version, bytes) = answer.await?;
            Ok(version.zip(bytes).map(|(version, bytes)| Value {
                bytes: bytes.into(),
                version: Version(version),
            }))
        })
    }

    fn put_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Version> {
        let (version, ttl) = (Version::fresh(), check!(check_set(key, epoch, &value, ttl)));
        let answer = self.run_fenced(key, epoch, move |scripts| {
            set_call(scripts, version, &value, ttl, "any")
        });
        Box::pin(async move { answer.await.map(|_| version) })
    }

    fn compare_and_set_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let (version, ttl) = (Version::fresh(), check!(check_set(key, epoch, &value, ttl)));
        // No version is 0.
        let expected = expected.map_or(0, |version| version.0).to_string();
        let answer = self.run_fenced(key, epoch, move |scripts| {
            set_call(scripts, version, &value, ttl, &expected)
        });
        Box::pin(async move {
            let (is_set, _) = answer.await?;
            Ok((is_set == Some(1)).then_some(version))
        })
    }

    fn delete_fenced(&self, key: &str, epoch: Epoch) -> StoreFuture<bool> {
        check!(check_name("a key", key), check_epoch(epoch));
        let answer = self.run_fenced(key, epoch, |scripts| scripts.delete_fenced.prepare_invoke());
        Box::pin(async move {
            let (removed, _) = answer.await?;
            Ok(removed == Some(1))
        })
    }
}

fn check_set(
    key: &str,
    epoch: Epoch,
    value: &Bytes,
    ttl: Option<Duration>,
) -> Result<u64, StoreError> {
    check_name("a key", key)?;
    check_epoch(epoch)?;
    check_value(value)?;
    script_ttl(ttl)
}

fn set_call(
    scripts: &'static Scripts,
    version: Version,
    value: &Bytes,
    ttl: u64,
    expected: &str,
) -> ScriptInvocation<'static> {
    let mut call = scripts.set_fenced.prepare_invoke();
    call.arg(version.0).arg(&value[..]).arg(ttl).arg(expected);
    call
}

/// What a fenced script answers besides whether the epoch is good: a number and bytes.
type Outcome = (Option<u64>, Option<Vec<u8>>);

impl RedisStore {
    /// Runs a script whose keys are those of a pair and whose last argument is an epoch.
    fn run_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        prepare: impl Fn(&'static Scripts) -> ScriptInvocation<'static> + Send + Sync + 'static,
    ) -> StoreFuture<Outcome> {
        let (name, keys) = (key.to_owned(), pair_keys(key));
        let answer = self.run(move |mut redis, scripts| {
            let mut call = prepare(scripts);
            call.key(&keys[0]).key(&keys[1]).arg(epoch.0);
            async move {
                call.invoke_async::<(Option<u64>, Option<u64>, Option<Vec<u8>>)>(&mut redis)
                    .await
            }
        });
        Box::pin(async move {
            match answer.await? {
                (Some(current), _, _) => Err(StoreError::Fenced {
                    name,
                    epoch,
                    current: Epoch(current),
                }),
                (None, number, bytes) => Ok((number, bytes)),
            }
        })
    }
}
