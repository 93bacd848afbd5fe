//! The packages as cargo knows them: licence, and which of ours names which as a dependency.

use super::json::Json;
use crate::command::{Bounded, Echo};
use crate::scene::Scene;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
    /// Whether it stands in this workspace.
    pub(super) ours: bool,
    /// The names in its manifest.
    pub(super) dependencies: Vec<String>,
}

pub(super) fn ask_cargo(scene: &Scene, limit: Duration) -> Result<Vec<Package>, String> {
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let ended = Bounded::cargo(&scene.root, limit).echo(Echo::Nothing).run(&arguments);
    if let Some(fault) = ended.fault {
        return Err(format!("cargo metadata {fault}: {}", ended.lines.join(" ")));
    }
    let line = ended
        .lines
        .iter()
        .find(|line| line.starts_with('{'))
        .ok_or("cargo metadata printed no JSON")?;
    read(line)
}

fn read(metadata: &str) -> Result<Vec<Package>, String> {
    let packages: Vec<Package> =
        Json::parse(metadata)?.list("packages").iter().filter_map(package).collect();
    match packages.is_empty() {
        true => Err("cargo metadata names no package".to_owned()),
        false => Ok(packages),
    }
}

fn package(json: &Json) -> Option<Package> {
    Some(Package {
        name: json.text("name")?.to_owned(),
        version: json.text("version")?.to_owned(),
        licence: json.text("license").map(ToOwned::to_owned),
        ours: json.text("source").is_none(),
        dependencies: json
            .list("dependencies")
            .iter()
            .filter_map(|one| one.text("name"))
            .map(ToOwned::to_owned)
            .collect(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::supply) fn package(
        name: &str,
        licence: Option<&str>,
        ours: bool,
        dependencies: &[&str],
    ) -> Package {
        let dependencies = dependencies.iter().map(ToString::to_string).collect();
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: licence.map(Into::into),
            ours,
            dependencies,
        }
    }

    #[test]
    fn a_package_without_a_source_is_ours() {
        let metadata = r#"{"packages":[{"name":"a","version":"1.0.0","license":"MIT","source":null,"dependencies":[{"name":"b"}]},
                           {"name":"b","version":"1.0.0","license":null,"source":"registry+x","dependencies":[]}]}"#;
        let expected = [package("a", Some("MIT"), true, &["b"]), package("b", None, false, &[])];
        assert_eq!(read(metadata).unwrap(), expected);
    }

    #[test]
    fn no_packages_is_a_fault() {
        assert!(read("{}").is_err());
    }
}
