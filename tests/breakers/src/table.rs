//! Runs every vector against every breaker, and tells it as a table.

use std::{fmt::Write, thread};

use crate::{
    ours::Ours,
    peers::{Kind, Peer},
    vectors::{Vector, Verdict, groups, parse, run},
};

/// What became of one vector: its group and name, and a verdict for ours and for each peer.
type Row = (String, String, [Verdict; 4]);

const VECTORS: &str = include_str!("../../../layers/tests/data/circuit_breaker.txt");
const PEERS: [Kind; 3] = [Kind::TowerResilience, Kind::Failsafe, Kind::Recloser];

/// The groups and names of all vectors.
pub fn names() -> Vec<(String, String)> {
    parse(VECTORS).into_iter().map(|vector| (vector.group, vector.name)).collect()
}

/// Runs all, and prints the page of the documentation.
pub fn page() -> String {
    printed(&results())
}

/// Runs all. The peers read the clock of the machine, so each vector takes its time; all of them run at once.
fn results() -> Vec<Row> {
    let vectors = parse(VECTORS);
    thread::scope(|scope| {
        let rows: Vec<_> = vectors
            .iter()
            .map(|vector| {
                let peers = PEERS.map(|kind| scope.spawn(move || of_peer(kind, vector)));
                (vector, peers)
            })
            .collect();
        rows.into_iter()
            .map(|(vector, peers)| {
                let [a, b, c] = peers.map(|peer| peer.join().expect("it answers"));
                let ours = run(vector, &mut Ours::new(vector));
                (vector.group.clone(), vector.name.clone(), [ours, a, b, c])
            })
            .collect()
    })
}

/// A peer that fails is tried twice more: on a busy machine a sleep may have been too long.
fn of_peer(kind: Kind, vector: &Vector) -> Verdict {
    let once = || match Peer::new(kind, vector) {
        Ok(mut peer) => match run(vector, &mut peer) {
            Verdict::Passed => peer.last_word(vector),
            verdict => verdict,
        },
        Err(missing) => Verdict::Unable(missing),
    };
    let mut verdict = once();
    for _ in 0..2 {
        if matches!(verdict, Verdict::Failed(_)) {
            verdict = once();
        }
    }
    verdict
}

fn printed(rows: &[Row]) -> String {
    let mut page = String::from(HEAD);
    let heads = "| ours | tower-resilience-circuitbreaker 0.14 | failsafe 1.3 | recloser 1.4 |\n|---|---|---|---|---|\n";
    let vectors = parse(VECTORS);
    page.push_str("| group ");
    page.push_str(heads);
    for (group, count) in groups(&vectors) {
        let of_group: Vec<&Row> = rows.iter().filter(|row| row.0 == group).collect();
        writeln!(page, "| {group} ({count}) | {} |", totals(&of_group).join(" | "))
            .expect("a string");
    }
    let all: Vec<&Row> = rows.iter().collect();
    writeln!(page, "| **all ({})** | {} |\n", vectors.len(), totals(&all).join(" | "))
        .expect("a string");
    page.push_str("| vector ");
    page.push_str(heads);
    for (group, name, verdicts) in rows {
        let words = verdicts.each_ref().map(word);
        writeln!(page, "| {group}: {name} | {} |", words.join(" | ")).expect("a string");
    }
    page
}

/// How many were passed, of those that could be tried.
fn totals(rows: &[&Row]) -> [String; 4] {
    [0, 1, 2, 3].map(|place| {
        let verdicts = rows.iter().map(|row| &row.2[place]);
        let passed = verdicts.clone().filter(|verdict| **verdict == Verdict::Passed).count();
        let tried = verdicts.filter(|verdict| !matches!(verdict, Verdict::Unable(_))).count();
        format!("{passed} of {tried}")
    })
}

const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "yes",
        Verdict::Failed(_) => "**no**",
        Verdict::Unable(_) => "–",
    }
}

const HEAD: &str = "\
# The vectors, run against our breaker and its peers

What a circuit breaker should do stands as data in `layers/tests/data/circuit_breaker.txt`: outcomes and a clock go in, states come
out. This page is what came of it; `cargo run -p portcullis-breakers` prints it, and a test compares it with what stands here.

*yes*: as the vector says. **no**: otherwise. *–*: it has no such setting, event or state, so it can't be tried. The peers read the
clock of the machine, so for them a second is 50 ms, and just before means half a second before. recloser doesn't tell its state; it
is judged by whom it lets through. The table says who does what these vectors call right; where libraries differ on purpose (whether
a success may open a breaker, for instance) a *no* is a different choice, not a fault.

";
