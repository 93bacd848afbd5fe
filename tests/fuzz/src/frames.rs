//! HTTP/2 frames as bytes: written for seeds, and mended after a change, so that a flipped bit in a payload doesn't cost all that
//! follows.

use fastrand::Rng;

/// Bytes of a frame's header.
const HEADER: usize = 9;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sets the length of the first frame that goes past the end to what there is.
pub(crate) fn mend(rng: &mut Rng, bytes: &mut [u8]) {
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let left = bytes.len() - at - HEADER;
        let length = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
        if length > left || length > 16_384 && rng.u8(..4) > 0 {
            let fits = u32::try_from(left.min(64)).unwrap_or(0).to_be_bytes();
            bytes[at..at + 3].copy_from_slice(&fits[1..]);
            at += HEADER + left.min(64);
        } else {
            at += HEADER + length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_claims_too_much_ends_with_the_bytes() {
        let mut bytes = frame(0, 0, 1, b"abc");
        bytes[2] = 200;
        mend(&mut Rng::with_seed(1), &mut bytes);
        assert_eq!(bytes, frame(0, 0, 1, b"abc"));
    }
}
