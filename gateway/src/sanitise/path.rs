//! The one path rule.
//!
//! A path is normalised once: escapes of unreserved characters are decoded (never twice), other escapes get upper-case
//! digits, dot segments are removed, and what could be read in two ways is refused. The result is what the router matches
//! *and* what the upstream receives. The query is never touched.
//!
//! Most paths are normal already; [`normalise`] then says so after one pass over the bytes and allocates nothing.

use crate::{
    config::config::{DoubleSlash, EncodedSlash},
    limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX},
};

/// What to do where servers differ.
#[derive(Debug, Clone, Copy)]
pub struct PathRules {
    /// `//`
    pub double_slash: DoubleSlash,
    /// `%2F`
    pub encoded_slash: EncodedSlash,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    /// More bytes or segments than the limits allow.
    TooLong,
    /// It can be read in two ways, or contains what no path contains.
    Ambiguous(&'static str),
}

/// The path in its normal form; `None` when it is normal already.
///
/// # Errors
/// A path that is too long, or that servers could read differently.
pub fn normalise(path: &str, rules: PathRules) -> Result<Option<String>, PathFault> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathFault::TooLong);
    }
    if is_normal(path.as_bytes()) {
        return Ok(None);
    }
    let normal = join(segments(&decode(path.as_bytes(), rules)?, rules)?);
    Ok((normal != path).then_some(normal))
}

/// Plain segments, none of which starts with a dot or is empty. Cheap and conservative: a `false` only costs the slow way.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    let mut slashes = 0_usize;
    for &byte in path {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.' | b'/');
        if !plain || previous == b'/' && matches!(byte, b'/' | b'.') {
            return false;
        }
        slashes += usize::from(byte == b'/');
        previous = byte;
    }
    path.first() == Some(&b'/') && slashes <= PATH_SEGMENTS_MAX
}

/// Decodes what is unreserved, canonicalises the other escapes, refuses what no path contains.
fn decode(path: &[u8], rules: PathRules) -> Result<Vec<u8>, PathFault> {
    let mut out = Vec::with_capacity(path.len());
    let mut escaped = Vec::new();
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (value, tail) = escape(rest)?;
                rest = tail;
                escaped.push(value);
                push_escaped(&mut out, value, rules)?;
            }
            b'\\' => return Err(PathFault::Ambiguous("a backslash in the path")),
            b'#' => return Err(PathFault::Ambiguous("a fragment in the target")),
            0x21..=0x7e => {
                whole_characters(&mut escaped)?;
                out.push(byte);
            }
            _ => return Err(PathFault::Ambiguous("a raw control or non-ASCII byte in the path")),
        }
    }
    whole_characters(&mut escaped)?;
    Ok(out)
}

fn escape(rest: &[u8]) -> Result<(u8, &[u8]), PathFault> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match rest {
        [high, low, tail @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Ok(((high * 16 + low) as u8, tail)),
            _ => Err(PathFault::Ambiguous("a broken percent-escape")),
        },
        _ => Err(PathFault::Ambiguous("a broken percent-escape")),
    }
}

fn push_escaped(out: &mut Vec<u8>, value: u8, rules: PathRules) -> Result<(), PathFault> {
    match value {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(value);
            return Ok(());
        }
        b'/' if rules.encoded_slash == EncodedSlash::Reject => {
            return Err(PathFault::Ambiguous("an escaped slash in the path"));
        }
        b'\\' => return Err(PathFault::Ambiguous("an escaped backslash in the path")),
        0..=0x1f | 0x7f => return Err(PathFault::Ambiguous("an escaped control byte in the path")),
        _ => {}
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(value >> 4)], HEX[usize::from(value & 15)]]);
    Ok(())
}

/// A run of escapes has to be whole UTF-8 characters; this is what overlong forms fail at.
fn whole_characters(escaped: &mut Vec<u8>) -> Result<(), PathFault> {
    let whole = std::str::from_utf8(escaped).is_ok();
    escaped.clear();
    if whole { Ok(()) } else { Err(PathFault::Ambiguous("escapes that are not UTF-8")) }
}

fn segments(path: &[u8], rules: PathRules) -> Result<Vec<&[u8]>, PathFault> {
    let Some((b'/', rest)) = path.split_first() else {
        return Err(PathFault::Ambiguous("a path that doesn't start with a slash"));
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut parts = rest.split(|&byte| byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        // A parameter (`..;x`) hides a dot segment from whoever compares too literally.
        match part.split(|&byte| byte == b';').next().unwrap_or_default() {
            b"." if last => kept.push(b""),
            b"." => {}
            b".." => {
                if kept.pop().is_none() {
                    return Err(PathFault::Ambiguous("a path that leaves its root"));
                }
                if last {
                    kept.push(b"");
                }
            }
            _ if part.is_empty() && !last => match rules.double_slash {
                DoubleSlash::Merge => {}
                DoubleSlash::Keep => kept.push(part),
                DoubleSlash::Reject => {
                    return Err(PathFault::Ambiguous("an empty segment in the path"));
                }
            },
            _ => kept.push(part),
        }
        if kept.len() > PATH_SEGMENTS_MAX {
            return Err(PathFault::TooLong);
        }
    }
    Ok(kept)
}

fn join(segments: Vec<&[u8]>) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.push_str(std::str::from_utf8(segment).expect("decode leaves only ASCII"));
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: PathRules =
        PathRules { double_slash: DoubleSlash::Merge, encoded_slash: EncodedSlash::Reject };

    fn normal(path: &str) -> String {
        normalise(path, RULES).unwrap().unwrap_or_else(|| path.to_owned())
    }

    #[test]
    fn dot_segments_double_slashes_and_needless_escapes_go() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..;x=1/b", "/b"),
            ("//a///b", "/a/b"),
            ("/%61%2Db", "/a-b"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "/..", "/a/../..", "/%2e%2e/", "/a%2fb", "/a\\b", "/a%5cb", "/a%00", "/a%0d", "/%",
            "/%g1", "/%c0%ae", "/a#b", "a", "",
        ] {
            assert!(normalise(path, RULES).is_err(), "{path}");
        }
    }

    #[test]
    fn the_listener_decides_on_double_and_escaped_slashes() {
        let reject = PathRules { double_slash: DoubleSlash::Reject, ..RULES };
        assert!(normalise("/a//b", reject).is_err());
        let keep = PathRules { double_slash: DoubleSlash::Keep, encoded_slash: EncodedSlash::Keep };
        assert_eq!(normalise("/a//b", keep), Ok(None));
        assert_eq!(normalise("/a%2fb", keep), Ok(Some("/a%2Fb".to_owned())));
    }

    #[test]
    fn a_path_over_its_limits_is_too_long() {
        assert_eq!(normalise(&"/a".repeat(PATH_SEGMENTS_MAX + 1), RULES), Err(PathFault::TooLong));
        assert_eq!(
            normalise(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), RULES),
            Err(PathFault::TooLong)
        );
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/[a-c./%25-f;~]{0,24}") {
            if let Ok(once) = normalise(&path, RULES) {
                let once = once.unwrap_or(path);
                prop_assert_eq!(normalise(&once, RULES), Ok(None));
            }
        }

        #[test]
        fn no_dot_segment_survives(path in "/[ab./%2eE;]{0,24}") {
            if let Ok(normal) = normalise(&path, RULES) {
                let normal = normal.unwrap_or(path);
                prop_assert!(normal.split('/').all(|s| !matches!(s.split(';').next(), Some("." | ".."))), "{}", normal);
            }
        }
    }
}
