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

/// Streams that an HTTP/2 peer may reset before we have seen them off (rapid reset): hyper's default, stated.
pub const H2_PENDING_RESETS_MAX: usize = 20;

/// An idle HTTP/2 peer is asked for a sign of life, and given up after twice this.
pub const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long an HTTP/2 connection that was told to end (GOAWAY) may still rest: a request that was on its way gets here
/// meanwhile.
pub const H2_FAREWELL: Duration = Duration::from_secs(2);

/// Fields of an HTTP/1 head, whatever the configuration says: room for them lies on the stack while a head is parsed.
pub const H1_HEADERS_MAX: usize = 1000;

/// Fields that the gateway itself adds to a request, so that its map of fields is made large enough at once.
pub const HEADERS_ADDED: usize = 8;

/// How long, and for how many bytes, a connection that was told of its end waits for its client to close too.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// See [`FAREWELL`].
pub const FAREWELL_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a response head from an upstream. Larger than what clients may send: some frameworks set many cookies.
pub const UPSTREAM_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of a response from an upstream.
pub const UPSTREAM_HEADERS_MAX: usize = 200;

/// Informational answers (1xx) before the one that counts. A working upstream sends one or two.
pub const INFORMATIONAL_MAX: usize = 50;

/// Bytes of a path. RFC 9110 asks for 8,000 at least.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// Segments of a path; nothing sensible nests deeper, and normalising is linear in it.
pub const PATH_SEGMENTS_MAX: usize = 256;

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

/// Spans that wait for the exporter.
pub const SPANS_WAITING_MAX: usize = 8 * 1024;

/// How often a worker looks for pooled connections that idled too long or that the upstream closed.
pub const POOL_SWEEP: Duration = Duration::from_secs(1);

/// How long the listener rests after it could not accept (no file descriptors left), so that it doesn't spin.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Bytes with which the client of an HTTP/2 connection must begin.
pub const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const _: () =
    assert!(H2_CONNECTION_WINDOW >= H2_STREAM_WINDOW, "one stream may fill its own window");
const _: () = assert!(
    JWKS_BYTES_MAX >= VERIFY_ANSWER_BYTES_MAX,
    "one bound on what the auth service may say"
);
