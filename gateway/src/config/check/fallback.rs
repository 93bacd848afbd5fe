//! What a route answers when its upstream can't.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::edits::{field, value};
use super::{Check, Site};
use crate::config::config::Fallback;
use crate::config::fault::Wrong;
use crate::config::file;

/// Far more than anybody writes into a configuration by hand.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Check<'_, '_> {
    pub(super) fn fallback(&mut self, file: &file::Fallback, site: Site<'_>) -> Option<Fallback> {
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
        let body = file.body.as_str().into();
        whole.then_some(Fallback {
            status: status?,
            headers,
            body,
            on_server_errors: file.on_server_errors,
        })
    }
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
