//! Paths, rewrites and hosts of routes.
//!
//! A pattern is compared with requests that have been normalised, so it is brought to the same form: percent-codes in capitals,
//! none for characters that need none. A parameter takes a whole segment; the same shape with other parameter names is the
//! same path.

use crate::config::config::{HostPattern, PathPattern, Rewrite, RewritePart};
use crate::config::fault::{Wrong, nearest};

/// What `{*}` without a name is called.
const REST: &str = "rest";

/// A path pattern, with the names of its parameters in order.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) path: PathPattern,
    pub(super) parameters: Vec<String>,
    /// The path with its parameters' names left out: two patterns of one shape match the same requests.
    pub(super) shape: String,
}

/// Reads `/api/orders/{id}`.
pub(super) fn path(text: &str) -> Result<Pattern, Wrong> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Wrong::from(format!("\"{text}\" does not start with a slash"))
            .or(Some(format!("/{text}"))));
    };
    let mut pattern =
        Pattern { path: PathPattern(String::new()), parameters: Vec::new(), shape: String::new() };
    let count = rest.split('/').count();
    for (at, segment) in rest.split('/').enumerate() {
        pattern.push(text, segment, at + 1 == count)?;
    }
    matchit::Router::new()
        .insert(pattern.path.0.as_str(), ())
        .map_err(|error| format!("\"{text}\" is not a path pattern: {error}"))?;
    Ok(pattern)
}

impl Pattern {
    fn push(&mut self, text: &str, segment: &str, last: bool) -> Result<(), Wrong> {
        let parameter = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let (written, shape) = match parameter {
            None => literal(text, segment, last).map(|literal| (literal.clone(), literal))?,
            Some(name) => match name.strip_prefix('*') {
                None => (format!("{{{}}}", self.parameter(name)?), "{}".to_owned()),
                Some(name) if last => {
                    let name = if name.is_empty() { REST } else { name };
                    (format!("{{*{}}}", self.parameter(name)?), "{*}".to_owned())
                }
                Some(_) => {
                    return Err(format!("`{segment}` of \"{text}\" is not its last segment").into());
                }
            },
        };
        self.path.0 += &format!("/{written}");
        self.shape += &format!("/{shape}");
        Ok(())
    }

    fn parameter<'n>(&mut self, name: &'n str) -> Result<&'n str, Wrong> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(good) {
            return Err(format!(
                "`{{{name}}}` is not a parameter: its name takes letters, digits and `_`"
            )
            .into());
        }
        if self.parameters.iter().any(|known| known == name) {
            return Err(format!("the parameter `{{{name}}}` stands twice in one path").into());
        }
        self.parameters.push(name.to_owned());
        Ok(name)
    }
}

/// A segment without parameters, in normal form.
fn literal(text: &str, segment: &str, last: bool) -> Result<String, Wrong> {
    if segment.contains(['{', '}']) {
        return Err(format!(
            "`{segment}` of \"{text}\" mixes text and braces; a parameter is a whole segment"
        )
        .into());
    }
    if segment.is_empty() && !last {
        return Err(format!("\"{text}\" has an empty segment").into());
    }
    let normal = normal(text, segment)?;
    match normal.as_str() {
        "." | ".." => {
            Err(format!("\"{text}\" has a segment `{normal}`, which no request has").into())
        }
        _ => Ok(normal),
    }
}

/// Percent-codes as requests have them after they were made unambiguous.
fn normal(text: &str, segment: &str) -> Result<String, Wrong> {
    let mut normal = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let code = [bytes.next(), bytes.next()];
                let code = code.map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                let [Some(high), Some(low)] = code else {
                    return Err(
                        format!("\"{text}\" has a `%` without two hexadecimal digits").into()
                    );
                };
                let byte =
                    u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte");
                if !is_unreserved(byte) {
                    normal += &format!("%{byte:02X}");
                    continue;
                }
                byte
            }
            b'?' | b'#' => {
                return Err(format!(
                    "\"{text}\" has a `{}`; a pattern is a path only",
                    char::from(byte)
                )
                .into());
            }
            byte => byte,
        };
        match byte {
            byte if is_unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte) => {
                normal.push(char::from(byte));
            }
            byte if byte.is_ascii_graphic() || !byte.is_ascii() => {
                normal += &format!("%{byte:02X}");
            }
            _ => return Err(format!("\"{text}\" has a blank or a control character").into()),
        }
    }
    Ok(normal)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A path without parameters, as the gateway itself sends it.
pub(super) fn plain_path(text: &str) -> Result<String, Wrong> {
    match path(text)? {
        Pattern { path, parameters, .. } if parameters.is_empty() => Ok(path.0),
        _ => Err(format!("\"{text}\" has a parameter, and nothing to put in its place").into()),
    }
}

/// Reads `/test/{type}`, with the parameters that the route's path has.
pub(super) fn rewrite(text: &str, parameters: &[String]) -> Result<Rewrite, Wrong> {
    if !text.starts_with('/') {
        return Err(Wrong::from(format!("\"{text}\" does not start with a slash"))
            .or(Some(format!("/{text}"))));
    }
    stays_in_place(text)?;
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("\"{text}\" has a `{{` without its `}}`").into());
        };
        push_literal(&mut parts, text, before)?;
        parts.push(RewritePart::Parameter(known(name, parameters)?));
        rest = after;
    }
    push_literal(&mut parts, text, rest)?;
    Ok(Rewrite { parts })
}

/// Dot segments would change what was matched, and so would dots before a parameter that is empty or begins with a slash.
fn stays_in_place(text: &str) -> Result<(), Wrong> {
    for segment in text.split('/') {
        let before = segment.split('{').next().unwrap_or_default();
        if matches!(normal(text, before)?.as_str(), "." | "..") {
            return Err(
                format!("\"{text}\" has a segment `{segment}`, which can lead elsewhere").into()
            );
        }
    }
    Ok(())
}

fn push_literal(parts: &mut Vec<RewritePart>, text: &str, piece: &str) -> Result<(), Wrong> {
    if piece.contains('}') {
        return Err(format!("\"{text}\" has a `}}` without its `{{`").into());
    }
    if !piece.is_empty() {
        let segments: Result<Vec<_>, _> =
            piece.split('/').map(|segment| normal(text, segment)).collect();
        parts.push(RewritePart::Literal(segments?.join("/")));
    }
    Ok(())
}

pub(super) fn known(written: &str, parameters: &[String]) -> Result<String, Wrong> {
    let name = match written.strip_prefix('*') {
        Some("") => REST,
        Some(name) => name,
        None => written,
    };
    if parameters.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let wrong = Wrong::from(match parameters {
        [] => format!("the path has no parameter `{{{written}}}`, it has none at all"),
        _ => format!("the path has no parameter `{{{written}}}`"),
    });
    let meant = nearest(name, parameters.iter().map(String::as_str));
    Err(wrong.or(meant.map(|name| format!("{{{name}}}"))))
}

/// Reads `shop.example.com` or `*.example.com`.
pub(super) fn host(text: &str) -> Result<HostPattern, Wrong> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let (suffix, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, lower),
    };
    if name.contains(':') && !name.starts_with('[') {
        let host = text.split(':').next().map(str::to_owned);
        let wrong = Wrong::from(format!("\"{text}\" has a port; a route's host is a name only"));
        return Err(wrong.or(host.filter(|host| !host.is_empty())));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let literal = name.starts_with('[') && name.ends_with(']') && !suffix;
    if !literal && !name.split('.').all(label) {
        return Err(
            format!("\"{text}\" is not a host such as shop.example.com or *.example.com").into()
        );
    }
    Ok(match suffix {
        true => HostPattern::Suffix(format!(".{name}")),
        false => HostPattern::Exact(name.to_owned()),
    })
}

/// A host without a star, as a `Host` header names it.
pub(super) fn exact_host(text: &str) -> Result<String, Wrong> {
    match host(text)? {
        HostPattern::Exact(name) => Ok(name),
        HostPattern::Suffix(_) => {
            Err(format!("\"{text}\" has a star; here each name is written out").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        path(text).unwrap().path.0
    }

    #[test]
    fn a_path_may_have_parameters_and_a_rest() {
        let pattern = path("/api/{version}/files/{*file}").unwrap();

        assert_eq!(pattern.path.0, "/api/{version}/files/{*file}");
        assert_eq!(pattern.parameters, ["version", "file"]);
        assert_eq!(pattern.shape, "/api/{}/files/{*}");
    }

    #[test]
    fn a_bare_rest_is_called_rest() {
        assert_eq!(normalised("/{*}"), "/{*rest}");
    }

    #[test]
    fn a_path_is_brought_to_the_form_that_requests_have() {
        assert_eq!(normalised("/%7euser/a%2fb/caf\u{e9}"), "/~user/a%2Fb/caf%C3%A9");
        assert_eq!(normalised("/"), "/");
        assert_eq!(normalised("/a/"), "/a/");
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for text in ["", "a", "//a", "/a//b", "/a/../b", "/%2e%2E", "/a b", "/a?b", "/a#b", "/%zz"]
        {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_a_whole_segment_with_a_name_of_its_own() {
        for text in ["/{}", "/{a", "/a}", "/x{a}", "/{a}/{a}", "/{*a}/b", "/{a-b}", "/{*}/{rest}"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rewrite_is_literals_and_parameters() {
        let parameters = ["type".to_owned(), "rest".to_owned()];

        assert_eq!(
            rewrite("/test/{type}/{*}", &parameters).unwrap().parts,
            [
                RewritePart::Literal("/test/".to_owned()),
                RewritePart::Parameter("type".to_owned()),
                RewritePart::Literal("/".to_owned()),
                RewritePart::Parameter("rest".to_owned()),
            ]
        );
    }

    #[test]
    fn a_rewrite_takes_only_parameters_that_the_path_has() {
        let wrong = rewrite("/test/{tpye}", &["type".to_owned()]).unwrap_err();

        assert_eq!(wrong.suggestion.as_deref(), Some("{type}"));
    }

    #[test]
    fn a_rewrite_with_unpaired_braces_is_refused() {
        assert!(rewrite("/a/{b", &["b".to_owned()]).is_err());
        assert!(rewrite("/a/b}", &["b".to_owned()]).is_err());
    }

    #[test]
    fn a_rewrite_never_leaves_the_segment_that_it_is_written_in() {
        let parameters = ["a".to_owned()];
        for text in ["/..", "/x/../{a}", "/%2e%2E/{a}", "/.{a}", "/..{a}/x", "/."] {
            assert!(rewrite(text, &parameters).is_err(), "{text}");
        }
        for text in ["/.well-known/{a}", "/v{a}/...", "/{a}.json"] {
            assert!(rewrite(text, &parameters).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_host_is_lower_case_and_may_stand_for_all_below_it() {
        assert_eq!(
            host("Shop.Example.com.").unwrap(),
            HostPattern::Exact("shop.example.com".into())
        );
        assert_eq!(host("*.example.com").unwrap(), HostPattern::Suffix(".example.com".into()));
        assert_eq!(host("[::1]").unwrap(), HostPattern::Exact("[::1]".into()));
    }

    #[test]
    fn a_host_with_a_port_or_a_star_elsewhere_is_refused() {
        for text in ["", "a:80", "a.*.com", "*", "a..b", "http://a"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
