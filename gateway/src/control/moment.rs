//! Moments as people and other programs read them: RFC 3339 in UTC.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use portcullis::switchboard::UnixMillis;

/// `2026-11-20T15:38:56.123Z`. A moment that no calendar has is left out.
pub(crate) fn rfc3339(at: UnixMillis) -> Option<String> {
    let millis = i64::try_from(at.0).ok()?;
    Some(Timestamp::from_millisecond(millis).ok()?.to_string())
}

/// The same of the system's clock, to the millisecond.
pub(crate) fn rfc3339_of(at: SystemTime) -> Option<String> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    rfc3339(UnixMillis(u64::try_from(since.as_millis()).ok()?))
}

/// The moment `wait` from now.
pub(crate) fn rfc3339_in(wait: Duration) -> Option<String> {
    rfc3339_of(SystemTime::now().checked_add(wait)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(rfc3339(UnixMillis(1_000)).as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!(rfc3339(UnixMillis(u64::MAX)), None);
    }
}
