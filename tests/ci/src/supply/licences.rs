//! Every package's licence is one that we can ship under, as `data/licences.txt` lists them.

use super::packages::{self, Package};
use super::spdx;
use crate::check::{Fault, conclude, rows};
use crate::scene::Scene;
use crate::step::End;
use std::time::Duration;

const ALLOWED: &str = include_str!("../../data/licences.txt");

pub(crate) fn check(scene: &Scene, limit: Duration) -> End {
    match packages::ask_cargo(scene, limit) {
        Ok(packages) => conclude(&format!("{} packages", packages.len()), &faults(&packages)),
        Err(fault) => End::Failed(fault),
    }
}

fn faults(packages: &[Package]) -> Vec<Fault> {
    let rows = rows(ALLOWED);
    let allowed = |name: &str| rows.iter().any(|row| row[0] == name);
    let at_fault = packages.iter().filter(|package| {
        !package.licence.as_deref().is_some_and(|text| spdx::is_met(text, &allowed))
    });
    at_fault.map(|Package { name, version, licence, .. }| match licence {
        Some(licence) => format!("{name} {version} is under {licence}, which tests/ci/data/licences.txt does not allow"),
        None => format!("{name} {version} names no licence"),
    }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::packages::tests::package;
    use super::*;

    #[test]
    fn a_licence_that_binds_us_and_a_missing_one_are_faults() {
        let packages = [
            package("good", Some("MIT"), false, &[]),
            package("bad", Some("AGPL-3.0"), false, &[]),
            package("none", None, false, &[]),
        ];
        let faults = faults(&packages);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("bad 1.0.0 is under AGPL-3.0"));
    }
}
