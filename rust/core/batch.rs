//! Threads: scoped, started when there is work, gone when it is done.
//!
//! No pool is kept, so nothing breaks after `fork`. Work is cut into tasks that own their
//! part of the output; which thread takes which task changes nothing in the answer. Between
//! tasks the calling thread looks whether it is to stop, where `watched` says how.

use std::cell::RefCell;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the calling thread works before it looks again whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// How many threads to use: `threads`, or all cores that this process may use.
pub fn threads(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)).max(1)
}

/// At most `threads`, each with `least` items or more: to start one costs some 30 microseconds.
pub fn enough(threads: usize, items: usize, least: usize) -> usize {
    threads.min(items / least).max(1)
}

/// What work that was told to stop unwinds with.
pub struct Interrupted;

struct Watch {
    is_over: Box<dyn Fn(f64) -> bool>,
    looked: Instant,
    /// The part of the whole work that the next `map` is, as fractions of it.
    part: (f64, f64),
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Runs `work`; where `is_over` says so on the way, it unwinds with `Interrupted` as payload.
///
/// `is_over` is asked on the calling thread, some 25 times a second, between tasks of `map`, and
/// told how much is done: a fraction from 0 to 1, as far as `part` says.
pub fn watched<R>(is_over: impl Fn(f64) -> bool + 'static, work: impl FnOnce() -> R) -> R {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            WATCH.set(None);
        }
    }
    let (is_over, looked, part) = (Box::new(is_over), Instant::now(), (0.0, 0.0));
    WATCH.set(Some(Watch { is_over, looked, part }));
    let _guard = Guard;
    work()
}

/// Says which part of the calling thread's work comes next, as fractions of the whole.
pub fn part(begin: f64, end: f64) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.part = (begin, end);
        }
    });
}

/// Whether the calling thread is to stop, asked again where it is time to; `done` is how much of
/// the part that it works on is done.
fn is_over(done: f64) -> bool {
    let Some(mut watch) = WATCH.take() else { return false };
    let is_due = watch.looked.elapsed() >= LOOK_EVERY;
    let is_over = is_due && {
        watch.looked = Instant::now();
        let (begin, end) = watch.part;
        // Whoever is asked may start work of its own on this thread.
        (watch.is_over)(begin + (end - begin) * done)
    };
    WATCH.set(Some(watch));
    is_over
}

/// Looks whether the calling thread is to stop, where it is time to; `done` is as in `is_over`.
///
/// For work that is cut into no tasks. Unwinds with `Interrupted` where it is to stop.
pub fn look(done: f64) {
    if is_over(done) {
        resume_unwind(Box::new(Interrupted));
    }
}

/// Runs `work` once on each task and returns the answers in the order of the tasks.
///
/// Tasks are taken one after another by whichever thread is free, the calling one among them.
/// A panic in `work` is raised again in the caller.
pub fn map<T: Send, R: Send>(
    threads: usize,
    tasks: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let workers = threads.min(tasks.len());
    let count = tasks.len() as f64;
    if workers <= 1 {
        let watched = |(number, task)| {
            look(number as f64 / count);
            work(task)
        };
        return tasks.into_iter().enumerate().map(watched).collect();
    }
    let mut answers: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
    let queue = Mutex::new(tasks.into_iter().zip(answers.iter_mut()).enumerate());
    let stopped = AtomicBool::new(false);
    let next = || {
        let is_stopped = stopped.load(Ordering::Relaxed);
        if is_stopped { None } else { queue.lock().unwrap_or_else(PoisonError::into_inner).next() }
    };
    thread::scope(|scope| {
        let help = || {
            while let Some((_, (task, answer))) = next() {
                *answer = Some(work(task));
            }
        };
        let workers: Vec<_> = (1..workers).map(|_| scope.spawn(help)).collect();
        while let Some((number, (task, answer))) = next() {
            *answer = Some(work(task));
            if is_over(number as f64 / count) {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    if stopped.into_inner() {
        resume_unwind(Box::new(Interrupted));
    }
    answers.into_iter().map(|answer| answer.expect("each task was taken once")).collect()
}

/// Cuts `0..length` into at most `parts` ranges of nearly equal length.
pub fn ranges(length: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let parts = parts.clamp(1, length.max(1));
    (0..parts).map(|i| length * i / parts..length * (i + 1) / parts).collect()
}

/// Cuts `0..length` into ranges of `width`, the last one shorter.
pub fn steps(length: usize, width: usize) -> Vec<std::ops::Range<usize>> {
    (0..length).step_by(width).map(|first| first..(first + width).min(length)).collect()
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
                let rows: Vec<usize> = steps(length, parts).into_iter().flatten().collect();
                assert_eq!(rows, (0..length).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "a worker broke")]
    fn a_panic_reaches_the_caller() {
        map(2, vec![1, 2, 3], |i| assert!(i != 2, "a worker broke"));
    }

    #[test]
    fn work_that_is_told_to_stop_unwinds_and_leaves_tasks_undone() {
        for threads in [1, 3] {
            let done = AtomicBool::new(false);
            let run = || {
                map(threads, (0..1000).collect(), |task: u32| {
                    thread::sleep(Duration::from_millis(1));
                    done.fetch_or(task == 999, Ordering::Relaxed);
                })
            };
            let run = std::panic::AssertUnwindSafe(|| watched(|_| true, run));
            let stopped = std::panic::catch_unwind(run).unwrap_err();
            assert!(stopped.is::<Interrupted>());
            assert!(!done.into_inner());
            thread::sleep(2 * LOOK_EVERY);
            assert_eq!(map(threads, vec![1, 2], |i| i), [1, 2]); // nobody is asked any more
        }
    }

    #[test]
    fn work_tells_how_much_of_it_is_done() {
        for threads in [1, 2] {
            let told = std::rc::Rc::new(RefCell::new(Vec::new()));
            let seen = std::rc::Rc::clone(&told);
            let run = || {
                part(0.5, 1.0);
                map(threads, (0..20).collect(), |_: u32| thread::sleep(Duration::from_millis(10)))
            };
            watched(
                move |done| {
                    seen.borrow_mut().push(done);
                    false
                },
                run,
            );
            let told = told.borrow();
            assert!(told.is_sorted() && told.iter().all(|done| (0.5..1.0).contains(done)));
            // Asked some 25 times a second: of 20 tasks of 10 ms each, or half as many, not after all.
            assert!((1..15).contains(&told.len()));
            assert!(told.last() > Some(&0.6));
        }
    }

    #[test]
    fn whoever_is_asked_may_have_work_of_its_own_done() {
        let slowly = |task: u32| {
            thread::sleep(Duration::from_millis(3));
            task
        };
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = std::rc::Rc::clone(&asked);
        let is_over = move |_: f64| {
            let own = || map(2, (0..40).collect(), slowly);
            assert_eq!(watched(|_| false, own), map(1, (0..40).collect(), |task| task));
            seen.set(seen.get() + 1);
            seen.get() == 2
        };
        let run = || map(1, (0..1000).collect(), slowly);
        let run = std::panic::AssertUnwindSafe(|| watched(is_over, run));
        // The work outside is still asked after, and still stops.
        assert!(std::panic::catch_unwind(run).is_err_and(|stopped| stopped.is::<Interrupted>()));
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn there_is_at_least_one_thread() {
        assert!(threads(None) >= 1);
        assert_eq!((threads(Some(0)), threads(Some(3))), (1, 3));
    }

    #[test]
    fn few_items_are_worth_no_thread() {
        assert_eq!((enough(8, 10, 100), enough(8, 350, 100), enough(2, 350, 100)), (1, 3, 2));
    }
}
