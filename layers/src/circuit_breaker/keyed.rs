//! A breaker for each key, where keys come with requests: a host, a tenant, a shard.
//!
//! Keys are somebody else's choice, so the map is bounded. When it is full, a key that nobody has used lately makes room: the
//! hand of a clock goes round, spares once who was used since it last came by, and spares for one round a breaker that
//! isn't closed, because forgetting it would send all traffic to an upstream that is known to be bad.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::breaker::Breaker;

/// Breakers by key. Cloning gives another handle of the same map.
pub struct Keyed<K>(Arc<Shared<K>>);

struct Shared<K> {
    keys_max: usize,
    make: Box<dyn Fn(&K) -> Breaker + Send + Sync>,
    dial: Mutex<Dial<K>>,
}

struct Dial<K> {
    places: HashMap<K, usize>,
    slots: Vec<Slot<K>>,
    hand: usize,
}

struct Slot<K> {
    key: K,
    breaker: Breaker,
    used: bool,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    /// At most so many keys at once; `make` makes the breaker of a new one. A few thousand keys are a few megabytes.
    pub fn new(
        keys_max: NonZeroUsize,
        make: impl Fn(&K) -> Breaker + Send + Sync + 'static,
    ) -> Self {
        let dial = Dial { places: HashMap::new(), slots: Vec::new(), hand: 0 };
        Self(Arc::new(Shared {
            keys_max: keys_max.get(),
            make: Box::new(make),
            dial: Mutex::new(dial),
        }))
    }

    /// The breaker of this key.
    pub fn breaker(&self, key: &K) -> Breaker {
        let mut dial = self.lock();
        if let Some(place) = dial.places.get(key).copied() {
            let slot = &mut dial.slots[place];
            slot.used = true;
            return slot.breaker.clone();
        }
        // Coming once is no use yet: a flood of keys that come once pushes out itself first.
        let slot = Slot { key: key.clone(), breaker: (self.0.make)(key), used: false };
        let breaker = slot.breaker.clone();
        dial.put(slot, self.0.keys_max);
        breaker
    }

    /// All that are kept, in no order.
    pub fn breakers(&self) -> Vec<(K, Breaker)> {
        self.lock().slots.iter().map(|slot| (slot.key.clone(), slot.breaker.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Dial<K>> {
        self.0.dial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Dial<K> {
    fn put(&mut self, slot: Slot<K>, keys_max: usize) {
        let key = slot.key.clone();
        let place = if self.slots.len() < keys_max {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let place = self.place_to_free();
            let gone = std::mem::replace(&mut self.slots[place], slot);
            self.places.remove(&gone.key);
            place
        };
        self.places.insert(key, place);
    }

    /// Ends after two rounds: the first one clears every mark of use, and the second spares nobody for being open.
    fn place_to_free(&mut self) -> usize {
        let size = self.slots.len();
        for step in 0.. {
            let place = self.hand;
            self.hand = (self.hand + 1) % size;
            let slot = &mut self.slots[place];
            let was_used = std::mem::take(&mut slot.used);
            let is_spared = step <= size && !slot.breaker.stands();
            if !was_used && !is_spared {
                return place;
            }
        }
        unreachable!("the third round finds neither a mark nor a pardon")
    }
}

impl<K> Clone for Keyed<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("keys_max", &self.0.keys_max).finish_non_exhaustive()
    }
}
