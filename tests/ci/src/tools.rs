//! Finds what the steps need, and installs what is missing where that is allowed: Debian's packages as root, and the
//! toolchain's own components through rustup. Anything else becomes a sentence that says what to install.

use crate::command::{Bounded, Echo};
use crate::scene::Scene;
use crate::step::End;
use std::path::Path;
use std::time::Duration;

/// A program, the Debian package that brings it, and who needs it.
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_for: &'static str,
}

#[rustfmt::skip]
const TOOLS: &[Tool] = &[
    Tool { program: "cc",           package: "gcc libc6-dev", needed_for: "compiling SQLite and jemalloc" },
    Tool { program: "make",         package: "make",          needed_for: "compiling jemalloc" },
    Tool { program: "git",          package: "git",           needed_for: "knowing which files are ours" },
    Tool { program: "redis-server", package: "redis-server",  needed_for: "the tests of shared state" },
    Tool { program: "valgrind",     package: "valgrind",      needed_for: "the bounds on instructions" },
    Tool { program: "strace",       package: "strace",        needed_for: "the tests that count system calls" },
];

/// What cargo runs as `cargo NAME`, and the component that brings it.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

pub(crate) fn ready(scene: &Scene, limit: Duration) -> End {
    let run = |program: &str, arguments: &[&str]| {
        Bounded::new(program, &scene.root, limit).run(arguments).fault
    };
    let mut faults = Vec::new();
    let missing = missing_tools(is_on_path);
    if !missing.is_empty() {
        faults.extend(install(&missing, is_root(scene) && is_on_path("apt-get"), run));
    }
    faults.extend(missing_tools(is_on_path).iter().map(|tool| plea(tool)));
    faults.extend(
        COMPONENTS.iter().filter_map(|component| component_missing(scene, limit, component)),
    );
    match faults.as_slice() {
        [] => End::Passed(found(&missing)),
        faults => End::Failed(faults.join("; ")),
    }
}

fn missing_tools(is_there: impl Fn(&str) -> bool) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !is_there(tool.program)).collect()
}

/// One `update`, one `install`, or nothing at all where we may not.
fn install(
    missing: &[&Tool],
    allowed: bool,
    run: impl Fn(&str, &[&str]) -> Option<String>,
) -> Option<String> {
    if !allowed {
        return None;
    }
    let mut arguments = vec![
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
    ];
    arguments.extend(missing.iter().flat_map(|tool| tool.package.split(' ')));
    let fault = run("apt-get", &["update"]).or_else(|| run("env", &arguments))?;
    Some(format!("apt-get {fault}"))
}

fn plea(tool: &Tool) -> String {
    let Tool { program, package, needed_for } = tool;
    format!(
        "{program} is missing: install it (on Debian: apt-get install {package}), it is needed for {needed_for}"
    )
}

fn found(installed: &[&Tool]) -> String {
    match installed {
        [] => "everything was there".to_owned(),
        tools => format!(
            "installed {}",
            tools.iter().map(|tool| tool.program).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn component_missing(
    scene: &Scene,
    limit: Duration,
    (name, component): &(&str, &str),
) -> Option<String> {
    let there = || {
        Bounded::cargo(&scene.root, limit).echo(Echo::Nothing).run(&[name, "--version"]).passed()
    };
    let added = || {
        Bounded::new("rustup", &scene.root, limit).run(&["component", "add", component]).passed()
    };
    let is_there = there() || (added() && there());
    (!is_there)
        .then(|| format!("cargo {name} is missing: add the toolchain's component {component}"))
}

pub(crate) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        || Path::new("/usr/sbin").join(program).is_file()
}

fn is_root(scene: &Scene) -> bool {
    let ended =
        Bounded::new("id", &scene.root, Duration::from_secs(10)).echo(Echo::Nothing).run(&["-u"]);
    ended.lines == ["0"]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_is_missing_is_installed_in_one_go_after_one_update() {
        let commands = RefCell::new(Vec::new());
        let missing = missing_tools(|program| program != "cc" && program != "strace");
        install(&missing, true, |program, arguments| {
            commands.borrow_mut().push(format!("{program} {}", arguments.join(" ")));
            None
        });
        let install = "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends gcc libc6-dev strace";
        assert_eq!(*commands.borrow(), ["apt-get update", install]);
    }

    #[test]
    fn nothing_is_installed_where_we_may_not_and_the_sentence_says_what_to_do() {
        let missing = missing_tools(|program| program != "redis-server");
        let fault = install(&missing, false, |_, _| panic!("nothing may run"));
        assert_eq!(fault, None);
        assert!(plea(missing[0]).contains("apt-get install redis-server"));
    }
}
