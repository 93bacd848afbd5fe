//! Fields that may pass behind a body.
//!
//! What a server takes into account before or while it reads a body has no business behind it (RFC 9110, 6.5.1): such a field
//! was not there when the request was routed, authenticated and counted, and a server that merges trailers into the head
//! would act on it all the same.

use http::HeaderName;

use super::{Check, Site, edits};
use crate::config::fault::Wrong;
use crate::fields;

impl Check<'_, '_> {
    /// The names of one list.
    pub(super) fn trailers(&mut self, site: Site<'_>, names: &[String]) -> Vec<HeaderName> {
        let mut allowed = Vec::new();
        for (index, text) in names.iter().enumerate() {
            let site = site.item(index);
            let Some(name) = self.accept(site, trailer(text)) else { continue };
            if allowed.contains(&name) {
                self.report(site, format!("`{name}` stands twice in one list"));
            }
            allowed.push(name);
        }
        allowed
    }
}

fn trailer(text: &str) -> Result<HeaderName, Wrong> {
    let name = edits::name(text)?;
    let wrong = match edits::kept(&name) {
        Some(wrong) => wrong,
        None if fields::only_in_front(name.as_str()) => {
            "means something only in front of a body, and would slip past whoever judged the head"
        }
        None => return Ok(name),
    };
    Err(format!("`{name}` can't stand behind a body: it {wrong}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_in_front_of_a_body_is_not_let_through_behind_it_in_any_spelling() {
        for text in [
            "Content-Length",
            "transfer-encoding",
            "Host",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Keep-Alive",
            "Expect",
            "Authorization",
            "Proxy-Authorization",
            "WWW-Authenticate",
            "Cookie",
            "Set-Cookie",
            "set_cookie",
            "Content-Type",
            "content.encoding",
            "Cache-Control",
            "Range",
            "If-None-Match",
            "if_match",
            "Location",
            "Max-Forwards",
            "X-Forwarded-For",
            "x_forwarded_for",
            "Forwarded",
            "X-Request-Id",
            "X-Auth-Subject",
            "Feature-Flags",
            "Feature-Errors",
            "traceparent",
            "X-HTTP-Method-Override",
            ":path",
            "a b",
            "",
        ] {
            assert!(trailer(text).is_err(), "{text:?}");
        }
        for text in ["X-Checksum", "grpc-status", "Grpc-Message", "Server-Timing", "x_sum", "ETag"]
        {
            assert!(trailer(text).is_ok(), "{text:?}");
        }
    }
}
