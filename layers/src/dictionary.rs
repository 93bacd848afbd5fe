//! RFC 9651 dictionaries: the form in which upstreams are told of flags and killswitches.
//!
//! Only what our own headers need is written here: keys and booleans. Keys are checked once, when a layer is built, so that
//! nothing on the path of a request can fail.

use std::borrow::Cow;

/// A name as a dictionary key: itself, or with a `*` before it where it starts with a digit. `None` if it can't be one.
///
/// Keys consist of `a` to `z`, digits, `_`, `-`, `.` and `*`. A name that begins with `*` itself is refused, so that no two
/// names share a key.
///
/// ```
/// use portcullis::dictionary::key;
///
/// assert_eq!(key("new-checkout").as_deref(), Some("new-checkout"));
/// assert_eq!(key("2fa").as_deref(), Some("*2fa"));
/// assert_eq!(key("Checkout"), None);
/// ```
pub fn key(name: &str) -> Option<Cow<'_, str>> {
    let may_follow = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*');
    if !name.bytes().all(may_follow) {
        return None;
    }
    match name.bytes().next()? {
        b'a'..=b'z' => Some(Cow::Borrowed(name)),
        b'0'..=b'9' => Some(Cow::Owned(format!("*{name}"))),
        _ => None,
    }
}

/// Adds a member to a dictionary under way.
pub(crate) fn push(dictionary: &mut String, member: &str) {
    if !dictionary.is_empty() {
        dictionary.push_str(", ");
    }
    dictionary.push_str(member);
}

/// The key of a name that a layer is built with.
pub(crate) fn key_or_panic(name: &str) -> String {
    match key(name) {
        Some(key) => key.into_owned(),
        None => panic!(
            "{name:?} can't travel in a header: an RFC 9651 key has only a-z, 0-9, _, -, . and *"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_key_has_none() {
        for name in ["", "Orders", "route:orders", "-x", "_x", ".x", "*2fa", "a b", "a\r\nb", "ä"]
        {
            assert_eq!(key(name), None, "{name:?}");
        }
    }
}
