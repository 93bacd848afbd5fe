//! As much JSON as cargo prints. A crate for it would be this package's only dependency, and every build of `cargo ci`
//! would wait for it.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Nesting of what cargo prints is about six; this is the bound that keeps recursion off the end of the stack.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// `null`, booleans and numbers, as they are spelt: nobody here reads them.
    Plain(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.chars().peekable() };
        let value = reader.value(0)?;
        match reader.next_sign() {
            None => Ok(value),
            Some(sign) => Err(format!("{sign:?} after the end of the JSON")),
        }
    }

    pub(super) fn list(&self, key: &str) -> &[Json] {
        match self.member(key) {
            Some(Self::List(list)) => list,
            _ => &[],
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.member(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err("the JSON is nested too deeply".to_owned());
        }
        match self.next_sign() {
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"') => self.text().map(Json::Text),
            Some(first) if first == '-' || first.is_ascii_alphanumeric() => Ok(self.plain(first)),
            other => Err(format!("a value was expected, not {other:?}")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = BTreeMap::new();
        let mut sign = self.next_sign();
        while sign != Some('}') {
            if sign != Some('"') {
                return Err(format!("a key was expected, not {sign:?}"));
            }
            let key = self.text()?;
            self.expect(':')?;
            members.insert(key, self.value(depth + 1)?);
            sign = self.next_sign();
            if sign == Some(',') {
                sign = self.next_sign();
            }
        }
        Ok(Json::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.rest.peek() {
                Some(']') => {
                    self.rest.next();
                    return Ok(Json::List(items));
                }
                Some(',') if !items.is_empty() => drop(self.rest.next()),
                _ => items.push(self.value(depth + 1)?),
            }
        }
    }

    /// What follows an opening quote, up to the closing one.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(sign) => text.push(sign),
                None => return Err("the JSON ends inside a text".to_owned()),
            }
        }
    }

    /// Halves of surrogate pairs become the replacement character; nothing that we read holds one.
    fn escaped(&mut self) -> Result<char, String> {
        match self.rest.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b' | 'f') => Ok(' '),
            Some('u') => {
                let digits: String = self.rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .map_err(|fault| format!("\\u{digits}: {fault}"))?;
                Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            Some(sign) => Ok(sign),
            None => Err("the JSON ends inside a text".to_owned()),
        }
    }

    fn plain(&mut self, first: char) -> Json {
        let mut plain = String::from(first);
        while let Some(sign) =
            self.rest.next_if(|sign| sign.is_ascii_alphanumeric() || "+-.".contains(*sign))
        {
            plain.push(sign);
        }
        Json::Plain(plain)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        match self.next_sign() {
            Some(sign) if sign == wanted => Ok(()),
            other => Err(format!("{wanted:?} was expected, not {other:?}")),
        }
    }

    fn next_sign(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.next()
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(char::is_ascii_whitespace).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_prints_is_read() {
        let json = Json::parse(
            r#" {"packages": [{"name": "a", "licence": null, "n": -1.5e3}, {}], "x\n\u0041": []} "#,
        )
        .unwrap();
        assert_eq!(json.list("packages").len(), 2);
        assert_eq!(json.list("packages")[0].text("name"), Some("a"));
        assert_eq!(json.list("packages")[0].text("licence"), None);
        assert_eq!(json.member("x\nA"), Some(&Json::List(Vec::new())));
    }

    #[test]
    fn what_is_not_json_is_refused_and_does_not_hang() {
        for bad in
            ["", "{", "[1,", "[,]", "{\"a\"}", "{\"a\":1} x", "\"a", "{1:2}", &"[".repeat(1000)]
        {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
    }
}
