//! Crates that we chose not to use. `data/bans.txt` gives each its reason and what to take instead.

use super::packages::{self, Package};
use crate::check::{Fault, conclude, rows};
use crate::scene::Scene;
use crate::step::End;
use std::time::Duration;

const BANS: &str = include_str!("../../data/bans.txt");

pub(crate) fn check(scene: &Scene, limit: Duration) -> End {
    match packages::ask_cargo(scene, limit) {
        Ok(packages) => conclude(
            &format!("{} packages, {} bans", packages.len(), bans().len()),
            &faults(&packages),
        ),
        Err(fault) => End::Failed(fault),
    }
}

struct Ban {
    name: &'static str,
    /// Whether it may come in through somebody else, where we can't help it.
    only_direct: bool,
    reason: &'static str,
    instead: &'static str,
}

fn bans() -> Vec<Ban> {
    rows(BANS).iter().filter_map(|row| ban(row)).collect()
}

fn ban(row: &[&'static str]) -> Option<Ban> {
    let [name, reach, reason, instead] = *row else { return None };
    Some(Ban { name, only_direct: reach == "direct", reason, instead })
}

fn faults(packages: &[Package]) -> Vec<Fault> {
    bans().iter().flat_map(|ban| faults_of(ban, packages)).collect()
}

fn faults_of(ban: &Ban, packages: &[Package]) -> Vec<Fault> {
    let Ban { name, only_direct, reason, instead } = ban;
    let takes =
        |package: &&Package| package.dependencies.iter().any(|dependency| dependency == name);
    let is_built = packages.iter().any(|package| package.name == *name);
    let takers =
        packages.iter().filter(takes).filter(|package| package.ours || (!only_direct && is_built));
    takers.map(|taker| format!("{} takes {name}: {reason}; take {instead}", taker.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::packages::tests::package;
    use super::*;

    #[test]
    fn every_row_of_the_list_is_complete() {
        for row in rows(BANS) {
            assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
            assert!(["anywhere", "direct"].contains(&row[1]), "{row:?}");
        }
    }

    #[test]
    fn a_banned_crate_is_a_fault_wherever_it_is_built() {
        let packages = [
            package("ours", None, true, &["a"]),
            package("a", None, false, &["openssl"]),
            package("openssl", None, false, &[]),
        ];
        assert!(faults(&packages)[0].starts_with("a takes openssl: "));
    }

    #[test]
    fn what_another_crate_could_take_but_does_not_is_no_fault() {
        let packages = [package("a", None, false, &["openssl"])];
        assert!(faults(&packages).is_empty());
    }

    #[test]
    fn what_is_banned_only_from_our_manifests_may_come_through_others() {
        let through_others =
            [package("a", None, false, &["once_cell"]), package("once_cell", None, false, &[])];
        assert!(faults(&through_others).is_empty());
        assert_eq!(faults(&[package("ours", None, true, &["once_cell"])]).len(), 1);
    }
}
