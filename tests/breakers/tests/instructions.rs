//! A call through the breaker takes no more instructions than it did. Callgrind counts them, and counts the same on a busy
//! machine; without valgrind this says so and shows nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

/// The most instructions of one call through the core with `now` passed in, and through the whole layer, bare service included.
/// A tenth above what was counted, so that it takes no more than a few moves too many to be noticed. Raise them only with a
/// reason in the commit.
struct Bounds {
    core: u64,
    layer: u64,
}

/// As `cargo test` compiles: without optimisation.
const PLAIN: Bounds = Bounds { core: 820, layer: 5_080 };
/// As `cargo ci` compiles: with a little optimisation, and with assertions. A full release build stays far below.
const OPTIMISED: Bounds = Bounds { core: 215, layer: 1_105 };

fn bounds() -> Bounds {
    let optimised = env!("CARGO_BIN_EXE_instructions").contains("/release/");
    if optimised { OPTIMISED } else { PLAIN }
}

const CALLS: u64 = 10_000;

/// The instructions that the whole program takes.
fn counted(what: &str, window: u32, calls: u64) -> Option<u64> {
    let out = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            env!("CARGO_BIN_EXE_instructions"),
        ])
        .args([what, &window.to_string(), &calls.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    collected.trim().parse().ok()
}

/// The instructions of one call: what so many more calls take, divided by their number.
fn per_call(what: &str, window: u32) -> Option<u64> {
    // The windows are full in both runs, so that what is counted is a call and never the beginning.
    let before = u64::from(window);
    Some((counted(what, window, before + CALLS)? - counted(what, window, before)?) / CALLS)
}

#[test]
fn a_call_takes_no_more_instructions_than_its_bound() {
    let Some(core) = per_call("core", 100) else {
        return println!("no valgrind here: the instructions of a call were not counted");
    };
    let layer = per_call("layer", 100).unwrap();
    println!("instructions of a call: {core} through the core, {layer} through the layer");
    let most = bounds();
    assert!(core <= most.core, "the core takes {core} instructions, {} are allowed", most.core);
    assert!(
        layer <= most.layer,
        "the layer takes {layer} instructions, {} are allowed",
        most.layer
    );
}

#[test]
fn a_call_takes_the_same_with_a_hundred_thousand_in_the_window() {
    let (Some(small), Some(large)) = (per_call("core", 100), per_call("core", 100_000)) else {
        return println!("no valgrind here: the instructions of a call were not counted");
    };
    assert!(
        large.abs_diff(small) * 20 <= small,
        "{small} with a hundred, {large} with a hundred thousand"
    );
}
