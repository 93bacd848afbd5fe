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

/// Whether a word stands by itself, not as a part of a longer one (`unsafe_code`, `unsafe-inline`).
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let ends = |at: usize| !line[at + word.len()..].starts_with(is_inside_a_word);
    starts_of(line, word).any(ends)
}

/// Whether something of this crate is named: `toml::from_str`, but not `config.toml`.
pub(super) fn names_crate(line: &str, name: &str) -> bool {
    starts_of(line, name).any(|at| line[at + name.len()..].starts_with("::"))
}

fn starts_of(line: &str, word: &str) -> impl Iterator<Item = usize> {
    line.match_indices(word).map(|(at, _)| at).filter(|at| !line[..*at].ends_with(is_inside_a_word))
}

fn is_inside_a_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '-'
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
        assert!(!has_word("'unsafe-inline'", "unsafe"));
        assert!(names_crate("toml::from_str", "toml"));
        assert!(!names_crate("read config.toml, my_toml::x", "toml"));
    }
}
