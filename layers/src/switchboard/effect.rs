//! What happens to a request while its feature is off.
//!
//! A feature says what is done without it: refuse the request, tell the service below, send the request somewhere else, or
//! answer in its place. Refusing is the default. These are the values and how an answer is rendered; the killswitch layer
//! itself refuses and informs, and doesn't read them yet (issue 6).

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// What happens to a request while its feature is off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Effect {
    /// It is refused, as the layer refuses anything.
    #[default]
    Reject,
    /// It passes, and the service below is told.
    Inform,
    /// It goes somewhere else.
    Reroute(Arc<Detour>),
    /// It is answered in the place of the service below: with a refusal of the operator's own making, or with what is good
    /// enough for as long as it lasts.
    Answer(Arc<Answer>),
}

impl Effect {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Inform => "inform",
            Self::Reroute(_) => "reroute",
            Self::Answer(_) => "answer",
        }
    }
}

/// Where a request goes in the place of where it wanted to.
///
/// The layer changes the request's path, and leaves the detour in its extensions for whoever chooses the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// The upstream. Nothing: the one that it would have gone to.
    pub upstream: Option<Arc<str>>,
    /// The path. Nothing: the one that it had; its query stays in any case.
    pub path: Option<http::uri::PathAndQuery>,
}

/// What is answered in the place of the service below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What the body is.
    pub content_type: HeaderValue,
    /// The body. `{feature}`, `{public_message}` and `{retry_after}` (seconds) stand for what they say.
    pub body: String,
    /// When to come back, where the kill itself doesn't say.
    pub retry_after: Option<Duration>,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'k> {
    /// The feature that is off.
    pub feature: &'k str,
    /// What clients may know.
    pub public_message: Option<&'k str>,
    /// Whole seconds until it may be on again.
    pub retry_after: Option<u64>,
}

/// Why an answer can't be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unrenderable {
    /// It needs what this kill doesn't have: no end, or no message.
    Unknown {
        /// The name in braces.
        name: String,
    },
    /// It says that it is JSON, and isn't once the values are put in.
    NotJson,
}

impl Answer {
    /// The body as a client gets it.
    ///
    /// # Errors
    /// If it needs what isn't known, or isn't what it says that it is.
    pub fn render(&self, about: About<'_>) -> Result<Bytes, Unrenderable> {
        let is_json = self.is_json();
        let mut body = String::with_capacity(self.body.len() + 64);
        let mut rest = self.body.as_str();
        while let Some((text, name, after)) = placeholder(rest) {
            let seconds = about.retry_after.map(|seconds| seconds.to_string());
            let value = match name {
                "feature" => Some(about.feature),
                "public_message" => about.public_message,
                _ => seconds.as_deref(),
            };
            let value = value.ok_or_else(|| Unrenderable::Unknown { name: name.to_owned() })?;
            body.push_str(text);
            if is_json {
                push_escaped(&mut body, value);
            } else {
                body.push_str(value);
            }
            rest = after;
        }
        body.push_str(rest);
        if is_json && !is_json_value(&body) {
            return Err(Unrenderable::NotJson);
        }
        Ok(body.into())
    }

    fn is_json(&self) -> bool {
        let kind =
            self.content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.eq_ignore_ascii_case(b"application/json")
            || kind.to_ascii_lowercase().ends_with(b"+json")
    }
}

/// The next name in braces: what is before it, the name, and what is behind it. Other braces are the body's own.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let starts = text.match_indices('{');
    starts.into_iter().find_map(|(at, _)| {
        let (name, after) = text[at + 1..].split_once('}')?;
        ["feature", "public_message", "retry_after"].contains(&name).then_some((
            &text[..at],
            name,
            after,
        ))
    })
}

#[cfg(feature = "serde")]
fn is_json_value(body: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok()
}

/// Without a parser nobody can tell.
#[cfg(not(feature = "serde"))]
const fn is_json_value(_: &str) -> bool {
    true
}

/// The inside of a JSON string.
fn push_escaped(body: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '"' | '\\' => body.extend(['\\', letter]),
            letter if letter.is_control() => {
                body.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => body.push(letter),
        }
    }
}

impl fmt::Display for Unrenderable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "the body needs {{{name}}}, which is not known"),
            Self::NotJson => f.write_str("the body is not the JSON that it says it is"),
        }
    }
}

impl Error for Unrenderable {}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content_type: &'static str, body: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static(content_type),
            body: body.to_owned(),
            retry_after: None,
        }
    }

    const ABOUT: About<'_> = About {
        feature: "reports",
        public_message: Some("back at \"noon\""),
        retry_after: Some(7),
    };

    #[test]
    fn what_stands_in_braces_is_put_in_and_other_braces_stay() {
        let text = answer("text/plain", "{a} {feature}: {public_message} ({retry_after} s) {");
        assert_eq!(text.render(ABOUT).unwrap(), "{a} reports: back at \"noon\" (7 s) {");
    }

    #[test]
    fn a_value_cant_leave_its_string_in_json() {
        let json =
            answer("application/problem+json; charset=utf-8", r#"{"why":"{public_message}"}"#);
        assert_eq!(json.render(ABOUT).unwrap(), r#"{"why":"back at \"noon\""}"#);
    }

    #[test]
    fn a_body_that_needs_what_nobody_knows_cant_be_rendered() {
        let text = answer("text/plain", "come back in {retry_after} s");
        let about = About { retry_after: None, ..ABOUT };
        let error = text.render(about).unwrap_err();
        assert_eq!(error.to_string(), "the body needs {retry_after}, which is not known");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_body_that_isnt_the_json_it_says_cant_be_rendered() {
        let json = answer("application/json", r#"{"items":[}"#);
        assert_eq!(json.render(ABOUT), Err(Unrenderable::NotJson));
    }
}
