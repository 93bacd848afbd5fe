//! Imports go down. `data/arrows.txt` lists the modules of each crate from top to bottom with what each may import; what is
//! not listed is not allowed, and a new module has to be given its place there first.

use super::rust;
use crate::check::{Fault, conclude, rows};
use crate::scene::{Scene, Text};
use crate::step::End;
use std::collections::BTreeSet;
use std::time::Duration;

const ARROWS: &str = include_str!("../../data/arrows.txt");

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let texts: Vec<Text> =
        scene.texts().into_iter().filter(|text| text.path.ends_with(".rs")).collect();
    let modules = modules();
    let faults: Vec<Fault> = texts.iter().flat_map(|text| faults(text, &modules)).collect();
    conclude(&format!("{} Rust files, {} modules", texts.len(), modules.len()), &faults)
}

struct Module {
    /// Where the crate's source lies.
    source: &'static str,
    name: &'static str,
    may_import: BTreeSet<&'static str>,
    /// Crates that its source may not name.
    never: BTreeSet<&'static str>,
}

fn modules() -> Vec<Module> {
    rows(ARROWS).iter().filter_map(|row| module(row)).collect()
}

fn module(row: &[&'static str]) -> Option<Module> {
    let [source, name, may_import, never] = *row else { return None };
    Some(Module {
        source,
        name,
        may_import: may_import.split_whitespace().collect(),
        never: never.split_whitespace().collect(),
    })
}

fn faults(text: &Text, modules: &[Module]) -> Vec<Fault> {
    let Some((source, name)) = place(&text.path, modules) else { return Vec::new() };
    let Some(module) = modules.iter().find(|module| module.source == source && module.name == name)
    else {
        return vec![format!(
            "{}: the module {name} has no line in tests/ci/data/arrows.txt",
            text.path
        )];
    };
    let code: Vec<(usize, &str)> = rust::code(&text.text).collect();
    let upward = imports(&code)
        .into_iter()
        .filter(|(_, imported)| imported != name && !module.may_import.contains(imported.as_str()));
    let upward = upward.map(|(number, imported)| {
        format!("{}:{number}: {name} may not import {imported}", text.path)
    });
    let foreign = code.iter().flat_map(|(number, line)| {
        module
            .never
            .iter()
            .filter(|never| rust::names_crate(line, never))
            .map(move |never| (number, never))
    });
    let foreign = foreign
        .map(|(number, never)| format!("{}:{number}: {name} may not know {never}", text.path));
    upward.chain(foreign).collect()
}

/// The source folder and the module at the top of its crate that a file belongs to; the crate's root is called `lib`.
fn place<'a>(path: &'a str, modules: &[Module]) -> Option<(&'static str, &'a str)> {
    let source = modules
        .iter()
        .map(|module| module.source)
        .find(|source| path.starts_with(&format!("{source}/")))?;
    let within = path[source.len() + 1..].trim_end_matches(".rs");
    Some((source, within.split('/').next().unwrap_or(within)))
}

/// The modules that a file names behind `crate::`, with the line of each; groups in braces may span lines.
fn imports(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, (number, line)) in code.iter().enumerate() {
        for (at, _) in line.match_indices("crate::").filter(|(at, _)| {
            !line[..*at]
                .ends_with(|sign: char| sign.is_alphanumeric() || sign == '_' || sign == '$')
        }) {
            let rest = &line[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(
                    heads(group, &code[index + 1..]).into_iter().map(|head| (*number, head)),
                ),
                None => found.push((*number, identifier(rest))),
            }
        }
    }
    // What starts with a capital or ends in `!` is an item of the crate's root, not a module.
    found.retain(|(_, name)| name.starts_with(|sign: char| sign.is_lowercase()));
    found
}

/// The first segment of each path in `{a::b, c::{d, e}}`, read up to the closing brace.
fn heads(first_line: &str, more: &[(usize, &str)]) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut expects_head) = (1, true);
    for line in std::iter::once(first_line).chain(more.iter().map(|(_, line)| *line)) {
        for (at, sign) in line.char_indices() {
            match sign {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expects_head = true,
                _ if depth == 1 && expects_head && !sign.is_whitespace() => {
                    heads.push(identifier(&line[at..]));
                    expects_head = false;
                }
                _ => {}
            }
            if depth == 0 {
                return heads;
            }
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Module> {
        let data = "g/src | main | server router | \n g/src | router | server | \n g/src | server | | toml";
        rows(data).iter().filter_map(|row| module(row)).collect()
    }

    fn found(path: &str, text: &str) -> Vec<Fault> {
        faults(&Text { path: path.into(), text: text.into() }, &sample())
    }

    #[test]
    fn an_arrow_that_goes_up_is_a_fault() {
        assert_eq!(
            found("g/src/server/drain.rs", "use crate::router::Router;"),
            ["g/src/server/drain.rs:1: server may not import router"]
        );
        assert_eq!(found("g/src/server.rs", "fn f() -> crate::router::Router {}").len(), 1);
        assert_eq!(
            found("g/src/server.rs", "use crate::{\n    server::a,\n    router::{b, c},\n};").len(),
            1
        );
    }

    #[test]
    fn arrows_that_go_down_and_inside_a_module_are_fine() {
        assert!(
            found(
                "g/src/router.rs",
                "use crate::server::{drain, accept};\nuse crate::router::Table;\n// crate::main\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn what_a_module_may_not_know_and_a_module_without_a_line_are_faults() {
        assert_eq!(
            found("g/src/server.rs", "let a = toml::from_str(b);"),
            ["g/src/server.rs:1: server may not know toml"]
        );
        assert_eq!(found("g/src/other.rs", "").len(), 1);
    }

    #[test]
    fn every_row_of_the_list_is_complete_and_names_only_what_stands_below_it() {
        let all = modules();
        assert_eq!(all.len(), rows(ARROWS).len());
        for (index, module) in all.iter().enumerate() {
            let below: BTreeSet<&str> = all[index + 1..]
                .iter()
                .filter(|other| other.source == module.source)
                .map(|other| other.name)
                .collect();
            let strays: Vec<_> = module.may_import.difference(&below).collect();
            assert!(
                strays.is_empty(),
                "{} names {strays:?}, which do not stand below it",
                module.name
            );
        }
    }
}
