//! The buckets of a rate limit, with a bound on their number.
//!
//! A key costs memory from its first call on. Once in [`SWEEP_EVERY`] calls the buckets are counted; when there are more
//! than [`KEYS_MAX`], those that have filled up again are dropped, for they say the same as no bucket. Should there still be
//! more, somebody makes keys up faster than they are used up, and all buckets are dropped: each key then has its burst once
//! more, which is little against running out of memory.

use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::DashMapStateStore,
};

use crate::rejected::Rejected;

/// So many keys are kept: about 10 MB of addresses. More can be there for as long as it takes to notice.
pub const KEYS_MAX: usize = 100_000;

/// How many calls go by between two looks at the number of keys.
const SWEEP_EVERY: u32 = 1024;

/// A limit of the rate of calls, per key. Cloning gives another handle of the same limit.
pub struct Limiter<K: Hash + Eq + Clone>(Arc<Shared<K>>);

struct Shared<K: Hash + Eq + Clone> {
    name: Arc<str>,
    quota: Quota,
    clock: Now,
    buckets: ArcSwap<Buckets<K>>,
    calls: AtomicU32,
}

type Buckets<K> = RateLimiter<K, DashMapStateStore<K>, Now, NoOpMiddleware<Instant>>;

#[derive(Debug, Clone, Copy)]
struct Now(fn() -> Instant);

impl Clock for Now {
    type Instant = Instant;

    fn now(&self) -> Instant {
        (self.0)()
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// `requests` per `per` in the long run, and up to `burst` at once.
    pub fn new(
        name: impl Into<Arc<str>>,
        requests: NonZeroU32,
        per: Duration,
        burst: NonZeroU32,
    ) -> Self {
        // Faster than one a nanosecond is as good as no limit.
        let interval = (per / requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).expect("not zero").allow_burst(burst);
        let clock = Now(Instant::now);
        Self(Arc::new(Shared {
            name: name.into(),
            quota,
            clock,
            buckets: ArcSwap::from_pointee(buckets(quota, clock)),
            calls: AtomicU32::new(0),
        }))
    }

    /// Takes the time from another clock, such as the paused one of a test.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Instant) -> Self {
        let shared = Arc::get_mut(&mut self.0);
        let shared = shared.expect("a limiter is set up before its handle is cloned");
        shared.clock = Now(clock);
        shared.buckets = ArcSwap::from_pointee(buckets(shared.quota, shared.clock));
        self
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.0.buckets.load().len()
    }

    /// Takes one call from the key's bucket.
    ///
    /// # Errors
    /// [`Rejected::RateLimited`] when it is empty.
    pub fn check(&self, key: &K) -> Result<(), Rejected> {
        self.sweep_now_and_then();
        let buckets = self.0.buckets.load();
        buckets.check_key(key).map_err(|until| Rejected::RateLimited {
            limit: self.0.name.clone(),
            retry_after: until.earliest_possible().saturating_duration_since(self.0.clock.now()),
        })
    }

    fn sweep_now_and_then(&self) {
        if self.0.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.sweep();
        }
    }

    fn sweep(&self) {
        let buckets = self.0.buckets.load();
        if buckets.len() <= KEYS_MAX {
            return;
        }
        buckets.retain_recent();
        if buckets.len() > KEYS_MAX {
            self.0.buckets.store(Arc::new(self::buckets(self.0.quota, self.0.clock)));
        }
    }
}

fn buckets<K: Hash + Eq + Clone>(quota: Quota, clock: Now) -> Buckets<K> {
    RateLimiter::new(quota, DashMapStateStore::default(), clock)
}

impl<K: Hash + Eq + Clone> Clone for Limiter<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("name", &self.0.name).field("keys", &self.keys()).finish()
    }
}
