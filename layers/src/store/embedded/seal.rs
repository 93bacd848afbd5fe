//! Sealed objects: JSON on one line, whose last member is a hash of all bytes before it.
//!
//! `{"revision":7}` becomes `{"revision":7,"hash":"<64 hex digits>"}` and a newline. Any flipped byte, and any cut, breaks the
//! seal; yet each file stays plain JSON, and a person can check a line with `sha256sum`.

use sha2::{Digest, Sha256};

/// The hash of a line, as it stands in its seal.
pub(in crate::store) type Hash = String;

const BEFORE_HASH: &str = r#","hash":""#;
const AFTER_HASH: &str = "\"}\n";
const HASH_DIGITS: usize = 64;

/// Seals a JSON object that has at least one member. Returns its hash, too.
pub(in crate::store) fn seal(object: &str) -> (String, Hash) {
    let open = object.strip_suffix('}').expect("an object ends with a brace");
    let hash = hash(open.as_bytes());
    (format!("{open}{BEFORE_HASH}{hash}{AFTER_HASH}"), hash)
}

/// The object of a line with an unbroken seal, and its hash.
pub(in crate::store) fn unseal(line: &[u8]) -> Option<(String, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let (open, digits) = line.strip_suffix(AFTER_HASH)?.rsplit_once(BEFORE_HASH)?;
    (hash(open.as_bytes()) == digits).then(|| (format!("{open}}}"), digits))
}

/// The hash that a line must have, whether or not it does: how the line after it refers to it.
pub(in crate::store) fn hash_of_line(line: &[u8]) -> Hash {
    let tail = BEFORE_HASH.len() + HASH_DIGITS + AFTER_HASH.len();
    hash(&line[..line.len().saturating_sub(tail)])
}

fn hash(bytes: &[u8]) -> Hash {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_object_is_json_and_comes_back() {
        let (line, hash) = seal(r#"{"revision":7}"#);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["revision"], 7);
        assert_eq!(parsed["hash"], hash);
        assert_eq!(unseal(line.as_bytes()), Some((r#"{"revision":7}"#.to_owned(), hash.as_str())));
        assert_eq!(hash_of_line(line.as_bytes()), hash);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_breaks_the_seal() {
        let (line, _) = seal(r#"{"revision":7,"reason":"stock is wrong"}"#);
        let line = line.into_bytes();
        for at in 0..line.len() {
            assert_eq!(unseal(&line[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut flipped = line.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(unseal(&flipped), None, "bit {bit} of byte {at}");
            }
        }
    }
}
