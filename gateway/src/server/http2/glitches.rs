//! How odd an HTTP/2 client behaves, as one number per connection.
//!
//! Each frame that moves nothing forward (a PING, a new setting, a stream reset right after it was opened) adds to the score;
//! each that does (a request, a piece of a body in either direction) takes away from it, and so does time. A client that
//! works may therefore send as many of either as it likes in proportion, an idle one may send a few per second, and one that
//! only makes work ends its connection. HAProxy counts the same things without the proportion, and leaves its bound to the
//! operator.
//!
//! A pure core: frames and the time go in, a verdict comes out.

use super::frames::{Frame, kind};
use crate::limits::{
    H2_GLITCHES_FORGIVEN_PER_SECOND, H2_GLITCHES_MAX, H2_STREAM_YOUNG, H2_STREAMS_MAX,
};

/// What a client had sent too much of when its score went over the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    /// DATA without bytes, or with hardly any.
    Data,
    /// Streams that end as faults: reset by the client when they had just begun, or by us because of what it sent.
    Streams,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY and PRIORITY_UPDATE.
    Priority,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// GOAWAY, or frames of a type that nobody knows.
    Other,
}

impl Flood {
    /// All of them, in the order of their values.
    pub(super) const ALL: [Self; 8] = [
        Self::Data,
        Self::Streams,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::WindowUpdate,
        Self::Continuation,
        Self::Other,
    ];

    /// The word for labels and lines.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Streams => "streams",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::Continuation => "continuation",
            Self::Other => "other",
        }
    }
}

/// The smallest message that anyone frames: gRPC's prefix of an empty one.
const MESSAGE_BYTES: usize = 5;

/// Streams of which it is known when they were opened: all that can be open, in a ring.
const STREAMS: usize = 128;
const _: () = assert!(STREAMS >= H2_STREAMS_MAX as usize, "every open stream has its place");

/// The score of one connection.
#[derive(Debug)]
pub(super) struct Glitches {
    score: u32,
    /// Milliseconds at which the last was forgiven.
    forgiven_at: u64,
    /// Id and milliseconds of opening.
    opened: [(u32, u64); STREAMS],
    has_settings: bool,
    flood: Option<Flood>,
}

impl Default for Glitches {
    fn default() -> Self {
        Self {
            score: 0,
            forgiven_at: 0,
            opened: [(0, 0); STREAMS],
            has_settings: false,
            flood: None,
        }
    }
}

impl Glitches {
    /// What there was too much of, once there was.
    pub(super) const fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// A frame has come from the client, so many milliseconds after the connection began.
    pub(super) fn received(&mut self, frame: &Frame, now: u64) {
        match frame.kind {
            // A request, or its trailers. Half of all may be reset at once, as with Envoy: hedged requests are.
            kind::HEADERS => {
                self.opened[place(frame.stream)] = (frame.stream, now);
                self.progress(2);
            }
            kind::DATA if frame.data_length() >= MESSAGE_BYTES => self.progress(1),
            kind::DATA if frame.ends_stream() => {}
            // Costs a write to the upstream, or nothing but our time.
            kind::DATA if frame.data_length() > 0 => self.glitch(1, Flood::Data, now),
            kind::DATA => self.glitch(5, Flood::Data, now),
            kind::RST_STREAM => self.reset(frame.stream, now),
            // Has to be answered. Keep-alives are rare, and who measures bandwidth with pings (gRPC) is being sent DATA.
            kind::PING if !frame.is_ack() => self.glitch(2, Flood::Ping, now),
            // Goes over all streams. The first is the client's half of the preface.
            kind::SETTINGS if !frame.is_ack() && !self.has_settings => self.has_settings = true,
            kind::SETTINGS if !frame.is_ack() => self.glitch(10, Flood::Settings, now),
            kind::PING => self.glitch(1, Flood::Ping, now),
            kind::SETTINGS => self.glitch(1, Flood::Settings, now),
            // Browsers send one per request.
            kind::PRIORITY | kind::PRIORITY_UPDATE => self.glitch(1, Flood::Priority, now),
            // Belongs to DATA that was sent, which pays for it.
            kind::WINDOW_UPDATE => self.glitch(1, Flood::WindowUpdate, now),
            // A head that is allowed fits into few frames.
            kind::CONTINUATION => self.glitch(2, Flood::Continuation, now),
            kind::GOAWAY => self.glitch(10, Flood::Other, now),
            // Browsers grease with one now and then.
            _ => self.glitch(2, Flood::Other, now),
        }
    }

    /// A frame goes to the client.
    pub(super) fn sent(&mut self, frame: &Frame, now: u64) {
        match frame.kind {
            // The client opens windows for it: in the worst library twice per frame, in another once per KiB that was read.
            kind::DATA if frame.length > 0 => {
                self.progress(4 + u32::try_from(frame.length / 1024).unwrap_or(u32::MAX));
            }
            // A client that has us reset its streams (MadeYouReset): PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED,
            // FRAME_SIZE_ERROR, REFUSED_STREAM. The other codes are our own decisions.
            kind::RST_STREAM if matches!(frame.error_code(), 1 | 3 | 5 | 6 | 7) => {
                self.glitch(4, Flood::Streams, now);
            }
            _ => {}
        }
    }

    /// A stream that ran for a while may be given up: a deadline has passed, a tab was closed.
    fn reset(&mut self, stream: u32, now: u64) {
        let (known, opened) = self.opened[place(stream)];
        if known != stream {
            return self.glitch(1, Flood::Streams, now);
        }
        self.opened[place(stream)] = (0, 0);
        if u128::from(now.saturating_sub(opened)) < H2_STREAM_YOUNG.as_millis() {
            self.glitch(4, Flood::Streams, now);
        }
    }

    const fn progress(&mut self, weight: u32) {
        self.score = self.score.saturating_sub(weight);
    }

    fn glitch(&mut self, weight: u32, flood: Flood, now: u64) {
        let forgiven =
            now.saturating_sub(self.forgiven_at) * H2_GLITCHES_FORGIVEN_PER_SECOND / 1000;
        if forgiven > 0 {
            // What is left of a millisecond or two stays for the next time.
            self.forgiven_at += forgiven * 1000 / H2_GLITCHES_FORGIVEN_PER_SECOND;
            self.progress(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
        self.score = self.score.saturating_add(weight);
        if self.score > H2_GLITCHES_MAX {
            self.flood.get_or_insert(flood);
        }
    }
}

/// The place of a stream in the ring. Clients' streams are odd.
const fn place(stream: u32) -> usize {
    (stream >> 1) as usize % STREAMS
}

#[cfg(test)]
mod tests {
    use super::{super::frames::Frames, *};

    /// A connection of its own, fed with frames.
    #[derive(Default)]
    struct Client {
        glitches: Glitches,
        now: u64,
    }

    fn frame(length: usize, kind: u8, flags: u8, stream: u32, payload: [u8; 4]) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    impl Client {
        fn sends(&mut self, length: usize, kind: u8, flags: u8, stream: u32) -> &mut Self {
            let (glitches, now) = (&mut self.glitches, self.now);
            let bytes = frame(length, kind, flags, stream, [0; 4]);
            Frames::default().pass(&bytes[..13], |frame| {
                // What is behind a short frame here is no frame.
                if frame.kind == kind {
                    glitches.received(frame, now);
                }
            });
            self
        }

        fn is_sent(&mut self, length: usize, kind: u8, stream: u32, code: u8) -> &mut Self {
            let (glitches, now) = (&mut self.glitches, self.now);
            let bytes = frame(length, kind, 0, stream, [0, 0, 0, code]);
            Frames::default().pass(&bytes, |frame| {
                if frame.kind == kind {
                    glitches.sent(frame, now);
                }
            });
            self
        }

        fn ends_with(&self) -> Option<Flood> {
            self.glitches.flood()
        }
    }

    fn after(times: u32, mut send: impl FnMut(&mut Client, u32)) -> Option<Flood> {
        let mut client = Client::default();
        (0..times).for_each(|time| send(&mut client, time));
        client.ends_with()
    }

    #[test]
    fn floods_end_a_connection_and_are_named() {
        let flood = |length, kind, flags| {
            after(5_000, |client, _| {
                client.sends(length, kind, flags, 1);
            })
        };
        assert_eq!(flood(8, kind::PING, 0), Some(Flood::Ping));
        assert_eq!(flood(8, kind::PING, 1), Some(Flood::Ping));
        assert_eq!(flood(0, kind::SETTINGS, 0), Some(Flood::Settings));
        assert_eq!(flood(5, kind::PRIORITY, 0), Some(Flood::Priority));
        assert_eq!(flood(5, kind::PRIORITY_UPDATE, 0), Some(Flood::Priority));
        assert_eq!(flood(4, kind::WINDOW_UPDATE, 0), Some(Flood::WindowUpdate));
        assert_eq!(flood(0, kind::DATA, 0), Some(Flood::Data));
        assert_eq!(flood(1, kind::DATA, 0), Some(Flood::Data));
        assert_eq!(flood(1, kind::CONTINUATION, 0), Some(Flood::Continuation));
        assert_eq!(flood(8, kind::GOAWAY, 0), Some(Flood::Other));
        assert_eq!(flood(9, 0xb7, 0), Some(Flood::Other));
    }

    #[test]
    fn streams_that_are_reset_at_once_end_a_connection_and_half_of_them_may() {
        let rapid = after(1_000, |client, time| {
            client.sends(9, kind::HEADERS, 4, 2 * time + 1).sends(
                4,
                kind::RST_STREAM,
                0,
                2 * time + 1,
            );
        });
        assert_eq!(rapid, Some(Flood::Streams));
        let hedged = after(100_000, |client, time| {
            client.sends(9, kind::HEADERS, 5, 4 * time + 1).sends(
                9,
                kind::HEADERS,
                5,
                4 * time + 3,
            );
            client.sends(4, kind::RST_STREAM, 0, 4 * time + 3);
        });
        assert_eq!(hedged, None);
    }

    #[test]
    fn streams_that_ran_into_their_deadlines_are_no_fault() {
        let outage = after(10_000, |client, time| {
            client.now += 10;
            client.sends(9, kind::HEADERS, 5, 2 * time + 201);
            client.sends(4, kind::RST_STREAM, 0, 2 * time + 1);
        });
        // A hundred open streams, each given up after a second.
        assert_eq!(outage, None);
    }

    #[test]
    fn a_client_that_has_us_reset_its_streams_ends_its_connection() {
        let made_you = after(1_500, |client, time| {
            client.sends(9, kind::HEADERS, 5, 2 * time + 1).is_sent(
                4,
                kind::RST_STREAM,
                2 * time + 1,
                1,
            );
        });
        assert_eq!(made_you, Some(Flood::Streams));
        let our_own = after(5_000, |client, time| {
            client.sends(9, kind::HEADERS, 5, 2 * time + 1).is_sent(
                4,
                kind::RST_STREAM,
                2 * time + 1,
                8,
            );
        });
        assert_eq!(our_own, None);
    }

    #[test]
    fn who_works_may_measure_open_windows_and_set_priorities() {
        let downloads = after(100_000, |client, _| {
            client.is_sent(16 * 1024, kind::DATA, 1, 0);
            for _ in 0..8 {
                client.sends(4, kind::WINDOW_UPDATE, 0, 0).sends(4, kind::WINDOW_UPDATE, 0, 1);
            }
            client.sends(8, kind::PING, 0, 0);
        });
        assert_eq!(downloads, None);
        let talks = after(100_000, |client, _| {
            client.sends(5, kind::DATA, 0, 1).is_sent(7, kind::DATA, 1, 0);
            client.sends(4, kind::WINDOW_UPDATE, 0, 0).sends(4, kind::WINDOW_UPDATE, 0, 1);
            client.sends(8, kind::PING, 0, 0);
        });
        assert_eq!(talks, None);
        let browses = after(100_000, |client, time| {
            client.sends(30, kind::HEADERS, 5, 2 * time + 1).sends(
                5,
                kind::PRIORITY,
                0,
                2 * time + 1,
            );
        });
        assert_eq!(browses, None);
    }

    #[test]
    fn time_forgives_a_few_per_second_and_no_more() {
        let per_second = |pings: u64| {
            after(10_000, move |client, _| {
                client.now += 1000 / pings;
                client.sends(8, kind::PING, 0, 0);
            })
        };
        assert_eq!(per_second(20), None);
        assert_eq!(per_second(100), Some(Flood::Ping));
    }

    #[test]
    fn every_flood_has_its_place() {
        for (index, flood) in Flood::ALL.iter().enumerate() {
            assert_eq!(*flood as usize, index);
        }
    }
}
