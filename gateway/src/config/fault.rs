//! What is wrong with a configuration, and where.
//!
//! A fault is one sentence for a person, at one place of one file, with the likeliest meaning beside it when there is one.
//! Nothing stops at the first: whoever finds one reports it to `Faults` and goes on with what is left.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::config::Place;

/// One thing that is wrong, at its place. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// The faults as the command line prints them: one line each, in the order given.
pub fn render_faults(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

/// What a single value has wrong, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Wrong {
    /// A suggestion, when there is one.
    pub(super) fn or(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

impl<T: Into<String>> From<T> for Wrong {
    fn from(message: T) -> Self {
        Self { message: message.into(), suggestion: None }
    }
}

/// The faults found so far in one file, by byte offset.
pub(super) struct Faults<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    found: Vec<(usize, Wrong)>,
}

impl<'t> Faults<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        Self { file: file.into(), text, line_starts, found: Vec::new() }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn report(&mut self, offset: usize, wrong: impl Into<Wrong>) {
        self.found.push((offset, wrong.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether something was reported within `span`.
    pub(super) fn any_in(&self, span: &Range<usize>) -> bool {
        self.found.iter().any(|(offset, _)| span.contains(offset))
    }

    /// Line and column of a byte of the text; past its end counts as its end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let column = self.text[self.line_starts[line - 1]..offset].chars().count() + 1;
        Place { file: Arc::clone(&self.file), line, column }
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(offset, _)| *offset);
        found.into_iter().map(|(offset, wrong)| self.fault(offset, wrong)).collect()
    }

    fn fault(&self, offset: usize, wrong: Wrong) -> Fault {
        let Place { file, line, column } = self.place(offset);
        Fault { file, line, column, message: wrong.message, suggestion: wrong.suggestion }
    }
}

/// The candidate that `word` was probably meant to be.
///
/// Two measures, because people err in two ways: they slip (few edits), or they know how a word starts and not how it
/// ends (`idle_timeout` for `idle_timeout_seconds`).
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (likeness(&word, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > 0.0)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate.to_owned())
}

/// 0 when two words are unlike, else up to 1.
fn likeness(word: &str, candidate: &str) -> f64 {
    let edits = strsim::osa_distance(word, candidate);
    let length = word.chars().count().max(candidate.chars().count());
    let slip = edits <= (length / 3).max(1);
    let stem = word.chars().count() > 3
        && (candidate.starts_with(word) || strsim::jaro_winkler(word, candidate) > 0.9);
    if slip || stem { strsim::jaro_winkler(word, candidate) } else { 0.0 }
}

/// `a`, `a or b`, `a, b or c`: for sentences.
pub(super) fn listed(words: &[String], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_place_sentence_and_suggestion() {
        let mut faults = Faults::new("a.toml", "x = 1\nyy = 2\n");
        faults.report(6, Wrong::from("unknown key `yy`").or(Some("y")));
        faults.report(0, "unknown key `x`");

        assert_eq!(
            render_faults(&faults.into_sorted()),
            "a.toml:1:1: unknown key `x`\na.toml:2:1: unknown key `yy`; did you mean `y`?\n"
        );
    }

    #[test]
    fn a_column_counts_characters_and_not_bytes() {
        let faults = Faults::new("a.toml", "é = 'ü', b");

        assert_eq!(faults.place("é = 'ü', ".len()).column, 10);
    }

    #[test]
    fn an_offset_past_the_end_is_the_end() {
        let faults = Faults::new("a.toml", "a\nb");

        assert_eq!((faults.place(99).line, faults.place(99).column), (2, 2));
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["connections_max", "listen", "workers"];

        assert_eq!(nearest("conections_max", known).as_deref(), Some("connections_max"));
        assert_eq!(nearest("lisetn", known).as_deref(), Some("listen"));
    }

    #[test]
    fn a_forgotten_or_wrong_unit_is_recognised() {
        let known = ["idle_timeout_seconds", "listen"];

        assert_eq!(nearest("idle_timeout", known).as_deref(), Some("idle_timeout_seconds"));
        assert_eq!(nearest("idle-timeout-ms", known).as_deref(), Some("idle_timeout_seconds"));
    }

    #[test]
    fn an_unlike_word_suggests_nothing() {
        assert_eq!(nearest("banana", ["listen", "workers", "kind"]), None);
    }
}
