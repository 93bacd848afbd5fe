//! `/admin/events`: what happens, as it happens, as server-sent events.
//!
//! Each has an id; a browser that lost the connection sends the last one back as `Last-Event-ID`, and gets what it missed, as
//! far as that is kept. An event named `gap` says how many are not. Who reads too slowly is dropped: it may come back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::Admin;
use super::problem::Problem;
use crate::control::events::{Event, Events, Read, Reader};
use crate::limits::EVENT_READERS_MAX;

/// A sign of life, for proxies between that close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The places for readers.
#[derive(Debug, Default)]
pub(super) struct Seats(Arc<AtomicUsize>);

/// A reader's place, given back when its connection ends.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Seats {
    fn take(&self) -> Option<Seat> {
        let seat = Seat(self.0.clone());
        // Too many by one for a moment does no harm; the seat that is dropped gives it back.
        (self.0.fetch_add(1, Relaxed) < EVENT_READERS_MAX).then_some(seat)
    }
}

struct Reading {
    events: Events,
    reader: Reader,
    _seat: Seat,
    /// Whether something was read; from then on a gap is the reader's own slowness.
    begun: bool,
}

pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let seat = admin.seats.take().ok_or_else(|| {
        let detail = format_args!("{EVENT_READERS_MAX} others read the events already");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    })?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let events = admin.events.clone();
    let reader = last.map_or_else(|| events.read(), |id| events.read_after(id));
    let reading = Reading { events, reader, _seat: seat, begun: false };
    let stream = stream::unfold(reading, async |mut reading| {
        let event = match reading.reader.next().await? {
            Read::Event(event) => shown(&reading.events, &event),
            Read::Missed(_) if reading.begun => return None,
            Read::Missed(missed) => {
                sse::Event::default().event("gap").data(json!({ "missed": missed }).to_string())
            }
        };
        reading.begun = true;
        Some((Ok(event), reading))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn shown(events: &Events, event: &Event) -> sse::Event {
    sse::Event::default()
        .id(events.id(event))
        .event(event.what.kind())
        .data(event.what.json().to_string())
}
