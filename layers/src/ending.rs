//! One verdict per call, wherever the call ends.
//!
//! A call can end in its error, at a response head that says enough, at the end of its body, with a body that broke, or
//! with a caller who no longer waits. [`Ending`] goes along with the call through all of these places, asks the classifier
//! at the first of them that decides, and tells whoever keeps the books once.
//!
//! When does it settle? A head that is already a failure, an overload or ignored can't get any better, so it settles at
//! once: the breaker should know now, and the caller may well not read the body of an error. Only a success waits for the
//! end of the body, because a body that breaks makes a failure of it, and so may its trailers (gRPC tells its status there).
//!
//! The age of a dropped call is taken from its last sign of life: its start, or the last frame of its body. A download of
//! an hour that the client ends is no hung call.

use std::{
    any::Any,
    fmt,
    time::{Duration, Instant},
};

use http::{HeaderMap, Response};
use http_body::Body;

use crate::{
    guarded::{Guard, Guarded},
    outcome::{Classify, Outcome},
};

/// Whoever keeps the books of a call: told its outcome once.
pub trait Settle {
    /// A head came that promises a success. What follows is the body, which may take its time.
    fn answered(&mut self) {}
    /// The call is over.
    fn settle(self, outcome: Outcome);
}

/// The end of one call, yet to come. See the [module](self).
pub struct Ending<C, T: Settle> {
    books: Option<T>,
    classify: C,
    late: Late<C>,
    clock: fn() -> Instant,
    alive: Instant,
}

/// The verdicts that are given where the types of response and error are no longer known.
struct Late<C> {
    end: fn(&C, Option<&HeaderMap>) -> Outcome,
    body_error: fn(&C, &dyn Any) -> Outcome,
    dropped: fn(&C, Duration) -> Outcome,
}

impl<C, T: Settle> Ending<C, T> {
    /// The end of a call that begins at `now`.
    pub fn new<Res, Err>(books: T, classify: C, clock: fn() -> Instant, now: Instant) -> Self
    where
        C: Classify<Res, Err>,
    {
        let late = Late { end: C::end, body_error: C::body_error, dropped: C::dropped };
        Self { books: Some(books), classify, late, clock, alive: now }
    }

    /// The call got this response: settles by its head, or goes on with its body.
    pub fn at_head<B, Err>(mut self, response: Response<B>) -> Response<Guarded<B, Self>>
    where
        B: Body,
        C: Classify<Response<B>, Err>,
    {
        let guard = match self.classify.response(&response) {
            Outcome::Success if self.classify.waits_for_end(&response) => {
                if let Some(books) = &mut self.books {
                    books.answered();
                }
                Some(self)
            }
            verdict => {
                self.settle(verdict);
                None
            }
        };
        response.map(|body| Guarded::new(body, guard))
    }

    /// The call got no response.
    pub fn at_error<Res, Err>(self, error: &Err)
    where
        C: Classify<Res, Err>,
    {
        let verdict = self.classify.error(error);
        self.settle(verdict);
    }

    /// The books of the call, until it is settled.
    pub(crate) const fn books(&mut self) -> Option<&mut T> {
        self.books.as_mut()
    }

    fn settle(mut self, outcome: Outcome) {
        if let Some(books) = self.books.take() {
            books.settle(outcome);
        }
    }
}

impl<C, T: Settle> Guard for Ending<C, T> {
    fn progress(&mut self) {
        self.alive = (self.clock)();
    }

    fn complete(self) {
        let verdict = (self.late.end)(&self.classify, None);
        self.settle(verdict);
    }

    fn trailers(self, trailers: &HeaderMap) {
        let verdict = (self.late.end)(&self.classify, Some(trailers));
        self.settle(verdict);
    }

    fn broken(self, error: &dyn Any) {
        let verdict = (self.late.body_error)(&self.classify, error);
        self.settle(verdict);
    }
}

impl<C, T: Settle> Drop for Ending<C, T> {
    fn drop(&mut self) {
        if let Some(books) = self.books.take() {
            let age = (self.clock)().saturating_duration_since(self.alive);
            books.settle((self.late.dropped)(&self.classify, age));
        }
    }
}

impl<C, T: Settle> fmt::Debug for Ending<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending")
            .field("settled", &self.books.is_none())
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}
