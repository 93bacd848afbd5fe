//! Tries one target after the other, each for its time.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;

use crate::options::Options;
use crate::targets::{self, Target};
use crate::watchdog::Watchdog;
use crate::{mutation, panics, reduction};

/// Inputs that are kept because they were answered as none was before.
const KEPT_MAX: usize = 4096;

/// Whether every wanted target kept its promises.
pub(crate) fn all(options: &Options) -> bool {
    let mut targets = targets::all();
    let names: Vec<_> = targets.iter().map(|target| target.name()).collect();
    if let Some(unknown) = options.unknown(&names) {
        println!("there is no target {unknown}; there are {}", names.join(", "));
        return false;
    }
    println!("seed {} (again: cargo fuzz-gateway --seed {0})", options.seed);
    let watchdog = Watchdog::start(keep);
    let mut good = true;
    for target in targets.iter_mut().filter(|target| options.wants(target.name())) {
        good &= one(target.as_mut(), options, &watchdog);
    }
    good
}

fn one(target: &mut dyn Target, options: &Options, watchdog: &Watchdog) -> bool {
    let name = target.name();
    let mut rng = Rng::with_seed(options.seed);
    let (mut inputs, mut answers, mut tried) = (Vec::new(), HashSet::new(), 0_u64);
    let mut seeds = target.seeds();
    seeds.extend(found_before(name));
    let mut seeds = seeds.into_iter();
    let start = Instant::now();
    loop {
        // Every seed is tried, however little time there is.
        let input = match seeds.next() {
            Some(seed) => seed,
            None if start.elapsed() >= options.time => break,
            None => {
                let words = target.words();
                let mut input = mutation::mutated(&mut rng, &inputs, words, target.bytes_max());
                target.mend(&mut rng, &mut input);
                input
            }
        };
        tried += 1;
        match watchdog.watch(name, &input, || attempt(target, &input)) {
            Ok(answer) => {
                let is_seed = seeds.len() > 0 || inputs.is_empty();
                if answers.insert(answer) && inputs.len() < KEPT_MAX || is_seed {
                    inputs.push(input);
                }
            }
            Err(broken) => {
                tell(name, input, &broken, tried);
                return false;
            }
        }
    }
    println!("{name}: {tried} inputs, {} kinds of answer, no promise broken", answers.len());
    true
}

fn attempt(target: &mut dyn Target, input: &[u8]) -> Result<String, String> {
    panics::caught(|| target.attempt(input))
}

fn tell(name: &'static str, input: Vec<u8>, broken: &str, tried: u64) {
    // Each try on a target of its own, so that nothing is blamed on what came before.
    let breaks = |input: &[u8]| {
        targets::named(name).is_some_and(|mut target| attempt(target.as_mut(), input).is_err())
    };
    println!("{name}: FAILED, {broken}");
    let alone = breaks(&input);
    let least = if alone { reduction::reduced(input, breaks) } else { input };
    let file = keep(name, &least);
    println!("  {} bytes: {}", least.len(), least.escape_ascii());
    if alone {
        println!("  cargo fuzz-gateway --replay {name} {}", file.display());
    } else {
        println!("  only after the {} inputs before it; the same seed tries them again", tried - 1);
    }
}

/// Whether the input in a file keeps the promises.
pub(crate) fn replay(name: &str, file: &Path) -> bool {
    let Some(mut target) = targets::named(name) else {
        println!("there is no target {name}");
        return false;
    };
    let input = match std::fs::read(file) {
        Ok(input) => input,
        Err(error) => {
            println!("failed to read {}: {error}", file.display());
            return false;
        }
    };
    match attempt(target.as_mut(), &input) {
        Ok(answer) => println!("{name}: no promise broken; answered with {answer}"),
        Err(broken) => {
            println!("{name}: FAILED, {broken}");
            return false;
        }
    }
    true
}

/// Inputs that once broke something; they stay, so that it stays mended.
fn found_before(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(target);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

/// Writes an input down. Move it to `tests/fuzz/data/TARGET/` to have it tried first from then on.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    let _ = std::fs::create_dir_all(&folder);
    let folder = folder.canonicalize().unwrap_or(folder);
    let mut hash = DefaultHasher::new();
    input.hash(&mut hash);
    let file = folder.join(format!("{target}-{:016x}", hash.finish()));
    if let Err(error) = std::fs::write(&file, input) {
        println!("failed to write {}: {error}", file.display());
    }
    file
}
