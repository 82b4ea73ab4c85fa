//! The fencing epoch of this process's supervisor: larger than that of any before it.

use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use tidepool_store::Kv;

/// Where the last epoch is kept.
const KEY: &str = "controller/epoch";
/// Tries against others that take an epoch at the same time.
const TRIES_MAX: usize = 16;

/// Takes the next epoch.
pub(super) async fn next(kv: &Arc<dyn Kv>) -> anyhow::Result<u64> {
    for _ in 0..TRIES_MAX {
        let held = kv.get(KEY).await.context("the store does not answer")?;
        let last: u64 = match &held {
            Some(value) => std::str::from_utf8(&value.bytes)?
                .parse()
                .context("a broken epoch")?,
            None => 0,
        };
        let next = last + 1;
        let expected = held.map(|value| value.version);
        let text = Bytes::from(next.to_string());
        if kv
            .compare_and_set(KEY, expected, text, None)
            .await?
            .is_some()
        {
            return Ok(next);
        }
    }
    bail!("others took every epoch; is this store shared by many starting processes?")
}
