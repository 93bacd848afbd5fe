//! The body of a request, read from its connection by whoever wants it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::line::Source;

/// A body that is still with its client. Dropped early, its connection reads the rest for nothing.
#[derive(Debug)]
pub struct Body(Arc<dyn Source>);

/// The client broke its body, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl Body {
    pub(super) fn new(line: Arc<dyn Source>) -> Self {
        Self(line)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.left().is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.left().length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client broke the body of its request")
    }
}

impl std::error::Error for Broken {}
