//! Independent jobs on several threads, with results in the order of the jobs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Does `job` for every item on up to `threads` threads. Each result is also shown to `done` as soon
/// as it is there, on the calling thread.
pub fn each<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    job: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(&T, &R),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            let (sender, next, job) = (sender.clone(), &next, &job);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    if sender.send((at, job(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (at, result) in receiver {
            done(&items[at], &result);
            results[at] = Some(result);
        }
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..50).collect();
        let mut seen = 0;
        for threads in [0, 1, 3, 100] {
            let doubled = each(threads, &items, |n| n * 2, |_, _| seen += 1);
            assert!(
                doubled
                    .iter()
                    .zip(&items)
                    .all(|(double, n)| *double == n * 2)
            );
        }
        assert_eq!(seen, 200);
        assert!(each(2, &[] as &[u32], |n| *n, |_, _| ()).is_empty());
    }
}
