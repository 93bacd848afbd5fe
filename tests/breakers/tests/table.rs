//! The page of the documentation that tells how ours and its peers fare says what is true.

use portcullis_breakers::table::{names, page};

const PAGE: &str = include_str!("../../../docs/breakers.md");

/// The verdicts on a vector as they stand in the documentation.
fn documented(group: &str, name: &str) -> Option<Vec<&'static str>> {
    let begin = format!("| {group}: {name} | ");
    let row = PAGE.lines().find_map(|line| line.strip_prefix(&begin))?;
    Some(row.trim_end_matches(" |").split(" | ").collect())
}

#[test]
fn the_documentation_has_every_vector_and_ours_passes_them_all() {
    let names = names();
    for (group, name) in &names {
        let verdicts =
            documented(group, name).unwrap_or_else(|| panic!("{group}: {name} is missing"));
        assert_eq!((verdicts.len(), verdicts[0]), (4, "yes"), "{group}: {name}");
    }
    let rows = PAGE.lines().filter(|line| line.starts_with("| ") && line.contains(": ")).count();
    assert_eq!(rows, names.len(), "no vector is documented that there isn't");
}

/// The peers read the clock of the machine, so this takes a minute.
#[test]
fn the_documentation_says_what_comes_of_it() {
    if std::env::var_os("PORTCULLIS_FULL").is_some() {
        assert_eq!(
            page(),
            PAGE,
            "print it again: cargo run -p portcullis-breakers > docs/breakers.md"
        );
    }
}
