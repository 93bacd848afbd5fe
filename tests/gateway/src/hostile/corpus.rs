//! Reads `corpora/*`: the grammar is told in `corpora/README.md`.

use std::path::Path;

/// One case: what is sent, and what must come of it.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Its name, and where it stands.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What follows them.
    pub then: Then,
    /// Under which settings of the gateway.
    pub on: Profile,
    /// The method of the request that hostile answers get.
    pub method: String,
    /// The status that a hostile answer is to be passed on with.
    pub status: u16,
    /// Whether a hostile upstream speaks as soon as somebody connects.
    pub early: bool,
    /// What a hostile upstream sends once the client has its answer.
    pub later: Vec<u8>,
    /// What must come of it.
    pub want: Verdict,
    /// The target that the upstream must see.
    pub target: Option<String>,
    /// The body that must arrive.
    pub body: Option<Vec<u8>>,
    /// What must be among the bytes that arrive, in whatever case.
    pub sees: Vec<Vec<u8>>,
    /// What must not.
    pub never: Vec<Vec<u8>>,
}

/// What the sender does behind its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    /// It waits for what comes.
    #[default]
    Listen,
    /// It says that no more will come.
    HalfClose,
    /// It closes.
    Close,
    /// It resets the connection.
    Reset,
}

/// Settings of the gateway that a case is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// The defaults.
    #[default]
    Plain,
    /// Loopback is trusted to say who asks.
    Trusted,
    /// `//` and `%2F` are kept.
    Kept,
    /// Some fields may stand behind a body.
    Trailers,
}

/// What must come of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One word per answer; see `corpora/README.md`.
    pub words: Vec<String>,
}

impl Verdict {
    /// Whether it has this word.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// The words that stand for an answer.
    pub fn answers(&self) -> impl Iterator<Item = &str> {
        self.words
            .iter()
            .map(String::as_str)
            .filter(|word| !["close", "kept", "new"].contains(word))
    }
}

/// All cases of the files of a folder, in order.
pub fn corpus(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(folder);
    let entries = std::fs::read_dir(&folder).expect("the corpora lie beside the tests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "txt")) {
        let text = std::fs::read_to_string(file).expect("a corpus can be read");
        let name = file.file_stem().expect("it has a name").to_string_lossy().into_owned();
        cases.extend(parsed(&name, &text));
    }
    cases
}

fn parsed(file: &str, text: &str) -> Vec<Case> {
    let mut families: Vec<Family> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{file}:{}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            families.push(Family {
                place: place.clone(),
                name: rest.to_owned(),
                ..Family::default()
            });
            continue;
        }
        let family = families.last_mut().unwrap_or_else(|| panic!("{place}: no case yet"));
        match word {
            "each" => family.each.push((rest.trim().to_owned(), Vec::new())),
            "-" => {
                let (value, want) = match rest.rsplit_once("=> ") {
                    Some((value, want)) => (value.trim(), Some(want.trim().to_owned())),
                    None => (rest.trim(), None),
                };
                let each = family.each.last_mut().unwrap_or_else(|| panic!("{place}: no each yet"));
                each.1.push(Value { text: value.to_owned(), want });
            }
            _ => family.lines.push((word.to_owned(), rest.to_owned())),
        }
    }
    families.iter().flat_map(Family::cases).collect()
}

/// A case, or as many as its `each` has values.
#[derive(Debug, Default)]
struct Family {
    place: String,
    name: String,
    each: Vec<(String, Vec<Value>)>,
    lines: Vec<(String, String)>,
}

/// A value of an `each`, and what is wanted with it.
#[derive(Debug)]
struct Value {
    text: String,
    want: Option<String>,
}

/// What each name stands for, and what is wanted then.
#[derive(Debug, Clone, Default)]
struct Setting {
    set: Vec<(String, String)>,
    want: Option<String>,
}

impl Setting {
    fn with(&self, name: &str, value: &Value) -> Self {
        let mut set = self.set.clone();
        set.push((name.to_owned(), value.text.clone()));
        // Longer names first, so that `$x` does not take the head off `$xy`.
        set.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { set, want: value.want.clone().or_else(|| self.want.clone()) }
    }

    fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(String, String)| {
            text.replace(&format!("${name}"), value)
        };
        self.set.iter().fold(text.to_owned(), fill)
    }
}

impl Family {
    fn cases(&self) -> Vec<Case> {
        let mut settings = vec![Setting::default()];
        for (name, values) in &self.each {
            let all = |setting: &Setting| -> Vec<_> {
                values.iter().map(|value| setting.with(name, value)).collect()
            };
            settings = settings.iter().flat_map(all).collect();
        }
        settings.iter().map(|setting| self.case(setting)).collect()
    }

    fn case(&self, setting: &Setting) -> Case {
        let filled = |text: &str| setting.fill(text);
        let bytes = |text: &str| unescaped(&filled(text));
        let mut case = Case {
            name: format!("{} {}", self.place, filled(&self.name)),
            method: "GET".to_owned(),
            status: 200,
            ..Case::default()
        };
        let mut words = String::new();
        for (word, rest) in &self.lines {
            match &**word {
                "|" => case.bytes.extend([bytes(rest), b"\r\n".to_vec()].concat()),
                ">" => case.bytes.extend(bytes(rest)),
                "want" => words.clone_from(rest),
                "target" => case.target = Some(filled(rest)),
                "body" => case.body = Some(bytes(rest)),
                "sees" => case.sees.push(bytes(rest)),
                "never" => case.never.push(bytes(rest)),
                "later" => case.later.extend(bytes(rest)),
                "early" => case.early = true,
                "status" => {
                    case.status = filled(rest).trim().parse().expect("a status is a number");
                }
                "method" => rest.trim().clone_into(&mut case.method),
                "then" => {
                    case.then = match rest.trim() {
                        "half-close" => Then::HalfClose,
                        "close" => Then::Close,
                        "reset" => Then::Reset,
                        other => panic!("{}: nobody can then {other:?}", self.place),
                    }
                }
                "on" => {
                    case.on = match rest.trim() {
                        "trusted" => Profile::Trusted,
                        "kept" => Profile::Kept,
                        "trailers" => Profile::Trailers,
                        other => panic!("{}: there is no profile {other:?}", self.place),
                    }
                }
                other => panic!("{}: what is {other:?}?", self.place),
            }
        }
        let words = setting.want.as_deref().unwrap_or(&words);
        case.want = Verdict { words: words.split_whitespace().map(ToOwned::to_owned).collect() };
        assert!(!case.want.words.is_empty(), "{}: nothing is wanted", self.place);
        case
    }
}

/// Escapes and repetitions, see `corpora/README.md`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '{'
            && let Some((inside, behind)) = rest[1..].split_once('}')
            && let Some((what, count)) = inside.rsplit_once('*')
            && let Ok(count) = count.parse::<usize>()
        {
            for number in 0..count {
                out.extend(unescaped(&what.replace("$#", &number.to_string())));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_its_bytes_and_what_it_wants() {
        let cases =
            parsed("f", "case one\nwant 400 close\n| GET / HTTP/1.1\n> \\x00{ab*2}{x$#*2}\n");
        assert_eq!(cases[0].bytes, b"GET / HTTP/1.1\r\n\0ababx0x1");
        assert_eq!(cases[0].want.words, ["400", "close"]);
    }

    #[test]
    fn a_family_is_as_many_cases_as_its_values_and_each_may_want_something_else() {
        let text =
            "case $a$b\nwant pass\neach a\n- 1\n- 2 => 400\neach b\n- x\n- \\s => 501\n> $a$b\n";
        let cases = parsed("f", text);
        let found: Vec<_> =
            cases.iter().map(|case| (&case.bytes[..], &*case.want.words[0])).collect();
        assert_eq!(found, [(&b"1x"[..], "pass"), (b"1 ", "501"), (b"2x", "400"), (b"2 ", "501")]);
    }
}
