//! The vectors of `data/circuit_breaker.txt` hold for our breaker, every one of them.

#[path = "vectors/ours.rs"]
mod ours;
mod vectors;

use vectors::{Verdict, groups, parse, run};

const TABLE: &str = include_str!("data/circuit_breaker.txt");

#[test]
fn our_breaker_does_what_the_table_says() {
    let vectors = parse(TABLE);
    let faults: Vec<String> = vectors
        .iter()
        .filter_map(|vector| match run(vector, &mut ours::Ours::new(vector)) {
            Verdict::Passed => None,
            verdict => Some(format!("{}: {}: {verdict:?}", vector.group, vector.name)),
        })
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), vectors.len(), faults.join("\n"));
}

#[test]
fn the_table_is_large_and_covers_every_group() {
    let vectors = parse(TABLE);
    assert!(vectors.len() >= 60, "{}", vectors.len());
    let groups = groups(&vectors);
    for group in
        ["tripping", "rates", "windows", "waiting", "half-open", "late", "drops", "manual", "fleet"]
    {
        assert!(groups.get(group).is_some_and(|vectors| *vectors >= 3), "{group}: {groups:?}");
    }
    assert!(vectors.iter().all(|vector| !vector.steps.is_empty()));
}

/// A test that can't fail shows nothing: with one word changed, each vector does.
#[test]
fn a_vector_with_another_state_at_its_end_fails() {
    for mut vector in parse(TABLE) {
        let last = vector.steps.last_mut().expect("it has steps");
        last.state = "elsewhere".to_owned();
        assert!(
            matches!(run(&vector, &mut ours::Ours::new(&vector)), Verdict::Failed(_)),
            "{}",
            vector.name
        );
    }
}
