//! The threads of the embedded store: one that commits in groups, some that read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tidepool_core::Timestamp;
use tidepool_core::status::ComponentHealth;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::directory::Directory;
use super::{Durability, kv, schema};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::port::StoreFuture;
use crate::vitals::Vitals;
use crate::wait::wait;

/// Operations that wait for one of the threads; further callers wait to get in.
const QUEUE_LEN: usize = 1_024;
/// Operations in one transaction.
const GROUP_LEN_MAX: usize = 1_024;
/// Bytes of the operations that wait to be written, in KiB.
const WAITING_KIB_MAX: u32 = 64 << 10;
/// Threads that read.
const READERS: usize = 2;
/// Expired keys are removed at most this often, in milliseconds.
const SWEEP_EVERY_MS: u64 = 10_000;

/// An operation in a queue: runs on a connection, then is told whether that counts.
trait Job: Send {
    /// Runs within a transaction. An error ends the transaction for all its jobs.
    fn run(&mut self, db: &Connection, now: Timestamp) -> rusqlite::Result<()>;
    /// Tells the caller: its own outcome when the transaction is durable, else the error.
    fn finish(self: Box<Self>, ended: Result<(), StoreError>);
}

/// What a caller wants done and where it waits for the answer.
struct Asked<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Room in [`WAITING_KIB_MAX`], given back with the job.
    _room: Option<OwnedSemaphorePermit>,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Connection, Timestamp) -> rusqlite::Result<Result<T, StoreError>> + Send,
{
    fn run(&mut self, db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.outcome = Some(work(db, now)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, ended: Result<(), StoreError>) {
        let Self { outcome, reply, .. } = *self;
        let outcome = ended.and_then(|()| outcome.unwrap_or(Err(StoreError::Closed)));
        // A caller that went away does not want to know.
        let _ = reply.send(outcome);
    }
}

enum Order {
    Do(Box<dyn Job>),
    Close,
}

/// The running threads of a store.
pub(super) struct Engine {
    writes: mpsc::Sender<Order>,
    reads: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    vitals: Arc<Vitals>,
    path: PathBuf,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.path).finish()
    }
}

impl Engine {
    pub(super) fn start(
        directory: Directory,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let (file, path) = (directory.database(), directory.path().to_owned());
        let vitals = Arc::new(Vitals::default());

        let db = schema::open_writer(&file, durability)?;
        let (writes, orders) = mpsc::channel(QUEUE_LEN);
        let writer = Writer {
            db,
            clock: Arc::clone(&clock),
            file: file.clone(),
            vitals: Arc::clone(&vitals),
            swept_at: Timestamp::default(),
            directory,
        };
        let writer = spawn("store-writer", &path, move || writer.run(orders))?;

        let (reads, orders) = mpsc::channel(QUEUE_LEN);
        let orders = Arc::new(Mutex::new(orders));
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let db = schema::open_reader(&file)?;
            let (orders, clock, file) = (Arc::clone(&orders), Arc::clone(&clock), file.clone());
            let run = move || read_orders(db, &orders, &clock, &file);
            readers.push(spawn("store-reader", &path, run)?);
        }
        Ok(Self {
            writes,
            reads,
            room: Arc::new(Semaphore::new(WAITING_KIB_MAX as usize)),
            vitals,
            path,
            threads: Mutex::new(Some(Threads { writer, readers })),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn health(&self) -> ComponentHealth {
        self.vitals
            .health("store", &format!("embedded in {}", self.path.display()))
    }

    /// Runs `work` in the next group commit; `bytes` is about what it holds in memory.
    pub(super) fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection, Timestamp) -> rusqlite::Result<Result<T, StoreError>>
        + Send
        + 'static,
    ) -> StoreFuture<T> {
        let (queue, room) = (self.writes.clone(), Arc::clone(&self.room));
        let kib = u32::try_from(bytes >> 10).map_or(WAITING_KIB_MAX, |n| n.min(WAITING_KIB_MAX));
        Box::pin(async move {
            let room = match kib {
                0 => None,
                kib => Some(
                    room.acquire_many_owned(kib)
                        .await
                        .map_err(|_| StoreError::Closed)?,
                ),
            };
            ask(&queue, work, room).await
        })
    }

    /// Runs `work` on a snapshot that holds everything acknowledged so far.
    pub(super) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, Timestamp) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let queue = self.reads.clone();
        Box::pin(async move { ask(&queue, |db, now| work(db, now).map(Ok), None).await })
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.threads.lock().is_none()
    }

    /// Lets the threads finish what waits, and waits for them.
    pub(super) fn close(&self) {
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        // The writer last: it tidies up the journal when no other connection is left.
        for _ in &threads.readers {
            order_end(&self.reads);
        }
        threads.readers.into_iter().for_each(join);
        order_end(&self.writes);
        join(threads.writer);
    }
}

fn order_end(queue: &mpsc::Sender<Order>) {
    // Fails only when the thread has ended.
    let _ = wait(queue.send(Order::Close));
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

async fn ask<T, F>(
    queue: &mpsc::Sender<Order>,
    work: F,
    room: Option<OwnedSemaphorePermit>,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&Connection, Timestamp) -> rusqlite::Result<Result<T, StoreError>> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job = Asked {
        work: Some(work),
        outcome: None,
        reply,
        _room: room,
    };
    queue
        .send(Order::Do(Box::new(job)))
        .await
        .map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}

fn spawn(
    name: &str,
    path: &Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| StoreError::Io {
            action: "start a thread for",
            path: path.to_owned(),
            source: Arc::new(error),
        })
}

/// The thread that writes.
struct Writer {
    db: Connection,
    clock: Clock,
    file: PathBuf,
    vitals: Arc<Vitals>,
    swept_at: Timestamp,
    // After the connection, so that the lock outlives it.
    directory: Directory,
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut waiting = Vec::with_capacity(GROUP_LEN_MAX);
        // Takes everything that came while the last group was made durable.
        while orders.blocking_recv_many(&mut waiting, GROUP_LEN_MAX) > 0 {
            let mut group = Vec::with_capacity(waiting.len());
            for order in waiting.drain(..) {
                match order {
                    Order::Do(job) => group.push(job),
                    Order::Close => orders.close(),
                }
            }
            self.commit(group);
        }
        tracing::debug!(path = %self.directory.path().display(), "the store is closed");
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let now = (self.clock)();
        let ended = self
            .transact(&mut group, now)
            .map_err(schema::failure(&self.file));
        self.vitals.note("store", ended.as_ref().copied());
        for job in group {
            job.finish(ended.clone());
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Job>], now: Timestamp) -> rusqlite::Result<()> {
        // Rolls back when dropped, also after an error of `commit`.
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in group {
            job.run(&transaction, now)?;
        }
        if now.0 >= self.swept_at.0.saturating_add(SWEEP_EVERY_MS) {
            kv::sweep(&transaction, now)?;
            self.swept_at = now;
        }
        transaction.commit()
    }
}

/// A thread that reads. Whichever is free takes the next order.
fn read_orders(db: Connection, orders: &Mutex<mpsc::Receiver<Order>>, clock: &Clock, file: &Path) {
    loop {
        let next = orders.lock().blocking_recv();
        match next {
            Some(Order::Do(mut job)) => {
                let ended = snapshot(&db, &mut *job, clock()).map_err(schema::failure(file));
                if let Err(error) = &ended {
                    tracing::error!(error = %error.full(), "the store cannot be read");
                }
                job.finish(ended);
            }
            // Closing gives each reader one such order, behind everything asked for before.
            Some(Order::Close) | None => break,
        }
    }
}

fn snapshot(db: &Connection, job: &mut dyn Job, now: Timestamp) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    job.run(&transaction, now)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedStore;
    use crate::port::{Epoch, Log, Position};

    fn limit_pages(store: &EmbeddedStore, pages: i64) {
        let limit = store.engine.write(0, move |db, _| {
            db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(Ok(())))
        });
        wait(limit).unwrap();
    }

    #[test]
    fn a_full_disk_acknowledges_nothing_and_ends_when_there_is_space() {
        let store = EmbeddedStore::ephemeral().unwrap();
        let append = || wait(store.append("s", Epoch::UNFENCED, vec![vec![7; 4_000].into()]));
        let count = || {
            let read = wait(store.read("s", Position::START, 10_000));
            read.unwrap().len()
        };
        limit_pages(&store, 60);
        let mut acknowledged = 0;
        let error = loop {
            match append() {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 100);
        };
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
        assert!(append().is_err());
        assert_eq!(store.health().state, "down");
        assert_eq!(
            count(),
            acknowledged,
            "reads go on, and hold what was acknowledged"
        );

        limit_pages(&store, 1_000_000);
        append().unwrap();
        assert_eq!(store.health().state, "ok");
        assert_eq!(count(), acknowledged + 1);
    }
}
