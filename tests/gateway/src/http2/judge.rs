//! Compares what a case wanted with what came back, and with what an upstream got.

use std::net::Ipv4Addr;

use super::error_name;
use super::play::{Came, Outcome};
use super::script::Case;
use crate::hostile::{Message, Profile, Seen, dirt};

/// Whether all that is wanted has come, or can't come any more.
pub(super) fn has_come(want: &[String], came: &Came) -> bool {
    want.iter().all(|word| match parsed(word) {
        Word::Stream(stream, _) => came.on(stream).is_over() || came.is_dead(),
        Word::Connection(specs) => {
            came.closed || specs.iter().any(|spec| connection_is(spec, came))
        }
        Word::Answers(count) => answers(came) >= count || came.is_dead(),
        Word::Arrived(_) | Word::Alive => true,
    })
}

enum Word<'w> {
    /// What comes on a stream.
    Stream(u32, Vec<&'w str>),
    /// What becomes of the connection.
    Connection(Vec<&'w str>),
    /// How many streams are answered with 200.
    Answers(usize),
    /// How many whole requests arrive at most.
    Arrived(usize),
    /// A PING is answered at the end.
    Alive,
}

fn parsed(word: &str) -> Word<'_> {
    match word.split_once(':') {
        None if word == "alive" => Word::Alive,
        None if ["pass", "refused", "either"].contains(&word) => Word::Stream(1, vec![word]),
        None => Word::Connection(word.split('|').collect()),
        Some(("answers", count)) => Word::Answers(count.parse().expect("a number of answers")),
        Some(("arrived", count)) => Word::Arrived(count.parse().expect("a number of requests")),
        Some((stream, specs)) => {
            let stream = stream.parse().unwrap_or_else(|_| panic!("what is {word}?"));
            Word::Stream(stream, specs.split('|').collect())
        }
    }
}

fn answers(came: &Came) -> usize {
    came.streams.values().filter(|outcome| outcome.status == Some(200) && outcome.ended).count()
}

fn connection_is(spec: &str, came: &Came) -> bool {
    match spec.split_once('/') {
        None if spec == "dead" => came.is_dead(),
        None if spec == "closed" => came.closed,
        None if spec == "goaway" => came.goaway.is_some(),
        Some(("goaway", name)) => came.goaway.is_some_and(|code| error_name(code) == name),
        _ => panic!("what is {spec}?"),
    }
}

fn stream_is(spec: &str, outcome: &Outcome, came: &Came) -> bool {
    let refused = outcome.status.is_some_and(|status| status >= 400);
    match spec.split_once('/') {
        None if spec == "either" => outcome.is_over() || came.is_dead(),
        None if spec == "refused" => refused || outcome.reset.is_some() || came.is_dead(),
        None if spec == "pass" => outcome.status == Some(200) && outcome.ended,
        None if spec == "reset" => outcome.reset.is_some(),
        Some(("reset", name)) => outcome.reset.is_some_and(|code| error_name(code) == name),
        Some(("goaway", _)) => connection_is(spec, came),
        None if ["dead", "goaway", "closed"].contains(&spec) => connection_is(spec, came),
        _ => outcome.status.is_some_and(|status| status.to_string() == spec),
    }
}

/// What is wrong with the outcome of a case: first what is about bytes that the upstream got, then the rest.
pub fn judge(
    case: &Case,
    from: Ipv4Addr,
    (came, alive): &(Came, bool),
    seen: &[Seen],
) -> (Vec<String>, Vec<String>) {
    let (mut dirty, mut wrong) = (Vec::new(), Vec::new());
    for Seen { message, fault } in seen {
        dirty.extend(fault.clone());
        dirty.extend(dirt(message, from, Profile::Plain));
        dirty.extend(odd(message));
    }
    let whole: Vec<_> =
        seen.iter().map(|seen| &seen.message).filter(|seen| seen.complete).collect();
    for word in &case.want {
        let holds = match parsed(word) {
            Word::Stream(stream, specs) => {
                specs.iter().any(|spec| stream_is(spec, &came.on(stream), came))
            }
            Word::Connection(specs) => specs.iter().any(|spec| connection_is(spec, came)),
            Word::Answers(count) => answers(came) == count,
            Word::Arrived(count) => whole.len() <= count,
            Word::Alive => *alive,
        };
        if !holds {
            wrong.push(format!("{word} is not what came"));
        }
        match &**word {
            "pass" if whole.len() != 1 || !alive => {
                wrong.push(format!("{} requests arrived, alive afterwards: {alive}", whole.len()));
            }
            "refused" if !whole.is_empty() => dirty.push("what was refused arrived".to_owned()),
            _ => {}
        }
    }
    // Each answer is to one request, and nothing else arrives whole.
    if whole.len() < answers(came) {
        wrong.push(format!(
            "{} requests arrived, {} were answered well",
            whole.len(),
            answers(came)
        ));
    }
    wrong.extend(arrived(case, &whole));
    (dirty, wrong)
}

/// What HTTP/1 allows and HTTP/2 never becomes, in these cases.
fn odd(message: &Message) -> Vec<String> {
    let mut odd = Vec::new();
    if message.all("cookie").count() > 1 {
        odd.push("more than one cookie".to_owned());
    }
    if !message.method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        odd.push(format!("an odd method: {}", message.method));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    for (name, _) in message.fields.iter().filter(|(name, _)| !name.bytes().all(is_plain)) {
        odd.push(format!("an odd name: {name}"));
    }
    odd
}

fn arrived(case: &Case, whole: &[&Message]) -> Vec<String> {
    let mut wrong = Vec::new();
    let shown: Vec<_> = whole.iter().map(|message| shown(message)).collect();
    for text in &case.sees {
        if !shown.iter().any(|shown| shown.contains(text)) {
            wrong.push(format!("{text:?} did not arrive"));
        }
    }
    for text in &case.never {
        if shown.iter().any(|shown| shown.contains(text)) {
            wrong.push(format!("{text:?} arrived"));
        }
    }
    if let (Some(target), Some(first)) = (&case.target, whole.first())
        && *target != first.target
    {
        wrong.push(format!("{} arrived instead of {target}", first.target));
    }
    if let (Some(body), Some(first)) = (&case.body, whole.first())
        && *body != first.body
    {
        wrong.push(format!(
            "a body of {} bytes arrived instead of {}",
            first.body.len(),
            body.len()
        ));
    }
    wrong
}

/// What arrived, to look things up in.
fn shown(message: &Message) -> String {
    let mut shown = format!("{} {}\n", message.method, message.target);
    for (name, value) in &message.fields {
        shown += &format!("{name}: {}\n", String::from_utf8_lossy(value));
    }
    shown
}
