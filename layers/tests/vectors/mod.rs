//! Reads the vectors of `data/circuit_breaker.txt`, and runs them against whatever claims to be a breaker.

use std::{collections::BTreeMap, time::Duration};

/// One vector.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) with: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

/// One line of it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) event: Event,
    pub(crate) state: String,
    pub(crate) refused: bool,
    pub(crate) checks: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Calls { result: Ending, times: u32 },
    Start(String),
    End(String, Ending),
    Drop(String),
    Tick,
    Order { word: String, lasts: Option<Duration> },
    Set(Vec<(String, String)>),
    Witness { calls: u64, failures: u64 },
    FleetOpen(Duration),
    FleetClose,
}

/// How a call ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) word: Word,
    pub(crate) took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Ok,
    Fail,
    Ignored,
    Overload(Option<Duration>),
    Weighed(u16),
}

/// The answer of a breaker that doesn't tell: it is judged by what it does.
pub(crate) const UNKNOWN: &str = "?";

/// A breaker under test. What it can't do it says by `Err`, with the reason.
pub(crate) trait Subject {
    /// Lets the clock stand at this time since the beginning.
    fn at(&mut self, now: Duration);
    /// A call asks; whether it was let through under this name.
    fn start(&mut self, name: &str) -> Result<bool, String>;
    fn end(&mut self, name: &str, ending: Ending) -> Result<(), String>;
    fn drop_call(&mut self, name: &str) -> Result<(), String>;
    /// Any other event.
    fn event(&mut self, event: &Event) -> Result<(), String>;
    fn state(&mut self) -> Result<String, String>;
    /// The value of a check, as it is written.
    fn check(&mut self, key: &str) -> Result<String, String>;
}

/// What became of a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed(String),
    /// It has no such setting, event or state.
    Unable(String),
}

pub(crate) fn parse(text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            None => {
                let (group, name) = line.split_once(": ").expect("GROUP: NAME");
                let (group, name) = (group.to_owned(), name.to_owned());
                vectors.push(Vector { group, name, with: Vec::new(), steps: Vec::new() });
            }
            Some(rest) => {
                let vector = vectors.last_mut().expect("a vector begins with its name");
                match rest.strip_prefix("with ") {
                    Some(with) => vector.with = pairs(with),
                    None => vector.steps.push(step(rest)),
                }
            }
        }
    }
    vectors
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn step(line: &str) -> Step {
    let (left, right) = line.split_once("->").expect("TIME EVENT -> STATE");
    let (at, what) = left.trim().split_once(' ').expect("TIME EVENT");
    let mut right = right.split_whitespace();
    let state = right.next().expect("a state").to_owned();
    let rest: Vec<&str> = right.collect();
    Step {
        at: duration(at),
        event: event(what.trim()),
        state,
        refused: rest.contains(&"refused"),
        checks: pairs(&rest.join(" ")),
    }
}

fn event(text: &str) -> Event {
    let mut words = text.split_whitespace();
    let first = words.next().expect("an event");
    let rest: Vec<&str> = words.collect();
    let (word, value) =
        first.split_once('=').map_or((first, None), |(word, value)| (word, Some(value)));
    match word {
        "start" => Event::Start(rest[0].to_owned()),
        "end" => Event::End(rest[0].to_owned(), ending(&rest[1..])),
        "drop" => Event::Drop(rest[0].to_owned()),
        "tick" => Event::Tick,
        "set" => Event::Set(pairs(&rest.join(" "))),
        "witness" => {
            let (calls, failures) =
                value.and_then(|value| value.split_once('/')).expect("CALLS/FAILURES");
            Event::Witness { calls: number(calls), failures: number(failures) }
        }
        "fleet-open" => Event::FleetOpen(duration(value.expect("a time"))),
        "fleet-close" => Event::FleetClose,
        "reset" | "force-open" | "disable" | "shadow" | "open-for" => {
            Event::Order { word: word.to_owned(), lasts: value.map(duration) }
        }
        _ => {
            let times = rest.iter().find_map(|word| word.strip_prefix('x')).map_or(1, number);
            let all: Vec<&str> = [first].into_iter().chain(rest).collect();
            Event::Calls { result: ending(&all), times }
        }
    }
}

fn ending(words: &[&str]) -> Ending {
    let (word, value) =
        words[0].split_once('=').map_or((words[0], None), |(word, value)| (word, Some(value)));
    let word = match word {
        "ok" => Word::Ok,
        "fail" => Word::Fail,
        "ignored" => Word::Ignored,
        "overload" => Word::Overload(value.map(duration)),
        "weighed" => Word::Weighed(number(value.expect("a weight"))),
        other => panic!("no such event: {other}"),
    };
    let took = words.iter().find_map(|word| word.strip_prefix("took="));
    Ending { word, took: took.map(duration).unwrap_or_default() }
}

pub(crate) fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(number(millis)),
        None => {
            let seconds: f64 = number(text.strip_suffix('s').expect("a time in s or ms"));
            Duration::from_millis((seconds * 1_000.0).round() as u64)
        }
    }
}

pub(crate) fn run(vector: &Vector, subject: &mut dyn Subject) -> Verdict {
    match walk(vector, subject) {
        Ok(()) => Verdict::Passed,
        Err(verdict) => verdict,
    }
}

fn walk(vector: &Vector, subject: &mut dyn Subject) -> Result<(), Verdict> {
    for (number, step) in vector.steps.iter().enumerate() {
        let failed = |what: String| Verdict::Failed(format!("step {}: {what}", number + 1));
        subject.at(step.at);
        let let_through = happen(step, subject).map_err(Verdict::Unable)?;
        if let_through == step.refused {
            return Err(failed(
                (if let_through { "it was let through" } else { "it was refused" }).to_owned(),
            ));
        }
        let state = subject.state().map_err(Verdict::Unable)?;
        if state != UNKNOWN && state != step.state {
            return Err(failed(format!("{state} instead of {}", step.state)));
        }
        for (key, expected) in &step.checks {
            let found = subject.check(key).map_err(Verdict::Unable)?;
            if found != UNKNOWN && found != *expected {
                return Err(failed(format!("{key}={found} instead of {expected}")));
            }
        }
    }
    Ok(())
}

/// Whether everything that asked was let through (none of it, where refusals are expected).
fn happen(step: &Step, subject: &mut dyn Subject) -> Result<bool, String> {
    match &step.event {
        Event::Calls { result, times } => {
            let mut let_through = 0;
            for _ in 0..*times {
                if subject.start("")? {
                    let_through += 1;
                    subject.end("", *result)?;
                }
            }
            Ok(if step.refused { let_through > 0 } else { let_through == *times })
        }
        Event::Start(name) => subject.start(name),
        Event::End(name, ending) => subject.end(name, *ending).map(|()| true),
        Event::Drop(name) => subject.drop_call(name).map(|()| true),
        other => subject.event(other).map(|()| !step.refused),
    }
}

/// How many vectors each group has.
pub(crate) fn groups(vectors: &[Vector]) -> BTreeMap<&str, usize> {
    vectors.iter().fold(BTreeMap::new(), |mut groups, vector| {
        *groups.entry(vector.group.as_str()).or_default() += 1;
        groups
    })
}
