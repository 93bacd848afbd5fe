//! Finishing what runs and accepting nothing new.
//!
//! One [`Signal`] is raised once, by whoever stops the gateway; every connection holds a [`Drain`]. Polling it costs one
//! relaxed load after the first time: the task's waker was registered then, and stays valid for the life of the task.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Context,
};

use tokio::sync::watch;

/// The end that is raised.
#[derive(Debug)]
pub struct Signal {
    raised: Arc<AtomicBool>,
    wake: watch::Sender<()>,
}

/// The end that a connection holds.
pub struct Drain {
    raised: Arc<AtomicBool>,
    wake: Pin<Box<dyn Future<Output = ()> + Send>>,
    registered: bool,
}

impl Default for Signal {
    fn default() -> Self {
        Self { raised: Arc::default(), wake: watch::Sender::new(()) }
    }
}

impl Signal {
    /// Tells every connection, present and future.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.wake.send_replace(());
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// One connection's end.
    pub fn drain(&self) -> Drain {
        let mut receiver = self.wake.subscribe();
        let wake = Box::pin(async move {
            // An error means that the signal is gone, and with it the gateway.
            let _ = receiver.changed().await;
        });
        Drain { raised: self.raised.clone(), wake, registered: false }
    }
}

impl Drain {
    /// Whether it is time to finish, for whoever will ask again anyway.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Whether it is time to finish. Registers the task to be woken for it, the first time.
    pub fn poll_raised(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.registered {
            self.registered = true;
            // Kept for its registration; never polled again.
            let _ = self.wake.as_mut().poll(cx);
        }
        self.raised.load(Ordering::Acquire)
    }
}
