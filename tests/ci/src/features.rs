//! The layers compile without any feature and with each feature alone, so that nobody pays for what they did not ask for.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::End;
use std::time::Duration;

const BASE: &[&str] =
    &["check", "--quiet", "--locked", "--release", "-p", "portcullis", "--no-default-features"];

pub(crate) fn check(scene: &Scene, limit: Duration) -> End {
    let manifest = match scene.read("layers/Cargo.toml") {
        Ok(manifest) => manifest,
        Err(fault) => return End::Failed(fault),
    };
    let features = features(&manifest);
    let alone = features.iter().map(|feature| vec!["--features", feature]);
    let faults: Vec<String> = [Vec::new()]
        .into_iter()
        .chain(alone)
        .filter_map(|with| fault(scene, limit, &with))
        .collect();
    match faults.as_slice() {
        [] => End::Passed(format!("without features and with each of {}", features.len())),
        faults => End::Failed(faults.join("; ")),
    }
}

fn fault(scene: &Scene, limit: Duration, with: &[&str]) -> Option<String> {
    let name = with
        .last()
        .map_or("no features".to_owned(), |feature| format!("the feature {feature} alone"));
    println!("with {name}");
    let fault = Bounded::cargo(&scene.root, limit).run(&[BASE, with].concat()).fault?;
    Some(format!("cargo check with {name} {fault}"))
}

/// The keys of `[features]` but `default`.
fn features(manifest: &str) -> Vec<&str> {
    let table = manifest.lines().map(str::trim).skip_while(|line| *line != "[features]").skip(1);
    let keys =
        table.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    keys.map(|(key, _)| key.trim())
        .filter(|key| *key != "default" && !key.starts_with(['#', '"']))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::features;

    #[test]
    fn every_feature_is_found_and_nothing_else() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = []\n# redis = comment\nembedded = [\"dep:sha2\"]\nredis = []\n\n[dependencies]\nhttp = \"1\"\n";
        assert_eq!(features(manifest), ["embedded", "redis"]);
        assert!(features("[package]\n").is_empty());
    }
}
