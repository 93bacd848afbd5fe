//! Names: what a feature, a flag, an upstream or a route may be called.
//!
//! Names travel in paths of the admin API, in headers and in metric labels, so one narrow alphabet serves all of them.

use crate::config::fault::Wrong;

const LENGTH_MAX: usize = 63;

/// Words that are paths of the admin API beside the flags' own.
const RESERVED: [&str; 8] =
    ["admin", "api", "docs", "evaluate", "flags", "health", "metrics", "ofrep"];

/// The name of a feature, an upstream, a breaker profile or a route: `^[a-z0-9][a-z0-9_.-]{0,62}$`.
pub(super) fn plain(what: &str, text: &str) -> Result<(), Wrong> {
    if is_plain(text) {
        return Ok(());
    }
    let wrong = Wrong::from(format!(
        "\"{text}\" can't name {what}: it takes lower-case letters, digits, `_`, `.` and `-`, starts with a letter or \
         a digit, and is at most {LENGTH_MAX} long"
    ));
    Err(wrong.or(tidied(text)))
}

/// The key of a flag: a plain name that the admin API does not need for itself.
pub(super) fn flag(text: &str) -> Result<(), Wrong> {
    if RESERVED.contains(&text) {
        return Err(format!("\"{text}\" is a reserved word and can't be the key of a flag").into());
    }
    plain("a flag", text)
}

/// The name that a breaker shows: as a plain name, but capitals are welcome.
pub(super) fn breaker(text: &str) -> Result<(), Wrong> {
    if is_plain(&text.to_ascii_lowercase()) {
        return Ok(());
    }
    let wrong = Wrong::from(format!(
        "\"{text}\" can't name a breaker: it takes letters, digits, `_`, `.` and `-`, starts with a letter or a digit, \
         and is at most {LENGTH_MAX} long"
    ));
    Err(wrong)
}

fn is_plain(text: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
    };
    text.len() <= LENGTH_MAX
        && text.bytes().all(inner)
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
}

/// The nearest good name, when a few replacements make one.
fn tidied(text: &str) -> Option<String> {
    let tidy = text.trim().to_lowercase().replace([' ', '/', ':'], "_");
    is_plain(&tidy).then_some(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_narrow_alphabet() {
        for good in ["a", "order_creation", "new-checkout", "v1.2", "9lives", &"a".repeat(63)] {
            assert!(plain("a feature", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a b", "A", "route:a", "é", &"a".repeat(64)] {
            assert!(plain("a feature", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_with_capitals_and_blanks_suggests_a_tidy_one() {
        let wrong = plain("a feature", "Order Creation").unwrap_err();

        assert_eq!(wrong.suggestion.as_deref(), Some("order_creation"));
    }

    #[test]
    fn a_flag_cannot_take_a_path_of_the_admin_api() {
        assert!(flag("health").is_err());
        assert!(flag("healthy").is_ok());
    }

    #[test]
    fn a_breaker_may_have_capitals() {
        assert!(breaker("ControlAPI").is_ok());
        assert!(breaker("Control API").is_err());
    }
}
