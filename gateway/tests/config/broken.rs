//! Each file of `config/broken` is answered with exactly the words beside it. `UPDATE=1` writes them anew; read the
//! difference before you keep it.

use std::ffi::OsStr;

use portcullis_gateway::config::render_faults;

use super::{folder, parse_named, text, update};

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder().join("broken")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let broken = paths.filter(|path| path.extension() == Some(OsStr::new("toml")));
    let mut names: Vec<_> =
        broken.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn each_broken_file_gives_exactly_its_expected_message() {
    let mut unexpected = Vec::new();
    for name in names() {
        let file = format!("broken/{name}.toml");
        let faults = parse_named(&file, &text(&file)).expect_err(&file);
        let rendered = render_faults(&faults);
        let expected = folder().join(format!("broken/{name}.expected"));
        if update() {
            std::fs::write(&expected, &rendered).unwrap();
        } else if rendered != std::fs::read_to_string(&expected).unwrap_or_default() {
            unexpected.push(format!("{}:\n{rendered}", expected.display()));
        }
    }

    assert!(unexpected.is_empty(), "not as expected:\n{}", unexpected.join("\n"));
}

#[test]
fn every_expected_message_belongs_to_a_broken_file() {
    let names = names();
    let entries = std::fs::read_dir(folder().join("broken")).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(names.iter().any(|name| name == stem), "{} answers to nothing", path.display());
    }
}

#[test]
fn the_corpus_covers_the_ways_to_be_wrong() {
    assert!(names().len() >= 25, "only {} broken files", names().len());
}
