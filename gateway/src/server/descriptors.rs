//! How many files and sockets the machine lets this process have open, and how many connections of clients that is.
//!
//! A connection that can't be accepted is one client's trouble. A descriptor that is missing for a connection to an upstream
//! looks as if the upstream were away, to its breaker too; so clients never get the last of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{DESCRIPTORS_KEPT_MIN, DESCRIPTORS_KEPT_SHARE};

/// Raises the soft limit to the hard one, as servers do: the soft one is low for programs that use `select`. Answers what the
/// limit is then; nothing where there is none.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// The connections that clients may have at once under a limit, when so many are wanted.
pub fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    let kept = (limit / DESCRIPTORS_KEPT_SHARE).max(DESCRIPTORS_KEPT_MIN);
    wanted.min(usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_get_the_last_descriptors() {
        assert_eq!(connections(10_000, Some(1024)), 1024 - 128);
        assert_eq!(connections(10_000, Some(256)), 256 - 64);
        assert_eq!(connections(10_000, Some(20)), 1);
    }

    #[test]
    fn where_there_is_room_the_wish_counts() {
        assert_eq!(connections(10_000, Some(65_536)), 10_000);
        assert_eq!(connections(10_000, None), 10_000);
    }
}
