//! Tells which crates the lock file holds in two incompatible versions. It never fails: most of them are not ours to
//! mend, but the list is where a slow build starts.

use super::lock::{self, Locked};
use crate::scene::Scene;
use crate::step::End;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let packages = match scene.read("Cargo.lock") {
        Ok(text) => lock::read(&text),
        Err(fault) => return End::Failed(fault),
    };
    let found = duplicates(&packages);
    found.iter().for_each(|line| println!("{line}"));
    End::Passed(format!(
        "{} packages, {} crates in more than one major version",
        packages.len(),
        found.len()
    ))
}

fn duplicates(packages: &[Locked]) -> Vec<String> {
    let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        by_name.entry(&package.name).or_default().insert(&package.version);
    }
    let majors = |versions: &BTreeSet<&str>| {
        versions.iter().map(|version| major(version)).collect::<BTreeSet<_>>().len()
    };
    let several = by_name.into_iter().filter(|(_, versions)| majors(versions) > 1);
    several
        .map(|(name, versions)| format!("{name}: {}", Vec::from_iter(versions).join(", ")))
        .collect()
}

/// What must agree for two versions to be one: `1` of 1.2.3, but `0.2` of 0.2.3.
fn major(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    let end = if version.starts_with("0.") { dots.nth(1) } else { dots.next() };
    &version[..end.unwrap_or(version.len())]
}

#[cfg(test)]
mod tests {
    use super::super::lock::tests::locked;
    use super::*;

    #[test]
    fn two_majors_are_told_and_two_minors_are_not() {
        let versions = [
            ("a", "1.2.3"),
            ("a", "2.0.0"),
            ("b", "1.0.0"),
            ("b", "1.9.0"),
            ("c", "0.2.0"),
            ("c", "0.3.1"),
        ];
        let packages = versions.map(|(name, version)| locked(name, version, None));
        assert_eq!(duplicates(&packages), ["a: 1.2.3, 2.0.0", "c: 0.2.0, 0.3.1"]);
    }
}
