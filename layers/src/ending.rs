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

/// Whoever keeps the books of a call: told its outcome once, and dropped then.
pub trait Settle {
    /// The clock by which the call's age is taken.
    fn clock(&self) -> fn() -> Instant;
    /// A head came that promises a success. What follows is the body, which may take its time.
    fn answered(&mut self) {}
    /// The call is over.
    fn settle(&mut self, outcome: Outcome);
}

/// The end of one call, yet to come. See the [module](self).
///
/// It lies in the call's future and then in its body, so it is kept small, and settled where it lies.
pub struct Ending<C, T: Settle> {
    books: Option<T>,
    classify: C,
    judge: fn(&mut C, Late<'_>) -> Outcome,
    alive: Instant,
}

/// An end that is judged where the types of response and error are no longer known.
#[derive(Clone, Copy)]
enum Late<'e> {
    End(Option<&'e HeaderMap>),
    BodyError(&'e dyn Any),
    Dropped(Duration),
}

fn judge<C: Classify<Res, Err>, Res, Err>(classify: &mut C, late: Late<'_>) -> Outcome {
    match late {
        Late::End(trailers) => classify.end(trailers),
        Late::BodyError(error) => classify.body_error(error),
        Late::Dropped(age) => classify.dropped(age),
    }
}

impl<C, T: Settle> Ending<C, T> {
    /// The end of a call that begins at `now`.
    #[inline]
    pub fn new<Res, Err>(books: T, classify: C, now: Instant) -> Self
    where
        C: Classify<Res, Err>,
    {
        Self { books: Some(books), classify, judge: judge::<C, Res, Err>, alive: now }
    }

    /// The call got this response: settles by its head, or goes on with its body.
    #[inline]
    pub fn at_head<B, Err>(
        call: &mut Option<Self>,
        response: Response<B>,
    ) -> Response<Guarded<B, Self>>
    where
        B: Body,
        C: Classify<Response<B>, Err>,
    {
        let verdict = call.as_mut().and_then(|call| call.at_head_already::<B, Err>(&response));
        let ending = match verdict {
            None => call.take(),
            Some(verdict) => {
                Self::settle_where_it_lies(call, verdict);
                None
            }
        };
        response.map(|body| Guarded::going_on(body, ending))
    }

    /// The verdict that the head leaves no doubt about: it is no success, or there is nothing to come after it.
    #[inline]
    fn at_head_already<B, Err>(&mut self, response: &Response<B>) -> Option<Outcome>
    where
        B: Body,
        C: Classify<Response<B>, Err>,
    {
        match self.classify.response(response) {
            Outcome::Success if self.classify.waits_for_end(response) => {
                if response.body().is_end_stream() {
                    return Some(self.classify.end(None));
                }
                if let Some(books) = &mut self.books {
                    books.answered();
                }
                None
            }
            verdict => Some(verdict),
        }
    }

    /// The call got no response.
    pub fn at_error<Res, Err>(call: &mut Option<Self>, error: &Err)
    where
        C: Classify<Res, Err>,
    {
        if let Some(verdict) = call.as_ref().map(|call| call.classify.error(error)) {
            Self::settle_where_it_lies(call, verdict);
        }
    }

    /// It is too large to be moved about for this, and is dropped with the call.
    #[inline]
    fn settle_where_it_lies(call: &mut Option<Self>, verdict: Outcome) {
        if let Some(ending) = call {
            ending.settle(verdict);
        }
    }

    /// The books of the call, until it is settled.
    pub(crate) const fn books(&mut self) -> Option<&mut T> {
        self.books.as_mut()
    }

    #[inline]
    fn settle(&mut self, outcome: Outcome) {
        if let Some(books) = &mut self.books {
            books.settle(outcome);
            self.books = None;
        }
    }

    fn settle_late(&mut self, late: Late<'_>) {
        let verdict = (self.judge)(&mut self.classify, late);
        self.settle(verdict);
    }
}

impl<C, T: Settle> Guard for Ending<C, T> {
    fn progress(&mut self) {
        if let Some(books) = &self.books {
            self.alive = (books.clock())();
        }
    }

    fn complete(&mut self) {
        self.settle_late(Late::End(None));
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.settle_late(Late::End(Some(trailers)));
    }

    fn broken(&mut self, error: &dyn Any) {
        self.settle_late(Late::BodyError(error));
    }
}

impl<C, T: Settle> Drop for Ending<C, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(books) = &self.books {
            let age = (books.clock())().saturating_duration_since(self.alive);
            self.settle_late(Late::Dropped(age));
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
