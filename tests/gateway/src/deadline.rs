//! Waiting with an end. Every wait of the harness goes through this file, so that no test can hang.

use std::time::Duration;

use tokio::time::Instant;

/// How long the harness waits for what should take milliseconds: long enough for a busy machine, short enough for a person.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often [`eventually`] looks again.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for `future`; panics with `what` when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("gave up after {limit:?} waiting for {what}"),
    }
}

/// Asks again and again until `probe` says yes: `true`, or `Some` value, which is then the answer.
///
/// For conditions that can only be asked, such as a state behind an HTTP API. Where there is an event (a log line, a recorded
/// request, a process that ends), wait for the event instead: it is quicker, and says more when it fails to come.
pub async fn eventually<P, F, S>(limit: Duration, what: &str, mut probe: P) -> S::Value
where
    P: FnMut() -> F,
    F: Future<Output = S>,
    S: Seen,
{
    let end = Instant::now() + limit;
    loop {
        // The probe itself may hang, so it runs under what is left of the time.
        let Ok(sight) = tokio::time::timeout_at(end, probe()).await else {
            panic!("gave up after {limit:?} waiting until {what} (the last look did not return)");
        };
        if let Some(value) = sight.seen() {
            return value;
        }
        assert!(Instant::now() < end, "gave up after {limit:?} waiting until {what}");
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// What a probe of [`eventually`] may answer.
pub trait Seen {
    /// What [`eventually`] returns once it is there.
    type Value;
    /// The value, if it is there.
    fn seen(self) -> Option<Self::Value>;
}

impl Seen for bool {
    type Value = ();
    fn seen(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Seen for Option<T> {
    type Value = T;
    fn seen(self) -> Option<T> {
        self
    }
}
