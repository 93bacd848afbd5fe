//! A health check at an interval: it finds an outage before the first user does, and the end of one without risking a user.
//!
//! It goes through the breaker like any other call. While the breaker is open a check is refused; after the wait it is the
//! probe, so that a breaker without traffic closes by itself.

use std::{convert::Infallible, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::breaker::Breaker;

/// Makes this check at once and then at each interval, one at a time, for as long as the future is polled. Spawn it, and end it
/// by dropping it.
pub async fn check_every<E, F, Fut>(breaker: Breaker, every: Duration, mut check: F) -> Infallible
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What it says is in the breaker now; the breaker's listeners hear of it.
        drop(breaker.call(&mut check).await);
    }
}
