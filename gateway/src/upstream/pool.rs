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
    shelf: Mutex<Shelf>,
    idle_max: usize,
    idle_timeout: Duration,
}

#[derive(Debug)]
struct Shelf {
    lanes: Vec<Idle>,
    /// When it was swept last. Connections are dated by it, to the second, instead of by a clock read each.
    swept: Instant,
}

#[derive(Debug)]
struct Idle {
    lane: Box<Lane>,
    since: Instant,
}

impl Pool {
    /// An empty pool under these bounds.
    pub fn new(idle_max: usize, idle_timeout: Duration) -> Arc<Self> {
        let shelf = Mutex::new(Shelf { lanes: Vec::new(), swept: Instant::now() });
        Arc::new(Self { shelf, idle_max, idle_timeout })
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, of those that are still open.
    pub fn take(&self) -> Option<Box<Lane>> {
        let lanes = &mut self.shelf().lanes;
        std::iter::from_fn(|| lanes.pop()).map(|idle| idle.lane).find(|lane| lane.is_open())
    }

    /// Keeps a connection for the next request, if it can carry one and there is room.
    pub fn put(&self, mut lane: Box<Lane>) {
        let mut shelf = self.shelf();
        if lane.rest() && shelf.lanes.len() < self.idle_max {
            let since = shelf.swept;
            shelf.lanes.push(Idle { lane, since });
        }
    }

    /// Closes what has idled too long or was closed from the other side.
    pub fn sweep(&self, now: Instant) {
        let mut shelf = self.shelf();
        shelf.swept = now;
        shelf.lanes.retain(|idle| {
            now.duration_since(idle.since) < self.idle_timeout && idle.lane.is_open()
        });
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
