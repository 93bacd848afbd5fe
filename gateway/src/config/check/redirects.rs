//! Redirects: what has moved, and where to.
//!
//! A redirect takes requests like a route, so it claims them like one. Its target stays on the host that was asked, or names
//! another one letter for letter: no part of a request may end up where a host stands.

use http::StatusCode;

use super::claims::Claims;
use super::pattern::{self, Pattern};
use super::{Check, Site, address};
use crate::config::config::{Redirect, Rewrite};
use crate::config::fault::Wrong;
use crate::config::file;

impl<'c> Check<'c, '_> {
    /// After the routes, whose `claims` it takes further.
    pub(super) fn redirects(&mut self, claims: &mut Claims) -> Option<Vec<Redirect>> {
        let site = self.root.key("redirects");
        let all: Vec<_> = self
            .file
            .redirects
            .iter()
            .enumerate()
            .map(|(index, file)| self.redirect(file, site.item(index), claims))
            .collect();
        all.into_iter().collect()
    }

    fn redirect(
        &mut self,
        file: &'c file::Redirect,
        site: Site<'c>,
        claims: &mut Claims,
    ) -> Option<Redirect> {
        let (pattern, host, methods) =
            self.requests(file.path.as_deref(), file.host.as_deref(), &file.methods, site);
        if let (Some(pattern), Some(host), Some(methods)) = (&pattern, &host, &methods) {
            self.claim("a redirect", site, (host.as_ref(), pattern, methods), claims);
        }
        let status = self.accept(site.key("status"), status(file.status));
        let to = file.to.as_deref();
        let to = to
            .zip(pattern.as_ref())
            .and_then(|(to, pattern)| self.accept(site.key("to"), target(to, pattern)));
        let (origin, to) = to?;
        Some(Redirect {
            methods: methods?,
            host: host?,
            path: pattern?.path,
            status: status?,
            origin,
            to,
            place: self.place(site),
        })
    }
}

fn status(number: u16) -> Result<StatusCode, Wrong> {
    match (number, StatusCode::from_u16(number)) {
        (301 | 302 | 303 | 307 | 308, Ok(status)) => Ok(status),
        _ => Err(format!("{number} is no redirect: it is 301, 302, 303, 307 or 308").into()),
    }
}

/// A path of the same host, or scheme, host and path.
fn target(text: &str, pattern: &Pattern) -> Result<(Option<String>, Rewrite), Wrong> {
    if text.starts_with("//") {
        return Err(
            format!("\"{text}\" names a host without saying so; write its scheme too").into()
        );
    }
    let (origin, path) = match text.split_once("://") {
        None => (None, text),
        Some((scheme, rest)) => {
            let host = rest.find(['/', '?', '#', '{']).unwrap_or(rest.len());
            if rest[host..].starts_with('{') {
                return Err(format!("\"{text}\" lets a request choose the host").into());
            }
            let end = scheme.len() + "://".len() + host;
            (Some(address::origin(&text[..end])?), &text[end..])
        }
    };
    let path = if origin.is_some() && path.is_empty() { "/" } else { path };
    Ok((origin, pattern::rewrite(path, &pattern.parameters)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Result<(Option<String>, Rewrite), Wrong> {
        target(text, &pattern::path("/old/{id}/{*rest}").unwrap())
    }

    #[test]
    fn a_target_is_a_path_or_a_whole_url() {
        assert_eq!(to("/new/{id}").unwrap().0, None);
        assert_eq!(
            to("https://shop.example.com/{rest}").unwrap().0.as_deref(),
            Some("https://shop.example.com")
        );
        assert_eq!(to("http://[::1]:8080").unwrap().0.as_deref(), Some("http://[::1]:8080"));
    }

    #[test]
    fn no_part_of_a_request_ends_up_where_a_host_stands() {
        for text in [
            "//evil.example/{id}",
            "https://{id}/",
            "https://a{id}",
            "https://example.com{rest}",
            "{rest}",
            "new/{id}",
            "https://u@a/",
            "https:///x",
            "ftp://a/",
            "javascript://a/%0a",
            "https://a\\b/",
            "/a?b",
            "/a#b",
            "https://a?x",
        ] {
            assert!(to(text).is_err(), "{text}");
        }
    }
}
