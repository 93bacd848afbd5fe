//! What the programs share: the smallest thing that can be called a control plane, and a clock that can be put forward, so
//! that nobody waits half a minute for a breaker.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use portcullis::{
    switchboard::{
        Switchboard, UnixMillis,
        feature::{Feature, Source},
        flag::Flag,
        flip::{Flip, FlipError},
        kill::Terms,
    },
    view::{self, Publisher, Subscriber},
};

/// A desk at which features are turned off and on: the one writer of a switchboard. A real one also keeps each flip in a
/// store (`portcullis::store`) before it answers.
pub struct Desk {
    publisher: Publisher,
    board: Mutex<Switchboard>,
}

impl Desk {
    /// A desk for these features and flags, and what the layers read.
    pub fn new<const N: usize>(
        features: [&str; N],
        flags: impl IntoIterator<Item = Flag>,
    ) -> (Arc<Self>, Subscriber) {
        let board = Switchboard::new(features.map(Feature::named), flags);
        let (publisher, subscriber) = view::channel(board.clone());
        (Arc::new(Self { publisher, board: Mutex::new(board) }), subscriber)
    }

    /// Turns a feature off.
    ///
    /// # Errors
    /// If the switchboard refuses.
    pub fn kill(&self, feature: &str, actor: &str, reason: &str) -> Result<(), FlipError> {
        self.flip(feature, false, actor, reason)
    }

    /// Turns a feature on again.
    ///
    /// # Errors
    /// If the switchboard refuses.
    pub fn restore(&self, feature: &str, actor: &str, reason: &str) -> Result<(), FlipError> {
        self.flip(feature, true, actor, reason)
    }

    fn flip(
        &self,
        feature: &str,
        enabled: bool,
        actor: &str,
        reason: &str,
    ) -> Result<(), FlipError> {
        let flip = Flip {
            features: vec![feature.into()],
            enabled,
            reason: reason.to_owned(),
            actor: actor.to_owned(),
            source: Source::Api,
            expires_at: None,
            terms: Terms::default(),
        };
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        *board = board.apply(&flip, UnixMillis::now())?;
        self.publisher.publish(board.clone());
        println!("{} {feature}: {reason} ({actor})", if enabled { "restored" } else { "killed" });
        Ok(())
    }
}

static SKIPPED_MILLIS: AtomicU64 = AtomicU64::new(0);

/// The time, with all that was skipped.
pub fn clock() -> Instant {
    Instant::now() + Duration::from_millis(SKIPPED_MILLIS.load(SeqCst))
}

/// Puts the clock forward.
pub fn skip(time: Duration) {
    SKIPPED_MILLIS.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), SeqCst);
    println!("… {time:?} later");
}
