//! The background work: a bounded queue of tests, a few workers that measure, and the tests of an earlier life.
//!
//! A worker keeps a reading until the database takes it; while that fails, the queue fills up and new tests are
//! refused, which is the honest answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{Mutex, Notify, mpsc};

use super::kind::Reading;
use super::tests_table::{Job, TestsTable};
use crate::startup::{Background, Ending};

/// Enough that a thousand tests at once are accepted, few enough that the last of them doesn't wait for long.
const WAITING_MAX: usize = 2048;
const WORKERS: usize = 16;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a measurement takes and how many may wait.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) measuring_max: Duration,
    pub(super) waiting_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { measuring_max: Duration::from_millis(100), waiting_max: WAITING_MAX }
    }
}

pub(super) struct Measuring {
    queue: mpsc::Sender<Job>,
    waiting_max: usize,
}

impl Measuring {
    /// Starts the workers; `stored` is notified of each stored result.
    pub(super) fn start(
        tests: TestsTable,
        stored: Arc<Notify>,
        pace: Pace,
        background: &mut Background,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(pace.waiting_max);
        let worker = Worker {
            tests: tests.clone(),
            jobs: Arc::new(Mutex::new(jobs)),
            stored,
            measuring_max: pace.measuring_max,
        };
        for _ in 0..WORKERS {
            background.spawn(|ending| worker.clone().run(ending));
        }
        let earlier = queue.clone();
        background.spawn(|ending| take_up_earlier(tests, earlier, pace.waiting_max, ending));
        Measuring { queue, waiting_max: pace.waiting_max }
    }

    /// A place in the queue, if there is one.
    pub(super) fn place(&self) -> Option<OwnedPermit<Job>> {
        self.queue.clone().try_reserve_owned().ok()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting_max - self.queue.capacity()
    }
}

#[derive(Clone)]
struct Worker {
    tests: TestsTable,
    // Whoever holds the lock takes the next job and lets go; nothing else happens under it.
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    stored: Arc<Notify>,
    measuring_max: Duration,
}

impl Worker {
    async fn run(self, mut ending: Ending) {
        loop {
            let job = tokio::select! {
                job = async { self.jobs.lock().await.recv().await } => job,
                () = ending.begun() => return,
            };
            let Some(job) = job else { return };
            self.measure(job, &mut ending).await;
        }
    }

    async fn measure(&self, job: Job, ending: &mut Ending) {
        tokio::time::sleep(self.measuring_max.mul_f64(fastrand::f64())).await;
        let position = fastrand::f64();
        let mut pause = PAUSE_FIRST;
        while self.store(job, job.kind.read(position)).await.is_none() {
            if ending.has_begun() {
                // The row says `processing` still, so the next start measures again.
                return;
            }
            ending.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn store(&self, job: Job, reading: Reading) -> Option<()> {
        self.tests.complete(job, reading).await.ok()?;
        self.stored.notify_one();
        Some(())
    }
}

/// Queues what an earlier process accepted and never measured, as soon as the database can tell.
async fn take_up_earlier(
    tests: TestsTable,
    queue: mpsc::Sender<Job>,
    count_max: usize,
    mut ending: Ending,
) {
    let jobs = loop {
        match tests.unmeasured(count_max).await {
            Ok(jobs) => break jobs,
            Err(_) if ending.has_begun() => return,
            Err(_) => ending.sleep(PAUSE_MAX).await,
        }
    };
    for job in jobs {
        // A test that came in meanwhile is measured twice at most; its first result stands.
        tokio::select! {
            sent = queue.send(job) => if sent.is_err() { return },
            () = ending.begun() => return,
        }
    }
}
