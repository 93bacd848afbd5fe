//! Back-pressure: waiting in `poll_ready` until the breaker admits.
//!
//! Who waits is woken by what happens to the breaker, and by a timer where time alone ends the wait. What it gets is a
//! permit, kept until the call that follows: so several that wait can't all be ready for the one place of a probe.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{breaker::Breaker, permit::Permit};

/// What tokio's timer can tell apart.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Patience {
    breaker: Breaker,
    place: u64,
    held: Option<Permit>,
    /// Boxed, because a service isn't pinned; made only while it waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(breaker: Breaker) -> Self {
        let place = breaker.waiting_place();
        Self { breaker, place, held: None, timer: None }
    }

    /// Ready once there is a permit. One of an ordinary call is not kept: the call asks again, because much may happen
    /// between the two.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.is_some() || self.breaker.stands() {
            return Poll::Ready(());
        }
        loop {
            // First in line, then ask, so that nothing that happens in between is missed.
            let due = self.breaker.wait(self.place, cx.waker());
            if let Some(permit) = self.breaker.admit_quietly() {
                self.breaker.leave(self.place);
                self.timer = None;
                self.held = permit.is_probe().then_some(permit);
                return Poll::Ready(());
            }
            let Some(due) = due else { return Poll::Pending };
            let mut timer = Box::pin(sleep(due.max(TICK)));
            if timer.as_mut().poll(cx).is_pending() {
                self.timer = Some(timer);
                return Poll::Pending;
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<Permit> {
        self.held.take()
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.breaker.leave(self.place);
    }
}
