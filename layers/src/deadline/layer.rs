//! Puts a deadline on the calls of a service.

use std::time::Duration;

use tower_layer::Layer;

use super::service::Deadline;
use crate::refuse::AsResponse;

/// A [`Layer`] that cuts off calls without an answer. See the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer<R = AsResponse> {
    after: Option<Duration>,
    refuse: R,
}

impl DeadlineLayer {
    /// Calls have this long.
    pub const fn new(after: Duration) -> Self {
        Self::optional(Some(after))
    }

    /// Without a deadline, calls go straight through.
    pub const fn optional(after: Option<Duration>) -> Self {
        Self { after, refuse: AsResponse }
    }
}

impl<R> DeadlineLayer<R> {
    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> DeadlineLayer<R2> {
        DeadlineLayer { after: self.after, refuse }
    }
}

impl<S, R: Clone> Layer<S> for DeadlineLayer<R> {
    type Service = Deadline<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline::new(inner, self.after, self.refuse.clone())
    }
}
