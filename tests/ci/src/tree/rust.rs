//! As much of Rust's grammar as these checks need: which lines are code, and which belong to unit tests.

/// The code of a file with its line numbers: without comments, and without the unit tests at its end.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    without_tests(text).map(|(number, line)| (number, uncommented(line)))
}

/// The lines up to `#[cfg(test)] mod …`, which by our habit ends a file.
pub(super) fn without_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_start = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{')
    };
    let end = lines.windows(2).position(is_start).unwrap_or(lines.len());
    lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
}

/// Cuts from `//`, unless it stands behind a colon: then it is an address inside a text.
fn uncommented(line: &str) -> &str {
    let start = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    start.map_or(line, |(at, _)| &line[..at])
}

/// Where a word stands by itself, neither part of a longer one nor of a path.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inside =
        |sign: Option<char>| sign.is_some_and(|sign| sign.is_alphanumeric() || sign == '_');
    line.match_indices(word).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_unit_tests_are_not_code() {
        let text = "//! head\nlet a = \"http://x\"; // why\n#[cfg(test)]\nfn only_for_tests() {}\n#[cfg(test)]\nmod tests {\n    bad\n}\n";
        let lines: Vec<_> = code(text).map(|(_, line)| line.trim_end()).collect();
        assert_eq!(lines, ["", "let a = \"http://x\";", "#[cfg(test)]", "fn only_for_tests() {}"]);
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        assert!(has_word("an unsafe {", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }
}
