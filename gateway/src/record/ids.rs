//! Ids of requests: 128 bits as hex, random per worker in one half and counted in the other. They are names, not secrets.
//!
//! They are written many at a time into one piece of memory, of which each request gets a slice: an id of its own would cost
//! a request two allocations.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;

/// Hex digits of an id.
const DIGITS: usize = 32;
/// Ids that are written at a time. A request that lives long keeps all of their memory, two kilobytes.
const BATCH: usize = 64;

/// One worker's ids.
#[derive(Debug)]
pub(super) struct Ids {
    worker: u64,
    next: u64,
    written: Bytes,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { worker: fastrand::u64(..), next: fastrand::u64(..) >> 16, written: Bytes::new() }
    }

    /// An id that nobody else has.
    pub(super) fn next(&mut self) -> HeaderValue {
        if self.written.is_empty() {
            self.written = self.batch();
        }
        HeaderValue::from_maybe_shared(self.written.split_to(DIGITS)).expect("hex digits")
    }

    fn batch(&mut self) -> Bytes {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut batch = BytesMut::with_capacity(BATCH * DIGITS);
        for _ in 0..BATCH {
            let id = u128::from(self.worker) << 64 | u128::from(self.next);
            self.next = self.next.wrapping_add(1);
            let digit = |digit: usize| HEX[(id >> (124 - 4 * digit) & 15) as usize];
            batch.put_slice(&std::array::from_fn::<u8, DIGITS, _>(digit));
        }
        batch.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let mut ids = Ids::new();
        let ids: Vec<_> = (0..3 * BATCH).map(|_| ids.next()).collect();
        assert!(ids.iter().all(|id| id.len() == DIGITS));
        assert!(ids.iter().all(|id| id.as_bytes().iter().all(u8::is_ascii_hexdigit)));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }
}
