//! Reads `corpora/http2`: the grammar is told in its `README.md`.

use std::path::Path;

use super::hpack::Field;

/// One case: what is sent, and what must come of it.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Where it stands, and its name.
    pub name: String,
    /// What is sent and waited for, in order.
    pub lines: Vec<Line>,
    /// What must come of it, one word each.
    pub want: Vec<String>,
    /// The target that the upstream must see.
    pub target: Option<String>,
    /// The body that must arrive.
    pub body: Option<Vec<u8>>,
    /// What must be among the fields that arrive.
    pub sees: Vec<String>,
    /// What must not.
    pub never: Vec<String>,
}

/// One thing that is done.
#[derive(Debug, Clone)]
pub enum Line {
    /// Begins without the preface and settings that otherwise come by themselves.
    Bare,
    /// Writes all that follows in pieces of so many bytes.
    Split(usize),
    /// Writes bytes.
    Raw(Vec<u8>),
    /// Writes a frame.
    Frame {
        /// Its type.
        kind: u8,
        /// Its flags.
        flags: u8,
        /// Its stream.
        stream: Stream,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Sends so many bytes of DATA as the windows allow, the last with END_STREAM.
    Upload(Stream, usize),
    /// Waits until something has come.
    Await(Event),
    /// Does so many times what stands up to the next `AGAIN`.
    Repeat(usize, Vec<Self>),
}

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// This one.
    Number(u32),
    /// The next odd one that was not used.
    Next,
    /// The one that the last `Next` was.
    Last,
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The other side's settings.
    Settings,
    /// The head of an answer, or a reset of its stream.
    Answer(Stream),
    /// The end of an answer.
    End(Stream),
    /// The end of the connection.
    Closed,
}

/// All cases, in order.
pub fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora/http2");
    let entries = std::fs::read_dir(&folder).expect("the corpora lie beside the tests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "txt")) {
        let text = std::fs::read_to_string(file).expect("a corpus can be read");
        let name = file.file_stem().expect("it has a name").to_string_lossy().into_owned();
        cases.extend(families(&name, &text).iter().flat_map(Family::cases));
    }
    cases
}

/// A value, and what is wanted with it if that differs.
type Value = (String, Option<String>);

/// A case, or as many as its `each` has values.
#[derive(Debug, Default)]
struct Family {
    place: String,
    name: String,
    /// The name that stands for a value, and the values with what is wanted then.
    each: Option<(String, Vec<Value>)>,
    lines: Vec<(String, String)>,
}

fn families(file: &str, text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{file}:{}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim().to_owned();
        if word == "case" {
            families.push(Family { place, name: rest, ..Family::default() });
            continue;
        }
        let family = families.last_mut().unwrap_or_else(|| panic!("{place}: no case yet"));
        match (word, &mut family.each) {
            ("each", each) => *each = Some((rest, Vec::new())),
            ("-", Some((_, values))) => match rest.rsplit_once("=> ") {
                Some((value, want)) => {
                    values.push((value.trim().to_owned(), Some(want.trim().to_owned())));
                }
                None => values.push((rest, None)),
            },
            _ => family.lines.push((word.to_owned(), rest)),
        }
    }
    families
}

impl Family {
    fn cases(&self) -> Vec<Case> {
        match &self.each {
            None => vec![self.case("", "", None)],
            Some((name, values)) => values
                .iter()
                .map(|(value, want)| self.case(&format!("${name}"), value, want.as_deref()))
                .collect(),
        }
    }

    fn case(&self, variable: &str, value: &str, want: Option<&str>) -> Case {
        let filled = |text: &str| {
            if variable.is_empty() { text.to_owned() } else { text.replace(variable, value) }
        };
        let name = format!("{} {} {value}", self.place, self.name);
        let mut case = Case { name: name.trim().to_owned(), ..Case::default() };
        let mut open: Vec<(usize, Vec<Line>)> = Vec::new();
        let mut words = want.map(ToOwned::to_owned);
        for (word, rest) in &self.lines {
            let rest = filled(rest);
            match &**word {
                "want" => words = words.or(Some(rest)),
                "target" => case.target = Some(rest),
                "body" => case.body = Some(unescaped(&rest)),
                "sees" => case.sees.push(rest),
                "never" => case.never.push(rest),
                "REPEAT" => open.push((number(&rest) as usize, Vec::new())),
                "AGAIN" => {
                    let (times, lines) = open.pop().expect("AGAIN has a REPEAT before it");
                    let lines = Line::Repeat(times, lines);
                    open.last_mut().map_or(&mut case.lines, |(_, lines)| lines).push(lines);
                }
                _ => {
                    let line = line(&filled(&format!("{word} {rest}")));
                    open.last_mut().map_or(&mut case.lines, |(_, lines)| lines).push(line);
                }
            }
        }
        assert!(open.is_empty(), "{}: a REPEAT without AGAIN", self.place);
        let words = words.unwrap_or_else(|| panic!("{}: nothing is wanted", self.place));
        case.want = words.split_whitespace().map(ToOwned::to_owned).collect();
        case
    }
}

/// Reads one line of a script.
pub fn line(text: &str) -> Line {
    let text = text.trim();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut words = rest.split_whitespace();
    let mut word_of =
        |what: &str| words.next().unwrap_or_else(|| panic!("{text}: {what} is missing"));
    match word {
        "BARE" => Line::Bare,
        "SPLIT" => Line::Split(number(rest) as usize),
        "RAW" => Line::Raw(unescaped(rest)),
        "HEADERS" => {
            let stream = stream(word_of("its stream"));
            block(1, stream, words)
        }
        "CONTINUATION" => {
            let stream = stream(word_of("its stream"));
            block(9, stream, words)
        }
        "DATA" => {
            let stream = stream(word_of("its stream"));
            data(stream, words)
        }
        "RST" => {
            frame(3, 0, word_of("its stream"), number(word_of("its code")).to_be_bytes().to_vec())
        }
        "SETTINGS" => settings(words),
        "PING" => frame(6, u8::from(rest == "ack"), "0", b"portcull".to_vec()),
        "GOAWAY" => frame(7, 0, "0", [[0; 4], number(word_of("its code")).to_be_bytes()].concat()),
        "WINDOW" => frame(
            8,
            0,
            word_of("its stream"),
            number(word_of("by how much")).to_be_bytes().to_vec(),
        ),
        "PRIORITY" => {
            let (stream, on) = (word_of("its stream"), number(word_of("on which")));
            frame(2, 0, stream, [&on.to_be_bytes()[..], &[15]].concat())
        }
        "FRAME" => {
            let (kind, flags) =
                (number(word_of("its type")) as u8, number(word_of("its flags")) as u8);
            frame(
                kind,
                flags,
                word_of("its stream"),
                words.next().map(unescaped).unwrap_or_default(),
            )
        }
        "UPLOAD" => {
            Line::Upload(stream(word_of("its stream")), number(word_of("its bytes")) as usize)
        }
        "AWAIT" => Line::Await(match word_of("what") {
            "settings" => Event::Settings,
            "answer" => Event::Answer(stream(word_of("its stream"))),
            "end" => Event::End(stream(word_of("its stream"))),
            "closed" => Event::Closed,
            other => panic!("{text}: nobody can await {other}"),
        }),
        other => panic!("{text}: what is {other}?"),
    }
}

fn frame(kind: u8, flags: u8, of: &str, payload: Vec<u8>) -> Line {
    Line::Frame { kind, flags, stream: stream(of), payload }
}

fn stream(word: &str) -> Stream {
    match word {
        "+" => Stream::Next,
        "." => Stream::Last,
        number_of => Stream::Number(number(number_of)),
    }
}

fn number(word: &str) -> u32 {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{word:?} is no number"))
}

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// HEADERS or CONTINUATION.
fn block<'w>(kind: u8, stream: Stream, words: impl Iterator<Item = &'w str>) -> Line {
    let (mut flags, mut padding, mut before, mut payload) =
        (END_HEADERS, 0, Vec::new(), Vec::new());
    for word in words {
        match word.split_once('=') {
            None if word == "end" => flags |= END_STREAM,
            None if word == "open" => flags &= !END_HEADERS,
            Some(("pad", bytes)) => (flags, padding) = (flags | PADDED, number(bytes) as u8),
            Some(("prio", on)) => {
                flags |= PRIORITY;
                before = [&number(on).to_be_bytes()[..], &[15]].concat();
            }
            _ => fields(word).iter().for_each(|field| field.write(&mut payload)),
        }
    }
    Line::Frame { kind, flags, stream, payload: padded(flags, padding, [before, payload].concat()) }
}

fn padded(flags: u8, padding: u8, payload: Vec<u8>) -> Vec<u8> {
    match flags & PADDED {
        0 => payload,
        _ => [vec![padding], payload, vec![0; usize::from(padding)]].concat(),
    }
}

fn data<'w>(stream: Stream, words: impl Iterator<Item = &'w str>) -> Line {
    let (mut flags, mut padding, mut payload) = (0, 0, Vec::new());
    for word in words {
        match word.split_once('=') {
            None if word == "end" => flags |= END_STREAM,
            Some(("pad", bytes)) => (flags, padding) = (flags | PADDED, number(bytes) as u8),
            _ => payload.extend(unescaped(word)),
        }
    }
    Line::Frame { kind: 0, flags, stream, payload: padded(flags, padding, payload) }
}

fn settings<'w>(words: impl Iterator<Item = &'w str>) -> Line {
    let (mut flags, mut payload) = (0, Vec::new());
    for word in words {
        match word.split_once('=') {
            Some((id, value)) => {
                payload.extend((number(id) as u16).to_be_bytes());
                payload.extend(number(value).to_be_bytes());
            }
            None => flags = 1,
        }
    }
    Line::Frame { kind: 4, flags, stream: Stream::Number(0), payload }
}

fn fields(word: &str) -> Vec<Field> {
    let pair = |text: &str| {
        // A name may begin with a colon, and `=` is never a part of one here.
        let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("{word}: no value"));
        (unescaped(name), unescaped(value))
    };
    let pseudo = |method: &str, path: &str| {
        let literal = |name: &str, value: &str| Field::Literal(name.into(), unescaped(value));
        vec![
            literal(":method", method),
            literal(":scheme", "http"),
            literal(":authority", "a"),
            literal(":path", path),
        ]
    };
    let mut chars = word.chars();
    match (chars.next(), chars.as_str()) {
        (Some('@'), rest) => {
            let (method, path) = rest.split_once('=').expect("@method=path");
            pseudo(&method.to_uppercase(), path)
        }
        (Some('~'), rest) => {
            let (name, value) = pair(rest);
            vec![Field::Huffman(name, value)]
        }
        (Some('+'), rest) => {
            let (name, value) = pair(rest);
            vec![Field::Indexing(name, value)]
        }
        (Some('#'), rest) => vec![Field::Indexed(number(rest))],
        (Some('^'), rest) => vec![Field::TableSize(number(rest))],
        (Some('%'), rest) => vec![Field::Raw(unescaped(rest))],
        // `{x-$#=a*100}` is a hundred fields, each with a name of its own.
        (Some('{'), rest) if rest.ends_with('}') => {
            let (text, times) = rest[..rest.len() - 1].rsplit_once('*').expect("{field*times}");
            (0..number(times))
                .flat_map(|turn| fields(&text.replace("$#", &turn.to_string())))
                .collect()
        }
        _ => {
            let (name, value) = pair(word);
            vec![Field::Literal(name, value)]
        }
    }
}

/// `\r \n \t \0 \s \\ \x7f` are bytes, and `{x*3}` is `xxx`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix('{')
            && let Some((inside, behind)) = inside.split_once('}')
            && let Some((what, times)) = inside.rsplit_once('*')
            && let Ok(times) = times.parse()
        {
            out.extend(unescaped(what).repeat(times));
            rest = behind;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend(c.to_string().into_bytes());
            continue;
        }
        let mut chars = rest.chars();
        let escape = chars.next().expect("a backslash has something behind it");
        rest = chars.as_str();
        match escape {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            's' => out.push(b' '),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two hex digits behind \\x"));
                rest = &rest[2..];
            }
            other => panic!("no such escape: \\{other}"),
        }
    }
    out
}
