//! Reads the heads of HTTP/2 frames out of bytes that pass by, in whatever pieces they come.
//!
//! It copies nine bytes per frame (a few more where the payload's first bytes matter), allocates nothing, and judges nothing:
//! whether a frame is allowed is hyper's business.

/// Frame types (RFC 9113, 6, and 7.1 of RFC 9218).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
    pub(in super::super) const PRIORITY_UPDATE: u8 = 16;
}

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

const HEAD_BYTES: usize = 9;
/// A head and the error code behind that of RST_STREAM.
const HEAD_BYTES_MAX: usize = HEAD_BYTES + 4;

/// The head of a frame, and as much of its payload as somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Its type; see [`kind`].
    pub(super) kind: u8,
    /// The stream, 0 for the connection.
    pub(super) stream: u32,
    /// Bytes of its payload, padding included.
    pub(super) length: usize,
    flags: u8,
    first: [u8; 4],
}

impl Frame {
    fn read(head: [u8; HEAD_BYTES_MAX]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3, first @ ..] = head;
        Self {
            kind,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            flags,
            first,
        }
    }

    /// Whether it answers one of the same type.
    pub(super) const fn is_ack(&self) -> bool {
        self.flags & FIRST != 0
    }

    /// Whether it is the last of its stream.
    pub(super) const fn ends_stream(&self) -> bool {
        self.flags & FIRST != 0
    }

    /// Whether a block of fields goes on in the next frame.
    pub(super) const fn leaves_block_open(&self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::CONTINUATION) && self.flags & END_HEADERS == 0
    }

    /// Bytes of DATA without their padding.
    pub(super) fn data_length(&self) -> usize {
        if self.flags & PADDED == 0 {
            return self.length;
        }
        self.length.saturating_sub(1 + usize::from(self.first[0]))
    }

    /// The error code of RST_STREAM.
    pub(super) const fn error_code(&self) -> u32 {
        u32::from_be_bytes(self.first)
    }

    /// Bytes of the payload that belong to what is read of the frame.
    fn wanted(&self) -> usize {
        match self.kind {
            kind::DATA if self.flags & PADDED != 0 => self.length.min(1),
            kind::RST_STREAM => self.length.min(4),
            _ => 0,
        }
    }
}

/// Where in a stream of frames the bytes are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes that are of no interest: the rest of a payload, or what is no frame.
    left: usize,
    head: [u8; HEAD_BYTES_MAX],
    have: usize,
    /// Whether the last frame's block of fields goes on.
    block_is_open: bool,
    /// Whether the last frame was one of DATA.
    in_data: bool,
}

impl Frames {
    /// Frames behind so many bytes that are none.
    pub(super) fn behind(bytes: usize) -> Self {
        Self { left: bytes, ..Self::default() }
    }

    /// Tells of each frame whose head ends in these bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Frame)) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let frame = Frame::read(self.head);
            let wanted =
                if self.have < HEAD_BYTES { HEAD_BYTES } else { HEAD_BYTES + frame.wanted() };
            let taken = (wanted - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            let frame = Frame::read(self.head);
            if self.have >= HEAD_BYTES && self.have == HEAD_BYTES + frame.wanted() {
                self.left = frame.length - frame.wanted();
                self.have = 0;
                self.block_is_open = frame.leaves_block_open();
                self.in_data = frame.kind == kind::DATA;
                each(&frame);
            }
        }
    }

    /// Whether the last byte ended a frame.
    pub(super) const fn is_between(&self) -> bool {
        self.left == 0 && self.have == 0
    }

    /// Whether something has begun that must go on soon: a frame, or a block of fields. The payload of DATA may take as long
    /// as its stream.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.block_is_open || self.have > 0 || self.left > 0 && !self.in_data
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn told(frames: &mut Frames, bytes: &[u8]) -> Vec<(u8, u32, usize, usize, u32)> {
        let mut told = Vec::new();
        frames.pass(bytes, |frame| {
            told.push((
                frame.kind,
                frame.stream,
                frame.length,
                frame.data_length(),
                frame.error_code(),
            ));
        });
        told
    }

    #[test]
    fn padding_is_not_data_and_a_reset_has_a_code() {
        let bytes = [
            frame(kind::DATA, PADDED, 1, &[3, b'x', b'y', 0, 0, 0]),
            frame(kind::DATA, PADDED, 1, &[]),
            frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        ];
        let told = told(&mut Frames::default(), &bytes.concat());
        assert_eq!(told[0].3, 2);
        assert_eq!(told[1].3, 0);
        assert_eq!(told[2].4, 8);
    }

    #[test]
    fn a_block_of_fields_is_unfinished_until_its_last_frame_is_whole() {
        let mut frames = Frames::behind(2);
        assert!(frames.is_unfinished());
        frames.pass(b"PR", |_| {});
        assert!(!frames.is_unfinished());
        frames.pass(&frame(kind::HEADERS, 0, 1, b"ab"), |_| {});
        assert!(frames.is_between() && frames.is_unfinished());
        let last = frame(kind::CONTINUATION, END_HEADERS, 1, b"cd");
        frames.pass(&last[..10], |_| {});
        assert!(frames.is_unfinished());
        frames.pass(&last[10..], |_| {});
        assert!(!frames.is_unfinished());
        frames.pass(&frame(kind::DATA, 0, 1, b"abc")[..10], |_| {});
        assert!(!frames.is_between() && !frames.is_unfinished());
    }

    proptest! {
        #[test]
        fn the_same_frames_are_told_however_the_bytes_are_cut(
            frames in proptest::collection::vec((0..20u8, any::<u8>(), 0..9u32, proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
            cuts in proptest::collection::vec(1..30usize, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            let whole = told(&mut Frames::default(), &bytes);
            let (mut rest, mut pieces, mut reader) = (&bytes[..], Vec::new(), Frames::default());
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                pieces.extend(told(&mut reader, piece));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(whole.len(), frames.len());
            prop_assert!(reader.is_between());
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn any_bytes_can_pass(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Frames::default().pass(&bytes, |_| {});
        }
    }
}
