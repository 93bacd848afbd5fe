//! Every bound that no setting changes, with its reason. What a setting does change stands in `config`, with its default.
//!
//! The relations between them are asserted at compile time: whoever changes one is told which others depend on it.

use std::time::Duration;

/// Requests that one HTTP/2 connection may have open at once. Envoy's edge default; more only helps an attacker, because a
/// browser opens about 100 and a service mesh opens more connections.
pub const H2_STREAMS_MAX: u32 = 100;

/// Bytes of a body that an HTTP/2 peer may send ahead, per stream. The connection has room for all of its streams, so that
/// some that stall don't starve the others.
pub const H2_STREAM_WINDOW: u32 = 64 * 1024;
/// See [`H2_STREAM_WINDOW`].
pub const H2_CONNECTION_WINDOW: u32 = H2_STREAMS_MAX * H2_STREAM_WINDOW;

/// Bytes of a frame. The smallest bound that RFC 9113 allows, and every client's default.
pub const H2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of an answer that hyper may keep per stream for a client whose window is open and whose socket is full. As much as
/// an upstream's answer is read at once; hyper's 400 KiB would be 40 MB per connection.
pub const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of a client's HPACK table: the protocol's default, which a head can refer to in full, so it stays small.
pub const H2_HEADER_TABLE_BYTES: u32 = 4096;

/// Bytes of an answer that a client has to take within the write time-out, so that the slowest that is served takes some
/// 500 a second. One frame.
pub const H2_PIECE_BYTES_MAX: usize = H2_FRAME_BYTES_MAX as usize;
/// Bytes of an answer that is handed to hyper whole, without waiting until the client's window has room for its end. A
/// client that never opens it can have that much kept for each of its streams.
pub const H2_WHOLE_BYTES_MAX: usize = 4 * 1024;

/// Streams that an HTTP/2 peer may reset before we have seen them off (rapid reset): h2's default, stated.
pub const H2_PENDING_RESETS_MAX: usize = 20;
/// Streams of one connection that a client has us reset by breaking the protocol (MadeYouReset), over its whole life:
/// hyper's default, stated. The score of glitches ends most such connections sooner, and forgives those that work.
pub const H2_LOCAL_RESETS_MAX: usize = 1024;

/// The score of glitches (frames that move nothing forward, see `server::http2`) above which an HTTP/2 connection is ended:
/// 500 pings in a burst, 100 settings, 500 streams that are reset as soon as they are opened (Envoy's number).
pub const H2_GLITCHES_MAX: u32 = 1_000;
/// What time takes from that score: 25 pings a second, for ever, are a nuisance and no attack.
pub const H2_GLITCHES_FORGIVEN_PER_SECOND: u64 = 50;
/// A stream that its client resets before this age was never meant to be answered; Envoy's number. A deadline that passes
/// or a person who leaves comes later.
pub const H2_STREAM_YOUNG: Duration = Duration::from_secs(1);

/// An idle HTTP/2 peer is asked for a sign of life, and given up after twice this.
pub const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Fields of an HTTP/1 head, whatever the configuration says: room for them lies on the stack while a head is parsed.
pub const H1_HEADERS_MAX: usize = 1000;

/// Fields that the gateway itself adds to a request, so that its map of fields is made large enough at once.
pub const HEADERS_ADDED: usize = 8;

/// How long a call goes on whose client has closed its sending half behind a whole request (`nc -N`): long enough for an upstream
/// nearby, and short of the 100 ms within which a client that left is to be missed. nginx and Envoy give up at once.
pub const HALF_CLOSED: Duration = Duration::from_millis(50);

/// How long an HTTP/2 client that expects to be told to go ahead may keep its body back. It isn't told, as nginx doesn't tell
/// it: hyper has no way to. Most send it by themselves after a second; the others get 417, with which they ask again without.
pub const WITHHELD: Duration = Duration::from_secs(3);

/// How long, and for how many bytes, a connection that was told of its end waits for its client to close too. A request of
/// HTTP/2 that was on its way gets here meanwhile.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// See [`FAREWELL`].
pub const FAREWELL_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a response head from an upstream. Larger than what clients may send: some frameworks set many cookies.
pub const UPSTREAM_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of a response from an upstream.
pub const UPSTREAM_HEADERS_MAX: usize = 200;

/// Bytes of all fields behind a body in chunks, whether or not they may pass. HTTP/2 counts them as it counts a head's.
pub const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Fields behind a body that may pass. A checksum, a status and a signature are three.
pub const TRAILERS_MAX: usize = 32;

/// Informational answers (1xx) before the one that counts. A working upstream sends one or two.
pub const INFORMATIONAL_MAX: usize = 50;

/// Bytes of a path. RFC 9110 asks for 8,000 at least.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// Segments of a path; nothing sensible nests deeper, and normalising is linear in it.
pub const PATH_SEGMENTS_MAX: usize = 256;

/// Bytes of a Host with its port: what a name in the DNS may have (253), a dot at its end, and a port.
pub const HOST_BYTES_MAX: usize = 253 + 1 + ":65535".len();

/// How long, and for how much, a refused or early answered upload is read and thrown away, so that the client gets to read
/// its answer instead of a reset. The time is per upload, and generous because a slow client is exactly who needs it.
pub const LINGER: Duration = Duration::from_secs(30);
/// See [`LINGER`].
pub const LINGER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What the auth service may answer: an identity, not a document.
pub const VERIFY_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A key set, and how many of its keys are looked at.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;
/// See [`JWKS_BYTES_MAX`].
pub const JWKS_KEYS_MAX: usize = 50;

/// Lines that wait for a slow reader of stdout or of the log file. When it is full, lines are dropped and counted: a blocked
/// pipe must never block a request.
pub const LOG_LINES_WAITING_MAX: usize = 64 * 1024;

/// Events that are kept for readers who were away or are slow. At one change of a breaker per second, a quarter of an hour.
pub const EVENTS_KEPT: usize = 1024;
/// Events that a fleet's store keeps of all its gateways together, about.
pub const FLEET_EVENTS_KEPT: usize = 10_000;
/// Connections that read the stream of events at once: operator pages and a few programs, far below what the admin listener
/// takes in all.
pub const EVENT_READERS_MAX: usize = 64;

/// Spans that wait for the exporter.
pub const SPANS_WAITING_MAX: usize = 8 * 1024;

/// How often a worker looks for pooled connections that idled too long or that the upstream closed.
pub const POOL_SWEEP: Duration = Duration::from_secs(1);

/// How long the listener rests after it could not accept (no file descriptors left), so that it doesn't spin.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What of the descriptors clients don't get: one in so many, but not fewer than the second number. They are for connections to
/// upstreams (which are fewer than those of clients, most of which rest), the store, the log and the admin listener.
pub const DESCRIPTORS_KEPT_SHARE: u64 = 8;
/// See [`DESCRIPTORS_KEPT_SHARE`].
pub const DESCRIPTORS_KEPT_MIN: u64 = 64;

/// Bytes with which the client of an HTTP/2 connection must begin.
pub const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const _: () =
    assert!(H2_CONNECTION_WINDOW >= H2_STREAM_WINDOW, "one stream may fill its own window");
const _: () = assert!(
    H2_SEND_BUFFER_BYTES >= H2_PIECE_BYTES_MAX && H2_PIECE_BYTES_MAX >= H2_WHOLE_BYTES_MAX,
    "a piece fits into what may be kept, and what goes whole is one"
);
const _: () = assert!(
    JWKS_BYTES_MAX >= VERIFY_ANSWER_BYTES_MAX,
    "one bound on what the auth service may say"
);
