//! HTTP/2 as frames: written down as data, sent letter for letter, and judged by what comes back and by what an upstream gets.
//!
//! | file | is |
//! |---|---|
//! | `hpack` | writes fields in every way that HPACK has, and reads the one field that is looked at in answers |
//! | `script` | reads `corpora/http2`: cases, families of cases, frames, verdicts |
//! | `play` | plays a case on a connection, and keeps what comes back |
//! | `judge` | compares what a case wanted with what came |
//!
//! What arrives is kept by the recorder of `hostile`, and looked at by its oracle: it is HTTP/1 whatever was sent.
//!
//! It shares no code with the gateway or with h2, because what a polite library refuses to send is what matters here.

mod hpack;
mod judge;
mod play;
mod script;

pub use judge::judge;
pub use play::{Came, Connection, Outcome, play};
pub use script::{Case, Line, cases, line};

/// Error codes by name (RFC 9113, 7).
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error code.
fn error_name(code: u32) -> &'static str {
    ERRORS.get(code as usize).copied().unwrap_or("UNKNOWN")
}
