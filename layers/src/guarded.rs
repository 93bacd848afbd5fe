//! A response body that tells its guard how it ended.
//!
//! A call is over at the end of its *body*, not at its head: until then a concurrency slot is in use and a breaker doesn't
//! know the outcome. [`Guarded`] carries a [`Guard`] along and tells it once: the body was complete, or it broke. A guard
//! that is dropped untold was given up by the caller, and its own `Drop` says what that means.
//!
//! The trap this file exists for: hyper never polls a body whose `is_end_stream()` is true, nor past the frame that makes
//! it true. So the end is told the moment `is_end_stream` turns true, and never only at `None`.

use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// What is told of a body's end, once, and dropped then. Dropped untold: the caller gave up.
pub trait Guard {
    /// A frame came, and more are to come: the body is alive.
    fn progress(&mut self) {}
    /// The body was complete.
    fn complete(&mut self);
    /// The body was complete, and these trailers ended it.
    fn trailers(&mut self, trailers: &HeaderMap) {
        let _ = trailers;
        self.complete();
    }
    /// The body broke with this error.
    fn broken(&mut self, error: &dyn Any);
}

pin_project! {
    /// A body with a guard. See the [module](self).
    #[derive(Debug)]
    pub struct Guarded<B, G> {
        #[pin]
        body: B,
        guard: Option<G>,
    }
}

impl<B: Body, G: Guard> Guarded<B, G> {
    /// A body that tells `guard` how it ends. An empty body tells it at once.
    pub fn new(body: B, guard: Option<G>) -> Self {
        let mut guarded = Self { body, guard };
        if guarded.body.is_end_stream() {
            tell(&mut guarded.guard, Guard::complete);
        }
        guarded
    }
}

impl<B, G> Guarded<B, G> {
    /// A body that isn't at its end yet, as its guard has seen.
    #[inline]
    pub(crate) const fn going_on(body: B, guard: Option<G>) -> Self {
        Self { body, guard }
    }

    /// A body that has nothing to tell: an answer of our own.
    pub const fn unguarded(body: B) -> Self {
        Self { body, guard: None }
    }
}

impl<B: From<Bytes>, G> From<Bytes> for Guarded<B, G> {
    fn from(bytes: Bytes) -> Self {
        Self::unguarded(B::from(bytes))
    }
}

impl<B: Default, G> Default for Guarded<B, G> {
    fn default() -> Self {
        Self::unguarded(B::default())
    }
}

/// Tells a guard where it is, since some are too large to be moved about, and drops it.
fn tell<G: Guard>(guard: &mut Option<G>, how: impl FnOnce(&mut G)) {
    if let Some(told) = guard {
        how(told);
        *guard = None;
    }
}

impl<B, G> Body for Guarded<B, G>
where
    B: Body,
    B::Error: 'static,
    G: Guard,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            // Nothing comes after trailers, so that nobody may poll again.
            Some(Ok(frame)) if frame.is_trailers() => {
                if let Some(trailers) = frame.trailers_ref() {
                    tell(this.guard, |guard| guard.trailers(trailers));
                }
            }
            Some(Ok(_)) if !this.body.is_end_stream() => {
                if let Some(guard) = this.guard {
                    guard.progress();
                }
            }
            Some(Ok(_)) | None => tell(this.guard, Guard::complete),
            Some(Err(error)) => tell(this.guard, |guard| guard.broken(error)),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    use super::*;

    #[derive(Clone, Default)]
    struct Told(Rc<RefCell<Vec<&'static str>>>);

    impl Guard for Told {
        fn complete(&mut self) {
            self.0.borrow_mut().push("complete");
        }
        fn broken(&mut self, _: &dyn Any) {
            self.0.borrow_mut().push("broken");
        }
    }

    fn told(told: &Told) -> Vec<&'static str> {
        told.0.borrow().clone()
    }

    #[test]
    fn an_empty_body_is_complete_before_anyone_polls_it() {
        let guard = Told::default();
        let _body = Guarded::new(Empty::<Bytes>::new(), Some(guard.clone()));
        assert_eq!(told(&guard), ["complete"]);
    }

    #[tokio::test]
    async fn the_last_frame_completes_a_body_that_is_not_polled_past_it() {
        let guard = Told::default();
        let mut body = Guarded::new(Full::new(Bytes::from("x")), Some(guard.clone()));
        assert!(told(&guard).is_empty());
        body.frame().await.unwrap().unwrap();
        assert_eq!(told(&guard), ["complete"]);
    }

    #[tokio::test]
    async fn a_broken_body_is_told_once() {
        let guard = Told::default();
        let frames = [Ok(Frame::data(Bytes::from("x"))), Err("cut")];
        let stream = Frames(frames.into_iter().collect());
        let mut body = Guarded::new(StreamBody::new(stream), Some(guard.clone()));
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!(told(&guard), ["broken"]);
    }

    struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, &'static str>>);

    impl futures_core::Stream for Frames {
        type Item = Result<Frame<Bytes>, &'static str>;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.pop_front())
        }
    }
}
