//! HTTP/2 as frames: written down as text, sent letter for letter, and what comes back.
//!
//! | file | is |
//! |---|---|
//! | `hpack` | writes fields in every way that HPACK has, and reads the one field that is looked at in answers |
//! | `script` | reads a line of text into a frame, or something else to do |
//! | `play` | plays lines on a connection, and keeps what comes back |
//!
//! It shares no code with the gateway or with h2, because what a polite library refuses to send is what matters here.

mod hpack;
mod play;
mod script;

pub use play::{Came, Connection, Outcome};
pub use script::{Line, line};
