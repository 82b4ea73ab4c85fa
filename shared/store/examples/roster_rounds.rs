//! How many announcements and looks at a group of 16 members the back ends do a second, one caller
//! after another and 16 at once.
//!
//! `cargo run --release -p tidepool-store --example roster_rounds [REDIS_URL]`
#![expect(clippy::print_stdout, reason = "this is a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_store::{EmbeddedStore, RedisStore, Roster, StoreError};

const MEMBERS: usize = 16;
const DOCUMENT_BYTES: usize = 4 << 10;
const ROUNDS: usize = 400;
const TTL: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    rounds("embedded", Arc::new(EmbeddedStore::ephemeral()?)).await?;
    if let Some(url) = std::env::args().nth(1) {
        rounds("redis", Arc::new(RedisStore::connect(&url).await?)).await?;
    }
    Ok(())
}

async fn rounds(name: &str, roster: Arc<dyn Roster>) -> Result<(), StoreError> {
    for callers in [1, MEMBERS] {
        let begin = Instant::now();
        let callers_running: Vec<_> = (0..callers)
            .map(|caller| tokio::spawn(announce(Arc::clone(&roster), caller, callers)))
            .collect();
        for caller in callers_running {
            caller.await.map_err(|_| StoreError::Closed)??;
        }
        tell(name, "announce", callers, MEMBERS * ROUNDS, begin);
        let begin = Instant::now();
        let callers_running: Vec<_> = (0..callers)
            .map(|_| tokio::spawn(look(Arc::clone(&roster), MEMBERS * ROUNDS / callers)))
            .collect();
        for caller in callers_running {
            caller.await.map_err(|_| StoreError::Closed)??;
        }
        tell(name, "members", callers, MEMBERS * ROUNDS, begin);
    }
    Ok(())
}

async fn announce(
    roster: Arc<dyn Roster>,
    caller: usize,
    callers: usize,
) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        for member in (caller..MEMBERS).step_by(callers) {
            let document = vec![7; DOCUMENT_BYTES].into();
            roster
                .announce("nodes", &format!("node-{member}"), document, TTL)
                .await?;
        }
    }
    Ok(())
}

async fn look(roster: Arc<dyn Roster>, times: usize) -> Result<(), StoreError> {
    for _ in 0..times {
        roster.members("nodes").await?;
    }
    Ok(())
}

fn tell(back_end: &str, what: &str, callers: usize, count: usize, begin: Instant) {
    let per_s = count as f64 / begin.elapsed().as_secs_f64();
    println!("{back_end} {what} callers={callers} per_s={per_s:.0}");
}
