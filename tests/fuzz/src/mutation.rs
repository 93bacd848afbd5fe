//! Makes a new input of known ones: the changes that break parsers.

use fastrand::Rng;

/// Numbers at the edges of what counters and lengths can hold.
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "00",
    "9",
    "127",
    "256",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "ffffffffffffffff",
];
/// Bytes with a meaning somewhere.
const BYTES: &[u8] = b"\0\t\n\r \"#%&'()*+,-./0:;<=>?@A[\\]_`{|}~\x7f\x80\xc0\xff";

/// A changed copy of one of `inputs`, at most so long. `words` are what the target's format is made of.
pub(crate) fn mutated(
    rng: &mut Rng,
    inputs: &[Vec<u8>],
    words: &[&[u8]],
    bytes_max: usize,
) -> Vec<u8> {
    let mut input = choice(rng, inputs).cloned().unwrap_or_default();
    for _ in 0..1 + rng.usize(..5) {
        change(rng, &mut input, inputs, words);
    }
    input.truncate(bytes_max);
    input
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, inputs: &[Vec<u8>], words: &[&[u8]]) {
    let at = rng.usize(..=input.len());
    let piece = at..(at + rng.usize(..=16)).min(input.len());
    match rng.u8(..12) {
        0 => drop(input.drain(piece)),
        1 => {
            let copy = input[piece].to_vec();
            insert(input, rng.usize(..=input.len()), &copy);
        }
        2 => insert(input, at, &[*choice(rng, BYTES).unwrap_or(&0)]),
        3 => insert(input, at, choice(rng, words).copied().unwrap_or_default()),
        4 => insert(input, at, choice(rng, &NUMBERS).copied().unwrap_or_default().as_bytes()),
        5 => {
            let word = choice(rng, words).copied().unwrap_or_default();
            input.splice(piece, word.iter().copied());
        }
        6 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        7 if at < input.len() => input[at] = rng.u8(..),
        8 if at < input.len() => input[at] = *choice(rng, BYTES).unwrap_or(&0),
        // The start of one and the end of another.
        9 => {
            let other = choice(rng, inputs).cloned().unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        // A line elsewhere, or twice.
        10 => {
            let lines: Vec<Vec<u8>> =
                input.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
            let line = choice(rng, &lines).cloned().unwrap_or_default();
            let place = rng.usize(..=lines.len());
            let place = lines[..place].iter().map(Vec::len).sum();
            insert(input, place, &line);
        }
        _ => {
            let copy = input[piece].repeat(1 + rng.usize(..64));
            insert(input, at, &copy);
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn choice<'c, T>(rng: &mut Rng, all: &'c [T]) -> Option<&'c T> {
    if all.is_empty() { None } else { all.get(rng.usize(..all.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_the_same_inputs_and_another_others() {
        let inputs = vec![b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Vec::new()];
        let all = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..500).map(|_| mutated(&mut rng, &inputs, &[b"Host"], 100)).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(3).iter().all(|input| input.len() <= 100));
    }
}
