//! Threads: scoped, started when there is work, gone when it is done.
//!
//! No pool is kept, so nothing breaks after `fork`. Work is cut into tasks that own their
//! part of the output; which thread takes which task changes nothing in the answer.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many threads to use: `threads`, or all cores that this process may use.
pub fn threads(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)).max(1)
}

/// Runs `work` once on each task and returns the answers in the order of the tasks.
///
/// Tasks are taken one after another by whichever thread is free. A panic in `work` is
/// raised again in the caller.
pub fn map<T: Send, R: Send>(
    threads: usize,
    tasks: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let workers = threads.min(tasks.len());
    if workers <= 1 {
        return tasks.into_iter().map(work).collect();
    }
    let mut answers: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
    let queue = Mutex::new(tasks.into_iter().zip(answers.iter_mut()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take = || {
        while let Some((task, answer)) = next() {
            *answer = Some(work(task));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    answers.into_iter().map(|answer| answer.expect("each task was taken once")).collect()
}

/// Cuts `0..length` into at most `parts` ranges of nearly equal length.
pub fn ranges(length: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let parts = parts.clamp(1, length.max(1));
    (0..parts).map(|i| length * i / parts..length * (i + 1) / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_tasks() {
        for threads in [1, 2, 7, 64] {
            let answers = map(threads, (0..100).collect(), |i: u32| i * i);
            assert_eq!(answers, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        for length in [0, 1, 2, 7, 100] {
            for parts in [1, 2, 3, 64] {
                let rows: Vec<usize> = ranges(length, parts).into_iter().flatten().collect();
                assert_eq!(rows, (0..length).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "a worker broke")]
    fn a_panic_reaches_the_caller() {
        map(2, vec![1, 2, 3], |i| assert!(i != 2, "a worker broke"));
    }
}
