//! The one timer of a connection.
//!
//! Setting a timer for each request costs more than a request has to spare. So a deadline is only noted, and the timer moves
//! when it has to come earlier, or when it fires and the deadline turns out to be later.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    task::unconstrained,
    time::{Instant, Sleep},
};

/// A deadline that is cheap to move.
#[derive(Debug)]
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    due: Option<Instant>,
    /// Whether the task will be woken when it fires.
    armed: bool,
}

impl Timer {
    pub(super) fn new(due: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(due)), due: Some(due), armed: false }
    }

    /// Something is due at a time.
    pub(super) fn set(&mut self, due: Instant) {
        self.due = Some(due);
        if due < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(due);
            self.armed = false;
        }
    }

    /// Nothing is due any more.
    pub(super) const fn clear(&mut self) {
        self.due = None;
    }

    /// Whether something is due.
    pub(super) const fn is_set(&self) -> bool {
        self.due.is_some()
    }

    /// Ready when what is due has come. All of a connection runs in one task, so one that is armed needs no look.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        if self.armed && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            self.armed = true;
            // Not under the task's budget: a connection that keeps its task busy has deadlines too.
            ready!(Pin::new(&mut unconstrained(self.sleep.as_mut())).poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn fires_after(timer: &mut Timer) -> Duration {
        let start = Instant::now();
        poll_fn(|cx| timer.poll(cx)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let mut timer = Timer::new(Instant::now() + SECOND * 10);
        timer.set(Instant::now() + SECOND * 20);
        assert_eq!(fires_after(&mut timer).await.as_secs(), 20);
        timer.set(Instant::now() + SECOND * 60);
        assert!(futures_pending(&mut timer).await);
        timer.set(Instant::now() + SECOND * 5);
        assert_eq!(fires_after(&mut timer).await.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_cleared_does_not_come_and_what_is_set_later_does() {
        let mut timer = Timer::new(Instant::now() + SECOND);
        assert!(futures_pending(&mut timer).await);
        timer.clear();
        tokio::time::sleep(SECOND * 5).await;
        assert!(futures_pending(&mut timer).await);
        timer.set(Instant::now() + SECOND * 2);
        assert_eq!(fires_after(&mut timer).await.as_secs(), 2);
    }

    async fn futures_pending(timer: &mut Timer) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await
    }
}
