//! Every dependency comes from the one default registry: no git revision that can vanish, no second registry where a
//! name can belong to somebody else.

use super::lock::{self, Locked};
use crate::check::{Fault, conclude};
use crate::scene::Scene;
use crate::step::End;
use std::time::Duration;

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    match scene.read("Cargo.lock") {
        Ok(text) => {
            let packages = lock::read(&text);
            conclude(&format!("{} packages", packages.len()), &faults(&packages))
        }
        Err(fault) => End::Failed(fault),
    }
}

/// The default registry is not spelt out here: it is the one that nearly everything comes from, and any other is at fault.
fn faults(packages: &[Locked]) -> Vec<Fault> {
    let registries = || packages.iter().filter_map(|package| package.source.as_deref());
    let usual =
        registries().max_by_key(|source| registries().filter(|other| other == source).count());
    let strange = |source: &str| !source.starts_with("registry+") || Some(source) != usual;
    let from = |package: &Locked| package.source.clone().filter(|source| strange(source));
    let fault = |package: &Locked| {
        Some(format!("Cargo.lock: {} comes from {}", package.name, from(package)?))
    };
    packages.iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lock::tests::locked;
    use super::*;

    #[test]
    fn one_registry_is_fine() {
        let packages = [
            locked("ours", "1.0.0", None),
            locked("a", "1.0.0", Some("registry+x")),
            locked("b", "1.0.0", Some("registry+x")),
        ];
        assert!(faults(&packages).is_empty());
    }

    #[test]
    fn git_and_a_second_registry_are_faults() {
        let usual = Some("registry+x");
        let packages = [
            locked("a", "1.0.0", usual),
            locked("b", "1.0.0", usual),
            locked("c", "1.0.0", Some("git+y")),
            locked("d", "1.0.0", Some("registry+z")),
        ];
        assert_eq!(
            faults(&packages),
            ["Cargo.lock: c comes from git+y", "Cargo.lock: d comes from registry+z"]
        );
    }

    #[test]
    fn git_alone_is_a_fault_too() {
        assert_eq!(faults(&[locked("c", "1.0.0", Some("git+y"))]).len(), 1);
    }
}
