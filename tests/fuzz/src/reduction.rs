//! Makes an input that breaks something as small as it gets: pieces are left out, large ones first, while it still breaks.

use std::time::{Duration, Instant};

/// How long it is tried. What is left then is small enough to read.
const TIME: Duration = Duration::from_secs(20);

/// The smallest input found that `breaks`.
pub(crate) fn reduced(mut input: Vec<u8>, mut breaks: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + TIME;
    let mut step = input.len().next_power_of_two();
    while step > 0 && Instant::now() < end {
        let mut at = 0;
        let mut shorter = false;
        while at < input.len() && Instant::now() < end {
            let mut candidate = input.clone();
            candidate.drain(at..(at + step).min(input.len()));
            if breaks(&candidate) {
                input = candidate;
                shorter = true;
            } else {
                at += step;
            }
        }
        // What could not go may be able to once something else has gone.
        if !shorter || step > 1 {
            step /= 2;
        }
    }
    for at in 0..input.len() {
        let plain = std::mem::replace(&mut input[at], b'a');
        if plain == b'a' || Instant::now() >= end || !breaks(&input) {
            input[at] = plain;
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_breaks_is_left() {
        let contains =
            |input: &[u8], word: &[u8]| input.windows(word.len()).any(|found| found == word);
        let input = b"some long text with a \xff and an \xfe in it".to_vec();
        let least = reduced(input, |input| contains(input, b"\xff") && contains(input, b"\xfe"));
        assert_eq!(least, b"\xff\xfe");
    }

    #[test]
    fn what_does_not_matter_becomes_plain() {
        let least = reduced(b"0123456789".to_vec(), |input| input.len() >= 4);
        assert_eq!(least, b"aaaa");
    }
}
