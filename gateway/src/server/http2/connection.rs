//! The life of an HTTP/2 connection around its streams: it is told that it ends (GOAWAY), and closed when it dawdles.
//!
//! A connection without streams is told after its idle time-out, whatever pings it sends, and closed a moment later: the
//! moment is for a request that was already on its way, which is still served. A drain tells it in the same way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{super::drain::Drain, pulse::Watch};
use crate::limits::FAREWELL;

/// A connection under its time-outs.
pub(super) struct Served<'c, C> {
    connection: Pin<&'c mut C>,
    tell: fn(Pin<&mut C>),
    watch: Watch,
    drain: Drain,
    told: bool,
}

impl<'c, C> Served<'c, C> {
    /// A connection, and how it is told to end.
    pub(super) fn new(
        connection: Pin<&'c mut C>,
        tell: fn(Pin<&mut C>),
        watch: Watch,
        drain: Drain,
    ) -> Self {
        Self { connection, tell, watch, drain, told: false }
    }

    fn tell(&mut self) {
        self.told = true;
        (self.tell)(self.connection.as_mut());
        self.watch.hurry(FAREWELL);
    }
}

impl<C: Future> Future for Served<'_, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.told && self.drain.poll_raised(cx) {
            self.tell();
        }
        loop {
            // The connection first: what can be answered in this very poll is answered.
            if self.connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            ready!(self.watch.poll_expired(cx));
            // Who takes nothing of what is written will not take a farewell either.
            if self.told || self.watch.is_stalled() {
                return Poll::Ready(());
            }
            self.tell();
        }
    }
}
