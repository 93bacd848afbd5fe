//! Compares what a case wanted with what came, at both ends.

use std::net::Ipv4Addr;

use super::assault::Came;
use super::corpus::{Case, Profile, Verdict};
use super::dirt::{dirt, resolved};
use super::oracle::{Answer, Message, messages};
use super::recorder::Seen;

/// The path of the request that shows whether a connection is still in order.
const PROBE: &str = "/probe/";

/// What the gateway says of its own accord; all else must have come from the client.
const OURS: [&str; 9] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-request-id",
    "content-length",
    "transfer-encoding",
    "host",
    "traceparent",
];

/// What is wrong with the outcome of a case; nothing is as it should be. The first part is about bytes that the upstream got.
pub fn judge(
    case: &Case,
    from: Ipv4Addr,
    came: &Came,
    seen: &[Seen],
) -> (Vec<String>, Vec<String>) {
    let (sent, _) = messages(&case.bytes);
    let seen: Vec<_> =
        seen.iter().filter(|seen| !seen.message.target.starts_with(PROBE)).cloned().collect();
    let dirty = dirty(case, from, came, &sent, &seen);
    let mut wrong = came.faults.clone();
    wrong.extend(verdict(&case.want, came, &seen));
    for answer in &came.answers {
        if answer.status >= 400 && answer.first("content-type") != Some("application/problem+json")
        {
            wrong.push(format!("a refusal that is no problem document: {answer:?}"));
        }
    }
    wrong.extend(arrived(case, &sent, &seen));
    (dirty, wrong)
}

fn dirty(case: &Case, from: Ipv4Addr, came: &Came, sent: &[Message], seen: &[Seen]) -> Vec<String> {
    let kept = case.on == Profile::Kept;
    // Answers come in the order of the requests, so one that was refused isn't one that arrived.
    let refused =
        |number: usize| came.answers.get(number).is_some_and(|answer| refuses(answer.status));
    let mut dirty = Vec::new();
    let mut next = 0;
    for Seen { message, fault } in seen {
        dirty.extend(fault.clone());
        dirty.extend(dirt(message, from, case.on));
        if !message.complete {
            // A client that broke off: the connection was closed behind it, so that nobody takes it for whole.
            continue;
        }
        // Some request that the client sent, in the order in which it sent them.
        let same = |sent: &Message| {
            sent.method == message.method
                && sent.body == message.body
                && resolved(&sent.target, kept).as_deref() == Some(&message.target)
        };
        let arrived = |&number: &usize| same(&sent[number]) && !refused(number);
        match (next..sent.len()).find(arrived) {
            None => dirty.push(format!(
                "nobody sent this: {} {} with {:?}",
                message.method,
                message.target,
                String::from_utf8_lossy(&message.body)
            )),
            Some(at) => {
                dirty.extend(invented(case.on, &sent[at], message));
                next = at + 1;
            }
        }
    }
    dirty
}

/// Fields that neither the client nor the gateway can have said.
fn invented(on: Profile, sent: &Message, seen: &Message) -> Vec<String> {
    // What it says of trailers is its own; `dirt` looks at that.
    let of_trailers =
        |name: &str| on == Profile::Trailers && ["te", "connection", "trailer"].contains(&name);
    let foreign = |(name, value): &&(String, Vec<u8>)| {
        !of_trailers(name)
            && !OURS.contains(&&**name)
            && !sent.all(name).any(|other| other == value)
    };
    let foreign = seen.fields.iter().filter(foreign);
    foreign.map(|(name, _)| format!("nobody said {name}")).collect()
}

fn verdict(want: &Verdict, came: &Came, seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    let statuses: Vec<_> = came.answers.iter().map(|answer| answer.status).collect();
    if want.has("either") {
        if let Some(odd) = statuses.iter().find(|status| **status != 200 && !refuses(**status)) {
            wrong.push(format!("neither refused nor passed, but {odd}"));
        }
        return wrong;
    }
    let wanted: Vec<_> = want.answers().collect();
    let as_wanted = wanted.len() == statuses.len()
        && wanted.iter().zip(&statuses).all(|(want, status)| match *want {
            "pass" | "clean" => *status == 200,
            codes => codes.split('|').any(|code| code == status.to_string()),
        });
    let silent = wanted == ["silent"] && statuses.is_empty();
    if !(as_wanted || silent) {
        wrong.push(format!("answered {statuses:?}"));
    }
    let passes = statuses.iter().filter(|status| **status == 200).count();
    let arrived = seen.iter().filter(|seen| seen.message.complete).count();
    if passes != arrived {
        wrong.push(format!("{arrived} requests arrived, {passes} were answered well"));
    }
    let announced = |answer: &Answer| answer.status < 400 || answer.closes();
    if want.has("close") && !(came.closed && came.answers.last().is_none_or(announced)) {
        wrong.push("the connection was not closed, or not announced to be".to_owned());
    }
    wrong
}

/// Statuses with which a gateway may refuse what a client sent.
fn refuses(status: u16) -> bool {
    matches!(status, 400 | 404 | 405 | 408 | 411 | 413 | 414 | 417 | 421 | 431 | 501 | 505)
}

/// Whether what was to arrive did, and what was not did not.
fn arrived(case: &Case, sent: &[Message], seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    let shown: Vec<u8> = seen.iter().flat_map(|seen| shown(&seen.message)).collect();
    let holds = |needle: &[u8]| {
        let needle = needle.to_ascii_lowercase();
        shown.windows(needle.len()).any(|window| window == needle)
    };
    for needle in case.sees.iter().filter(|needle| !holds(needle)) {
        wrong.push(format!("{:?} did not arrive", String::from_utf8_lossy(needle)));
    }
    for needle in case.never.iter().filter(|needle| holds(needle)) {
        wrong.push(format!("{:?} arrived", String::from_utf8_lossy(needle)));
    }
    let Some(first) = seen.first().map(|seen| &seen.message) else { return wrong };
    if let Some(target) = case.target.as_ref().filter(|target| **target != first.target) {
        wrong.push(format!("{} arrived instead of {target}", first.target));
    }
    if case.body.as_ref().is_some_and(|body| *body != first.body) {
        wrong.push(format!("another body arrived: {:?}", String::from_utf8_lossy(&first.body)));
    }
    // What passes, passes whole: `clean` is for what has something taken away.
    if case.want.answers().eq(["pass"])
        && let [sent] = sent
    {
        if sent.target != first.target {
            wrong.push(format!("{} arrived instead of {}", first.target, sent.target));
        }
        let lost = |(name, value): &&(String, Vec<u8>)| {
            !OURS.contains(&&**name)
                && !["connection", "expect"].contains(&&**name)
                && !first.all(name).any(|other| other == value)
        };
        wrong.extend(sent.fields.iter().filter(lost).map(|(name, _)| format!("{name} was lost")));
    }
    wrong
}

/// What arrived, in lower case, to look things up in.
fn shown(message: &Message) -> Vec<u8> {
    let mut shown = format!("{} {}\r\n", message.method, message.target).into_bytes();
    for (name, value) in &message.fields {
        shown.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    shown.extend([b"\r\n", &message.body[..]].concat());
    for (name, value) in &message.trailers {
        shown.extend([b"\r\n", name.as_bytes(), b": ", value].concat());
    }
    shown.to_ascii_lowercase()
}
