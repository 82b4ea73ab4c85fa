//! Measures durable appends: 64 concurrent callers, each waiting for its own `fsync`ed answer.
//!
//! `cargo run --release -p tidepool-store --example durable_appends [DIRECTORY]`

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidepool_store::{EmbeddedStore, Epoch, Log, wait};

const CALLERS: usize = 64;
const DURATION: Duration = Duration::from_secs(5);
const BODY_BYTES: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::Builder::new().tempdir_in(here)?;
    let store = EmbeddedStore::open(directory.path())?;
    for records in [1, 100] {
        let (appends, elapsed) = measure(&store, records);
        let rate = appends as f64 / elapsed.as_secs_f64();
        writeln!(
            std::io::stdout(),
            "{CALLERS} callers, {records} records of {BODY_BYTES} bytes an append: \
             {rate:.0} appends/s, {:.0} records/s",
            rate * f64::from(records)
        )?;
    }
    Ok(())
}

fn measure(store: &EmbeddedStore, records: u32) -> (u64, Duration) {
    let (appends, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (appends, is_over) = (&appends, &is_over);
            scope.spawn(move || {
                let stream = format!("bench-{}", caller % 8);
                let body = bytes::Bytes::from(vec![b'x'; BODY_BYTES]);
                while !is_over.load(Ordering::Relaxed) {
                    let bodies = vec![body.clone(); records as usize];
                    if wait(store.append(&stream, Epoch::UNFENCED, bodies)).is_ok() {
                        appends.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        std::thread::sleep(DURATION);
        is_over.store(true, Ordering::Relaxed);
    });
    (appends.load(Ordering::Relaxed), begin.elapsed())
}
