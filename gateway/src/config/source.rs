//! From a file to a tree of values that still knows where each of them stands.
//!
//! `${NAME}` and `${NAME:-default}` work in every string (not in keys, nor in numbers), and the default is used for an
//! empty variable too, as in a shell. `$${` is a plain `${`. A name that is not set and has no default is a fault: a
//! gateway that starts with an empty address in place of the one it was promised is worse than one that does not start.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Wrong};

/// Where variables come from; an argument, so that tests need not touch the process.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The text of a file, or the one fault that keeps it from being read.
pub(super) fn read(path: &Path) -> Result<String, Vec<Fault>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| unreadable(&name, "", 0, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        unreadable(&name, &text, valid, &"what follows is not UTF-8")
    })
}

fn unreadable(name: &str, text: &str, offset: usize, why: &dyn std::fmt::Display) -> Vec<Fault> {
    let mut faults = Faults::new(name, text);
    faults.report(offset, format!("can't be read: {why}"));
    faults.into_sorted()
}

/// The tree of a text, or `None` when it is not TOML; then every broken line is reported, and nothing else, because what
/// comes after a broken line may not mean what it seems to.
pub(super) fn parse<'t>(faults: &mut Faults<'t>) -> Option<Spanned<DeTable<'t>>> {
    let (root, errors) = DeTable::parse_recoverable(faults.text());
    let mut lines = Vec::new();
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        // One broken line can upset the parser several times; the first is the one that tells.
        let line = faults.place(offset).line;
        if !lines.contains(&line) {
            lines.push(line);
            faults.report(offset, format!("not valid TOML: {}", error.message()));
        }
    }
    errors.is_empty().then_some(root)
}

/// Puts the environment into every string below `root`.
pub(super) fn expand(
    root: &mut Spanned<DeTable<'_>>,
    environment: Environment<'_>,
    faults: &mut Faults<'_>,
) {
    for (_, value) in root.get_mut().iter_mut() {
        expand_value(value, environment, faults);
    }
}

fn expand_value(
    value: &mut Spanned<DeValue<'_>>,
    environment: Environment<'_>,
    faults: &mut Faults<'_>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            match expand_text(text, environment) {
                Ok(expanded) => *text = expanded.into(),
                Err(Unexpandable { piece, wrong }) => {
                    let written = &faults.text()[span.clone()];
                    let within = written.find(&piece).unwrap_or(0);
                    faults.report(span.start + within, wrong);
                }
            };
        }
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                expand_value(value, environment, faults);
            }
        }
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                expand_value(value, environment, faults);
            }
        }
        _ => {}
    }
}

/// A reference that stands for nothing, as it is written.
#[derive(Debug)]
struct Unexpandable {
    piece: String,
    wrong: Wrong,
}

fn expand_text(text: &str, environment: Environment<'_>) -> Result<String, Unexpandable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &reference[2..];
            continue;
        }
        expanded.push_str(before);
        let Some((body, after)) = reference[2..].split_once('}') else {
            return Err(Unexpandable {
                piece: reference.to_owned(),
                wrong: "`${` without its `}`; a plain `${` is written `$${`".into(),
            });
        };
        expanded.push_str(&variable(body, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn variable(body: &str, environment: Environment<'_>) -> Result<String, Unexpandable> {
    let unexpandable =
        |wrong: String| Unexpandable { piece: format!("${{{body}}}"), wrong: wrong.into() };
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    if !is_name(name) {
        return Err(unexpandable(format!("`{name}` is not the name of an environment variable")));
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(unexpandable(format!(
            "the environment has no `{name}`; `${{{name}:-value}}` gives a default"
        ))),
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> String {
        expand_text(text, &environment).unwrap()
    }

    #[test]
    fn a_variable_takes_the_place_of_its_reference() {
        assert_eq!(expanded("http://${HOST}:80/${HOST}"), "http://10.0.0.1:80/10.0.0.1");
    }

    #[test]
    fn a_default_stands_in_for_an_unset_and_for_an_empty_variable() {
        assert_eq!(expanded("${UNSET:-a}${EMPTY:-b}${HOST:-c}"), "ab10.0.0.1");
    }

    #[test]
    fn an_empty_variable_without_a_default_is_empty() {
        assert_eq!(expanded("<${EMPTY}>"), "<>");
    }

    #[test]
    fn a_doubled_dollar_keeps_the_reference_as_it_is() {
        assert_eq!(expanded("$${HOST} costs $5"), "${HOST} costs $5");
    }

    #[test]
    fn an_unset_variable_is_a_fault_where_it_is_written() {
        let text = "a = 'x'\nb = ['y', 'http://${UNSET}']\n";
        let mut faults = Faults::new("a.toml", text);
        let mut root = parse(&mut faults).unwrap();
        expand(&mut root, &environment, &mut faults);

        assert_eq!(
            faults.into_sorted()[0].to_string(),
            "a.toml:2:19: the environment has no `UNSET`; `${UNSET:-value}` gives a default"
        );
    }

    #[test]
    fn every_broken_line_is_reported_once() {
        let mut faults = Faults::new("a.toml", "a == 1\nb = 2\nc = \nd = 'x\n");

        assert!(parse(&mut faults).is_none());
        let lines: Vec<_> = faults.into_sorted().iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn a_file_that_is_not_utf_8_says_where() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, b"a = 1\nb = '\xff'\n").unwrap();

        let faults = read(&path).unwrap_err();
        assert_eq!((faults[0].line, faults[0].column), (2, 6));
    }
}
