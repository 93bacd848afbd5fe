//! What a route answers when its upstream can't.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::edits::{field, value};
use super::{Check, Site, pattern};
use crate::config::config::{BodyPart, Fallback};
use crate::config::fault::Wrong;
use crate::config::file;

/// Far more than anybody writes into a configuration by hand.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Check<'_, '_> {
    pub(super) fn fallback(
        &mut self,
        file: &file::Fallback,
        site: Site<'_>,
        parameters: &[String],
    ) -> Option<Fallback> {
        let status = self.accept(site.key("status"), status(file.status));
        let mut whole = true;
        let mut headers = HeaderMap::new();
        let kind = self.accept(site.key("content_type"), value("content_type", &file.content_type));
        for (name, text) in &file.headers {
            let headers_site = site.key("headers");
            let known = self.accept(headers_site.name(name), own_field(name));
            let value = self.accept(headers_site.key(name), value(name, text));
            match (known, value) {
                (Some(name), Some(mut value)) => {
                    value.set_sensitive(false);
                    headers.insert(name, value);
                }
                _ => whole = false,
            }
        }
        if file.body.len() > BODY_BYTES_MAX {
            let wrong = format!("a `body` may have {BODY_BYTES_MAX} bytes at most");
            self.report(site.key("body"), wrong);
        }
        headers.insert(CONTENT_TYPE, plain(kind?));
        let is_json = is_json(&file.content_type);
        let body = self.accept(site.key("body"), body(&file.body, parameters));
        whole.then_some(Fallback {
            status: status?,
            headers,
            body: body?,
            is_json,
            on_server_errors: file.on_server_errors,
        })
    }
}

/// Cuts a body at its placeholders. A brace that opens anything but a single word is a brace: JSON has many.
fn body(text: &str, parameters: &[String]) -> Result<Vec<BodyPart>, Wrong> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        plain.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let word = inner.split_once('}').filter(|(word, _)| is_word(word));
        let Some((word, after)) = word else {
            plain.push('{');
            rest = inner;
            continue;
        };
        parts.push(BodyPart::Text(std::mem::take(&mut plain)));
        parts.push(match word {
            "retry_after" => BodyPart::RetryAfter,
            name => BodyPart::Parameter(pattern::known(name, parameters)?),
        });
        rest = after;
    }
    plain.push_str(rest);
    parts.push(BodyPart::Text(plain));
    Ok(parts)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `application/json`, `application/problem+json`, with or without a charset.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

fn plain(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(false);
    value
}

/// The content's type has a key of its own.
fn own_field(name: &str) -> Result<http::HeaderName, Wrong> {
    match field(name)? {
        CONTENT_TYPE => Err("the type of the body is for `content_type`".into()),
        name => Ok(name),
    }
}

/// A status that ends a message without a body can't stand over one, and a 1xx ends nothing.
fn status(status: u16) -> Result<StatusCode, Wrong> {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        | Err(_) => Err(format!("`status` can't be {status}: that answer has no body").into()),
        Ok(status) => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<Vec<BodyPart>, Wrong> {
        body(text, &["id".to_owned()])
    }

    #[test]
    fn json_keeps_its_braces_and_placeholders_are_found_among_them() {
        let text = |text: &str| BodyPart::Text(text.to_owned());
        let found = parts(r#"{"a": {}, "id": "{id}", "again": {retry_after}}"#).unwrap();
        let id = BodyPart::Parameter("id".to_owned());
        let (before, between) = (text(r#"{"a": {}, "id": ""#), text(r#"", "again": "#));
        assert_eq!(found, [before, id, between, BodyPart::RetryAfter, text("}")]);
    }

    #[test]
    fn a_placeholder_that_stands_for_nothing_is_a_fault() {
        assert!(parts("{di}").is_err());
        assert!(parts("{ not a word } {").is_ok());
    }
}
