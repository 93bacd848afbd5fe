//! The one path rule: what comes out is normal, and normalising it again changes nothing.

use portcullis_gateway::config::config::{DoubleSlash, EncodedSlash};
use portcullis_gateway::sanitise::path::{PathRules, normalise};

use super::{Target, must};

pub(crate) struct Path;

impl Target for Path {
    fn name(&self) -> &'static str {
        "path"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let paths = [
            "/",
            "/a/b",
            "/a/../b",
            "/./a",
            "/a/..;x=1/b",
            "//a",
            "/a%2fb",
            "/%2e%2E/",
            "/%c3%a9",
            "/%c0%ae",
            "/a%5cb",
            "/a%00",
            "/a\\b",
            "/%252e",
            "/a;b/.;c",
            "/%41%7e",
            "/a#b",
            "/\u{e9}",
        ];
        (0..6).flat_map(|rules| paths.map(|path| [&[rules], path.as_bytes()].concat())).collect()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"/", b"..", b".", b"%2e", b"%2F", b";", b"//", b"%25", b"%", b"\\", b"%5c", b"/../",
            b"/./", b"%c3%a9",
        ]
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let (which, path) = input.split_first().unwrap_or((&0, b"/"));
        let rules = PathRules {
            double_slash: [DoubleSlash::Merge, DoubleSlash::Reject, DoubleSlash::Keep]
                [usize::from(which % 3)],
            encoded_slash: [EncodedSlash::Reject, EncodedSlash::Keep][usize::from(which / 3 % 2)],
        };
        let path = String::from_utf8_lossy(path);
        let (answer, normal) = match normalise(&path, rules) {
            Err(fault) => return Ok(format!("{fault:?}")),
            Ok(None) => ("normal", path.into_owned()),
            Ok(Some(normal)) => ("changed", normal),
        };
        holds(&normal, rules)?;
        let again = normalise(&normal, rules);
        must(again == Ok(None), || format!("{normal:?} is not normal yet: {again:?}"))?;
        Ok(answer.to_owned())
    }
}

fn holds(path: &str, rules: PathRules) -> Result<(), String> {
    must(path.starts_with('/'), || format!("{path:?} has no slash in front"))?;
    must(
        path.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\#?".contains(&byte) || byte == b'?'),
        || format!("{path:?} has a byte that no path has"),
    )?;
    must(rules.double_slash == DoubleSlash::Keep || !path.contains("//"), || {
        format!("{path:?} has an empty segment")
    })?;
    for segment in path.split('/') {
        let bare = segment.split(';').next().unwrap_or_default();
        must(bare != "." && bare != "..", || format!("{path:?} has a dot segment"))?;
    }
    for code in path.split('%').skip(1) {
        let digits = code.get(..2).unwrap_or_default();
        let byte =
            u8::from_str_radix(digits, 16).map_err(|_| format!("{path:?} has a broken escape"))?;
        must(digits.len() == 2 && !digits.bytes().any(|digit| digit.is_ascii_lowercase()), || {
            format!("{path:?} has an escape that is spelt otherwise")
        })?;
        must(
            !byte.is_ascii_alphanumeric()
                && !b"-._~\\".contains(&byte)
                && byte > 0x1f
                && byte != 0x7f,
            || format!("{path:?} has an escape that should not be there"),
        )?;
        must(byte != b'/' || rules.encoded_slash == EncodedSlash::Keep, || {
            format!("{path:?} hides a slash")
        })?;
    }
    Ok(())
}
