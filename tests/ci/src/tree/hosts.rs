//! Every `http(s)://` address in our text leads to a host that `data/hosts.txt` lists. This keeps out the mirror or the
//! package host of whoever wrote the line, and it keeps the answer short to "whom does this talk to?".

use crate::check::{Fault, conclude, rows};
use crate::scene::{Scene, Text};
use crate::step::End;
use std::time::Duration;

const HOSTS: &str = include_str!("../../data/hosts.txt");

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let texts = scene.texts();
    let faults: Vec<Fault> =
        texts.iter().filter(|text| text.path != "Cargo.lock").flat_map(faults).collect();
    conclude(&format!("{} files", texts.len()), &faults)
}

fn faults(text: &Text) -> Vec<Fault> {
    let lines = text.text.lines().enumerate();
    lines
        .flat_map(|(index, line)| strange_hosts(line).map(move |host| (index + 1, host)))
        .map(|(number, host)| {
            format!("{}:{number}: {host} is not in tests/ci/data/hosts.txt", text.path)
        })
        .collect()
}

fn strange_hosts(line: &str) -> impl Iterator<Item = &str> {
    let addresses = line.split("://").zip(line.split("://").skip(1));
    addresses
        .filter(|(before, _)| before.ends_with("http") || before.ends_with("https"))
        .map(|(_, after)| host(after))
        .filter(|host| !is_expected(host))
}

/// Up to the port, the path, or whatever ends an address in text.
fn host(after_scheme: &str) -> &str {
    let end =
        after_scheme.find(|sign: char| !(sign.is_ascii_alphanumeric() || ".-[".contains(sign)));
    &after_scheme[..end.unwrap_or(after_scheme.len())]
}

/// Nothing that can be looked up: an empty or computed host, a name without a dot, a number, or a name reserved for examples.
fn is_expected(host: &str) -> bool {
    let reserved = [
        ".example",
        ".test",
        ".invalid",
        ".localhost",
        ".local",
        "example.com",
        "example.org",
        "example.net",
    ];
    !host.contains('.')
        || host.starts_with('[')
        || host.chars().all(|sign| sign.is_ascii_digit() || sign == '.')
        || reserved.iter().any(|end| host.ends_with(end))
        || rows(HOSTS).iter().any(|row| row[0] == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        faults(&Text { path: "x".into(), text: line.into() }).len()
    }

    #[test]
    fn a_host_that_is_not_listed_is_found() {
        let scheme = "https";
        assert_eq!(
            found(&format!("see {scheme}://mirror.somewhere.dev/simple/ and {scheme}://other.dev")),
            2
        );
    }

    #[test]
    fn examples_numbers_and_names_of_services_are_expected() {
        for good in [
            "http://127.0.0.1:8000/x",
            "http://{address}/",
            "http://auth:8101",
            "https://www.example.com/",
            "http://[::1]:80",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
    }
}
