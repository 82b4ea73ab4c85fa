//! The threads of one worker, for handlers that compute.
//!
//! A job is only ever submitted by the holder of a slot, so at most `slots` jobs exist at a time:
//! that bounds both the queue and the threads. Threads start when they are first needed.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Something to compute. It must not unwind: whoever submits it catches panics.
pub type Job = Box<dyn FnOnce() + Send>;

struct State {
    jobs: VecDeque<Job>,
    threads: u32,
    idle: u32,
    closed: bool,
    /// `/proc` entries of the threads, for their CPU time.
    tasks: Vec<std::path::PathBuf>,
}

struct Shared {
    name: String,
    threads_max: u32,
    state: Mutex<State>,
    wake: Condvar,
}

/// A bounded set of threads. Clones share them; they end when the last clone is gone and what it
/// submitted is done.
#[derive(Clone)]
pub struct Lane(Arc<Owner>);

/// What all clones of a lane share and its threads do not, so that it goes with the last clone.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Lane {
    /// A lane of at most `threads_max` threads, named after the worker.
    #[must_use]
    pub fn new(name: &str, threads_max: u32) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            threads: 0,
            idle: 0,
            closed: false,
            tasks: Vec::new(),
        };
        Self(Arc::new(Owner(Arc::new(Shared {
            // The kernel keeps 15 bytes of a thread name.
            name: name.chars().take(15).collect(),
            threads_max: threads_max.max(1),
            state: Mutex::new(state),
            wake: Condvar::new(),
        }))))
    }

    /// Runs a job on a thread of this lane.
    ///
    /// # Errors
    /// Gives the job back when the system refuses a first thread.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let shared = &self.0.0;
        let mut state = shared.state.lock();
        state.jobs.push_back(job);
        if state.idle as usize >= state.jobs.len() {
            drop(state);
            shared.wake.notify_one();
            return Ok(());
        }
        if state.threads < shared.threads_max {
            let served = Arc::clone(shared);
            let spawned = std::thread::Builder::new()
                .name(shared.name.clone())
                .spawn(move || served.serve());
            match spawned {
                Ok(_detached) => state.threads += 1,
                // With no thread at all nobody would ever run it.
                Err(_) if state.threads == 0 => {
                    return Err(state.jobs.pop_back().unwrap_or_else(|| Box::new(|| {})));
                }
                Err(error) => tracing::warn!(%error, "could not start a worker thread"),
            }
        }
        Ok(())
    }

    /// CPU seconds that the threads of this lane have used so far; absent before the first job
    /// and where the system does not tell. Threads live as long as the lane, so it only grows.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        let tasks = self.0.0.state.lock().tasks.clone();
        if tasks.is_empty() {
            return None;
        }
        tasks.iter().map(|task| cpu_seconds_of(task)).sum()
    }
}

impl Shared {
    fn serve(&self) {
        // `/proc/thread-self` links to the entry of whoever reads it.
        if let Ok(task) = std::fs::read_link("/proc/thread-self") {
            let task = std::path::Path::new("/proc").join(task);
            self.state.lock().tasks.push(task);
        }
        loop {
            let mut state = self.state.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state.idle += 1;
                self.wake.wait(&mut state);
                state.idle -= 1;
            };
            drop(state);
            job();
        }
    }
}

/// On-CPU time from `schedstat`, whose first number is nanoseconds.
fn cpu_seconds_of(task: &std::path::Path) -> Option<f64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(std::time::Duration::from_nanos(nanoseconds).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn runs_as_many_jobs_at_once_as_it_has_threads() {
        let lane = Lane::new("test", 3);
        let barrier = Arc::new(Barrier::new(3));
        let (tx, rx) = sync_channel(3);
        for _ in 0..3 {
            let (barrier, tx) = (Arc::clone(&barrier), tx.clone());
            let job = Box::new(move || {
                barrier.wait();
                tx.send(()).unwrap();
            });
            assert!(lane.submit(job).is_ok());
        }
        (0..3).for_each(|_| rx.recv().unwrap());
        assert!(lane.0.0.state.lock().threads <= 3);
    }

    #[test]
    fn reuses_an_idle_thread() {
        let lane = Lane::new("test", 8);
        for _ in 0..50 {
            let (tx, rx) = sync_channel(1);
            assert!(lane.submit(Box::new(move || tx.send(()).unwrap())).is_ok());
            rx.recv().unwrap();
            // The thread counts as idle shortly after its job has reported.
            while lane.0.0.state.lock().idle == 0 {
                std::thread::yield_now();
            }
        }
        assert_eq!(lane.0.0.state.lock().threads, 1);
    }

    #[test]
    fn threads_end_with_the_last_clone_and_not_before_their_jobs() {
        let lane = Lane::new("test", 2);
        let shared = Arc::clone(&lane.0.0);
        let (tx, rx) = sync_channel::<()>(0);
        let (ended, ends) = sync_channel(2);
        for _ in 0..2 {
            let ended = ended.clone();
            let job = Box::new(move || ended.send(()).unwrap());
            assert!(lane.submit(job).is_ok());
        }
        let last = lane.clone();
        drop(lane);
        assert!(last.submit(Box::new(move || rx.recv().unwrap())).is_ok());
        drop(last);
        tx.send(()).unwrap();
        (0..2).for_each(|_| ends.recv().unwrap());
        // Each thread holds what it serves for as long as it runs.
        while Arc::strong_count(&shared) > 1 {
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn counts_the_cpu_of_its_threads() {
        let lane = Lane::new("test", 1);
        assert_eq!(lane.cpu_seconds(), None);
        let (tx, rx) = sync_channel(1);
        let spin = move || {
            let begin = std::time::Instant::now();
            while begin.elapsed().as_millis() < 30 {
                std::hint::spin_loop();
            }
            tx.send(()).unwrap();
        };
        assert!(lane.submit(Box::new(spin)).is_ok());
        rx.recv().unwrap();
        assert!(lane.cpu_seconds().is_some_and(|s| s > 0.0));
    }
}
