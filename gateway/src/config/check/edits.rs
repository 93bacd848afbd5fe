//! Header fields that an operator sets or removes, for an upstream or for a route.
//!
//! What frames a message, belongs to one connection, names the host that was routed by, or is the gateway's own word is not
//! to be had: a setting that could undo what `sanitise` does would be a hole with a key of its own. Faults never quote a value,
//! which may be a secret.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::{Check, Site};
use crate::config::config::{Edits, HeaderEdits};
use crate::config::fault::Wrong;
use crate::config::file::{self, Hidden};
use crate::fields;

/// The four keys of a table that may have them.
pub(super) struct Written<'f> {
    set: &'f BTreeMap<String, Hidden>,
    remove: &'f [String],
    set_response: &'f BTreeMap<String, Hidden>,
    remove_response: &'f [String],
}

impl<'f> From<&'f file::Upstream> for Written<'f> {
    fn from(file: &'f file::Upstream) -> Self {
        Self {
            set: &file.set_headers,
            remove: &file.remove_headers,
            set_response: &file.set_response_headers,
            remove_response: &file.remove_response_headers,
        }
    }
}

impl<'f> From<&'f file::Route> for Written<'f> {
    fn from(file: &'f file::Route) -> Self {
        Self {
            set: &file.set_headers,
            remove: &file.remove_headers,
            set_response: &file.set_response_headers,
            remove_response: &file.remove_response_headers,
        }
    }
}

impl Check<'_, '_> {
    /// What one table says.
    pub(super) fn edits(&mut self, written: &Written<'_>, site: Site<'_>) -> Option<Edits> {
        let keys = (site.key("set_headers"), site.key("remove_headers"));
        let request = self.header_edits(written.set, written.remove, keys);
        let keys = (site.key("set_response_headers"), site.key("remove_response_headers"));
        let response = self.header_edits(written.set_response, written.remove_response, keys);
        Some(Edits { request: request?, response: response? })
    }

    fn header_edits(
        &mut self,
        set: &BTreeMap<String, Hidden>,
        remove: &[String],
        (set_site, remove_site): (Site<'_>, Site<'_>),
    ) -> Option<HeaderEdits> {
        let mut whole = true;
        let mut edits = HeaderEdits::default();
        for (name, Hidden(text)) in set {
            let known = self.accept(set_site.name(name), field(name));
            let value = self.accept(set_site.key(name), value(name, text));
            let (Some(known), Some(value)) = (known, value) else {
                whole = false;
                continue;
            };
            if edits.set.iter().any(|(first, _)| *first == known) {
                self.report(set_site.name(name), format!("`{known}` is set twice"));
            }
            edits.set.push((known, value));
        }
        for (index, name) in remove.iter().enumerate() {
            let site = remove_site.item(index);
            let Some(known) = self.accept(site, field(name)) else {
                whole = false;
                continue;
            };
            if edits.remove.contains(&known) {
                self.report(site, format!("`{known}` stands twice in one list"));
            } else if edits.set.iter().any(|(set, _)| *set == known) {
                self.report(
                    site,
                    format!("`{known}` is set in the same table; what is set replaces what came"),
                );
            }
            edits.remove.push(known);
        }
        whole.then_some(edits)
    }
}

/// What a route does, together with what its upstream does for all of its routes: the route's own word comes last.
pub(super) fn merged(upstream: &Edits, route: Edits) -> Edits {
    Edits {
        request: merged_half(&upstream.request, route.request),
        response: merged_half(&upstream.response, route.response),
    }
}

fn merged_half(upstream: &HeaderEdits, mut route: HeaderEdits) -> HeaderEdits {
    for name in &upstream.remove {
        if !route.remove.contains(name) {
            route.remove.push(name.clone());
        }
    }
    let decided = |name: &HeaderName| {
        route.remove.contains(name) || route.set.iter().any(|(known, _)| known == name)
    };
    let inherited: Vec<_> =
        upstream.set.iter().filter(|(name, _)| !decided(name)).cloned().collect();
    route.set.extend(inherited);
    route
}

/// The name of a field that an operator may decide on.
pub(super) fn field(text: &str) -> Result<HeaderName, Wrong> {
    let name = name(text)?;
    match kept(&name) {
        None => Ok(name),
        Some(wrong) => Err(format!("`{name}` can't be set or removed: it {wrong}").into()),
    }
}

/// The name of any field.
pub(super) fn name(text: &str) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("\"{text}\" is not the name of a header field").into())
}

/// Why a field is the gateway's alone, if it is.
pub(super) fn kept(name: &HeaderName) -> Option<&'static str> {
    let lower = name.as_str();
    Some(match lower {
        "content-length" | "transfer-encoding" => {
            "frames the message, and that is the gateway's to say"
        }
        "host" => "is what the request was routed by, and goes on as it came",
        "expect" => "is answered by the gateway itself",
        _ if fields::hop_by_hop(lower) => "belongs to one connection, and ends there",
        "traceparent" | "tracestate" | "feature-errors" => "is the gateway's own word",
        _ if fields::owned(lower) => "is the gateway's own word",
        _ if fields::is_alias(lower) => {
            "is read by some servers as another field, which the gateway keeps"
        }
        _ => return None,
    })
}

pub(super) fn value(name: &str, text: &str) -> Result<HeaderValue, Wrong> {
    if text.is_empty() {
        return Err(format!(
            "the value of `{name}` is empty; a field that nobody needs is not set"
        )
        .into());
    }
    let mut value = HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.is_ascii() && text.trim() == text)
        .ok_or_else(|| {
            Wrong::from(format!(
                "the value of `{name}` can't stand in a header: it takes visible ASCII, with blanks only inside"
            ))
        })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_keeps_is_not_to_be_had_in_any_spelling() {
        for name in [
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Keep-Alive",
            "Proxy-Authorization",
            "Content-Length",
            "transfer-encoding",
            "Host",
            "Expect",
            "X-Request-Id",
            "x_request_id",
            "X-Forwarded-For",
            "Forwarded",
            "X-Auth-Subject",
            "Feature-Flags",
            "Killswitches",
            "Feature-Errors",
            "traceparent",
            "content_length",
            "a b",
            "",
            ":path",
            "x\r\ny",
        ] {
            assert!(field(name).is_err(), "{name:?}");
        }
        for name in [
            "Authorization",
            "Cookie",
            "X-Api-Key",
            "x_api_key",
            "Content-Type",
            "Set-Cookie",
            "Server",
        ] {
            assert!(field(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_value_is_visible_and_not_printed() {
        for text in ["", " s3cret", "s3cret ", "s3\r\ncret", "s3cret\0", "s3crét"] {
            let wrong = value("x", text).unwrap_err();
            assert!(!wrong.message.contains("s3"), "{text:?}: {}", wrong.message);
        }
        assert!(!format!("{:?}", value("x", "s3cret").unwrap()).contains("s3cret"));
    }

    #[test]
    fn a_routes_own_word_comes_last() {
        let edits = |remove: &[&str], set: &[(&str, &str)]| HeaderEdits {
            remove: remove.iter().map(|name| field(name).unwrap()).collect(),
            set: set
                .iter()
                .map(|(name, text)| (field(name).unwrap(), value(name, text).unwrap()))
                .collect(),
        };
        let upstream =
            edits(&["a", "b"], &[("c", "upstream"), ("d", "upstream"), ("e", "upstream")]);
        let route = edits(&["c"], &[("b", "route"), ("d", "route")]);

        let all = merged_half(&upstream, route);
        assert_eq!(
            all,
            edits(&["c", "a", "b"], &[("b", "route"), ("d", "route"), ("e", "upstream")])
        );
    }
}
