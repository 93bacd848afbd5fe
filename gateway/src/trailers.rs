//! Which fields behind a body may pass: those that the operator named, and no others.
//!
//! A server that merges trailers into the head would take them for what stood there when the request was judged. So they pass
//! by an allow-list that is empty by default, in each direction; `config` refuses every name on it with which that could do harm.
//! What `Connection` names ends with its connection behind a body as it does in front of one (RFC 9110, 7.6.1).

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING},
};

use crate::limits::TRAILERS_MAX;

/// Fields that may pass behind a body.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Option<Arc<[HeaderName]>>);

/// More fields than any honest message has behind its body.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Allowed {
    /// None.
    pub const NONE: Self = Self(None);

    /// These.
    pub fn new(names: &[HeaderName]) -> Self {
        Self((!names.is_empty()).then(|| names.into()))
    }

    /// Whether none may.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.0.as_ref().is_some_and(|names| names.contains(name))
    }

    /// These but for some.
    pub fn without(&self, others: &[HeaderName]) -> Self {
        match &self.0 {
            Some(names) if others.iter().any(|other| names.contains(other)) => {
                let left: Vec<_> =
                    names.iter().filter(|name| !others.contains(name)).cloned().collect();
                Self::new(&left)
            }
            _ => self.clone(),
        }
    }

    /// Those of some fields that may pass, if there are any.
    ///
    /// # Errors
    /// There are too many of them.
    pub fn keep(&self, trailers: &HeaderMap) -> Result<Option<HeaderMap>, TooMany> {
        if self.is_none() {
            return Ok(None);
        }
        let mut kept = HeaderMap::new();
        for (name, value) in trailers.iter().filter(|(name, _)| self.has(name)) {
            if kept.len() == TRAILERS_MAX {
                return Err(TooMany);
            }
            // HTTP/2 lets white space around a value through, and HTTP/1 would not show where it ends.
            let value = HeaderValue::from_bytes(value.as_bytes().trim_ascii());
            kept.append(name.clone(), value.expect("a part of a value is a value"));
        }
        Ok((!kept.is_empty()).then_some(kept))
    }

    /// `Trailer`, for those of the announced fields that may pass.
    pub fn announced(&self, names: &[HeaderName]) -> Option<HeaderValue> {
        if self.is_none() {
            return None;
        }
        let mut passing: Vec<_> =
            names.iter().filter(|name| self.has(name)).map(HeaderName::as_str).collect();
        passing.sort_unstable();
        passing.dedup();
        let value = HeaderValue::try_from(passing.join(", ")).expect("names are tokens");
        (!passing.is_empty()).then_some(value)
    }
}

/// What a listener lets through.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// To upstreams.
    pub request: Allowed,
    /// To clients.
    pub response: Allowed,
}

/// What of a message and its answer may pass behind their bodies.
#[derive(Debug, Default)]
pub struct Passing {
    /// To the upstream.
    pub request: Allowed,
    /// To the client.
    pub response: Allowed,
    announced: Option<HeaderValue>,
}

impl Passing {
    /// Finds out from the head as its client sent it.
    pub fn of(headers: &HeaderMap, version: Version, rules: &Rules) -> Self {
        if rules.request.is_none() && rules.response.is_none() {
            return Self::default();
        }
        let named = members(headers, &CONNECTION);
        let takes = match version {
            // There trailers are part of every message.
            Version::HTTP_2 => true,
            Version::HTTP_11 => members(headers, &TE).iter().any(|member| member == "trailers"),
            _ => false,
        };
        let request = rules.request.without(&named);
        Self {
            announced: request.announced(&members(headers, &TRAILER)),
            request,
            response: if takes { rules.response.clone() } else { Allowed::NONE },
        }
    }

    /// Tells the upstream: what comes behind the body, where there is a place for it, and what may come behind its own.
    pub fn tell(&mut self, headers: &mut HeaderMap) {
        if let Some(announced) = self.announced.take()
            && headers.contains_key(TRANSFER_ENCODING)
        {
            headers.insert(TRAILER, announced);
        }
        if !self.response.is_none() {
            // It is for the next connection only, and has to say so (RFC 9110, 10.1.4).
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// The members of a list field that are names of fields.
fn members(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderName> {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let members = values.flat_map(|value| value.split(|&byte| byte == b','));
    members.filter_map(|member| HeaderName::from_bytes(member.trim_ascii()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(names: &[&str]) -> Allowed {
        Allowed::new(&names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>())
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn what_was_not_named_does_not_pass() {
        let came = fields(&[("x-sum", " 1\t"), ("host", "evil"), ("x-sum", "2"), ("x_sum", "3")]);
        assert_eq!(allowed(&[]).keep(&came), Ok(None));
        assert_eq!(allowed(&["x-other"]).keep(&came), Ok(None));
        let kept = allowed(&["x-sum"]).keep(&came).unwrap().unwrap();
        assert_eq!(kept, fields(&[("x-sum", "1"), ("x-sum", "2")]));
    }

    #[test]
    fn more_than_the_bound_are_refused_and_what_may_not_pass_is_not_counted() {
        let many: Vec<_> = std::iter::repeat_n(("x-sum", "1"), TRAILERS_MAX + 1).collect();
        assert!(allowed(&["x-sum"]).keep(&fields(&many[1..])).unwrap().is_some());
        assert_eq!(allowed(&["x-sum"]).keep(&fields(&many)), Err(TooMany));
        assert_eq!(allowed(&["x-other"]).keep(&fields(&many)), Ok(None));
    }

    #[test]
    fn a_client_of_http_1_gets_them_only_where_it_says_so() {
        let rules = Rules { request: Allowed::NONE, response: allowed(&["x-sum"]) };
        let takes = |version, te: &str| {
            let passing = Passing::of(&fields(&[("te", te)]), version, &rules);
            !passing.response.is_none()
        };
        for te in ["trailers", "Trailers", "gzip;q=0.5, trailers", "trailers , deflate"] {
            assert!(takes(Version::HTTP_11, te), "{te}");
            assert!(!takes(Version::HTTP_10, te), "{te}");
        }
        for te in ["", "trailers;q=0", "trailer", "x-trailers", "gzip"] {
            assert!(!takes(Version::HTTP_11, te), "{te}");
            assert!(takes(Version::HTTP_2, te), "{te}");
        }
    }

    #[test]
    fn an_upstream_is_told_what_may_come_and_nothing_else() {
        let rules = Rules { request: allowed(&["x-a", "x-b"]), response: allowed(&["x-c"]) };
        let head = fields(&[
            ("trailer", "X-B, host, x-a"),
            ("trailer", "x-a, content-length"),
            ("te", "trailers, gzip"),
        ]);
        let tell = |connection: &str, coding: bool| {
            let mut head = head.clone();
            head.insert(CONNECTION, connection.parse().unwrap());
            let mut passing = Passing::of(&head, Version::HTTP_11, &rules);
            let mut told = HeaderMap::new();
            if coding {
                told.insert(TRANSFER_ENCODING, "chunked".parse().unwrap());
            }
            passing.tell(&mut told);
            told.remove(TRANSFER_ENCODING);
            told
        };
        let answers = [("te", "trailers"), ("connection", "te")];
        assert_eq!(tell("te", false), fields(&answers));
        assert_eq!(tell("te", true), fields(&[&answers[..], &[("trailer", "x-a, x-b")]].concat()));
        assert_eq!(tell("X-A, te", true), fields(&[&answers[..], &[("trailer", "x-b")]].concat()));
    }
}
