//! A worker's idle connections to one upstream.
//!
//! The newest is used first: the fewer connections carry the load, the more of the others may time out. The mutex is never
//! contended, because a pool belongs to one worker; it is there because the gateway's futures are `Send`.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::lane::Lane;

/// Idle connections.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    idle_timeout: Duration,
}

#[derive(Debug)]
struct Idle {
    lane: Box<Lane>,
    since: Instant,
}

impl Pool {
    /// An empty pool under these bounds.
    pub fn new(idle_max: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), idle_max, idle_timeout })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, and since when it has been idle.
    pub fn take(&self) -> Option<(Box<Lane>, Instant)> {
        self.idle().pop().map(|idle| (idle.lane, idle.since))
    }

    /// Keeps a connection for the next request, if it can carry one and there is room.
    pub fn put(&self, mut lane: Box<Lane>) {
        if !lane.is_reusable() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < self.idle_max {
            idle.push(Idle { lane, since: Instant::now() });
        }
    }

    /// Closes what has idled too long or was closed from the other side.
    pub fn sweep(&self, now: Instant) {
        self.idle().retain_mut(|idle| {
            now.duration_since(idle.since) < self.idle_timeout && idle.lane.is_reusable()
        });
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.idle().clear();
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sweeps pools until all of them are gone.
pub async fn sweep(pools: Vec<Weak<Pool>>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let live = pools.iter().filter_map(Weak::upgrade).map(|pool| pool.sweep(now)).count();
        if live == 0 {
            return;
        }
    }
}
