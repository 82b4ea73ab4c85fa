//! The layout of what a server holds, looked at before anything else is done with it.

use redis::aio::ConnectionManager;
use redis::{RedisError, RedisResult};

use super::names::{INDEX, LAYOUT};
use super::refusal::{LAYOUT_CODE, is_refused};
use super::script::scripts;
use crate::layout::{Layout, Verdict};

/// Fails, with [`LAYOUT_CODE`], when this release cannot read what is there. Says what it writes
/// itself where nothing is said yet, or something older.
pub(super) async fn settle(connection: &mut ConnectionManager, ours: Layout) -> RedisResult<()> {
    let found = said(connection).await?;
    match ours.judge(found.as_deref()) {
        Verdict::GoOn => Ok(()),
        Verdict::Refuse(why) => Err(refusal(why.to_string())),
        Verdict::Write => write(connection, ours).await,
    }
}

/// What is said of the layout. Where logs lie and nothing is said, somebody has taken the word away:
/// they may be as old as logs can be, and are no new store.
async fn said(connection: &mut ConnectionManager) -> RedisResult<Option<String>> {
    let said = redis::cmd("GET")
        .arg(LAYOUT)
        .query_async::<Option<Vec<u8>>>(connection)
        .await;
    match said {
        Ok(Some(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(None) => {
            let has_logs: bool = redis::cmd("EXISTS")
                .arg(INDEX)
                .query_async(connection)
                .await?;
            Ok(has_logs.then(|| Layout::FIRST.to_string()))
        }
        Err(error) if error.code() == Some("WRONGTYPE") => {
            Ok(Some("a value of another type".to_owned()))
        }
        Err(error) => Err(error),
    }
}

async fn write(connection: &mut ConnectionManager, ours: Layout) -> RedisResult<()> {
    let mut call = scripts().layout.prepare_invoke();
    call.key(LAYOUT);
    call.arg(ours.version)
        .arg(ours.to_string())
        .arg(ours.reads_from);
    match call.invoke_async::<String>(connection).await {
        // Others may have been faster, with something newer.
        Ok(found) => match ours.judge(Some(&found)) {
            Verdict::Refuse(why) => Err(refusal(why.to_string())),
            Verdict::GoOn | Verdict::Write => Ok(()),
        },
        // A replica, or a full memory: what is there can be read, and the next look tries again.
        Err(error) if is_refused(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn refusal(words: String) -> RedisError {
    redis::make_extension_error(LAYOUT_CODE.to_owned(), Some(words))
}
