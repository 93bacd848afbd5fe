//! HPACK (RFC 7541), as far as these tests need it: fields written in each of its ways, also in ways that are wrong, and
//! `:status` read out of an answer whose sender may not index anything.

/// A part of a block of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// A literal that is not indexed.
    Literal(Vec<u8>, Vec<u8>),
    /// A literal that enters the dynamic table.
    Indexing(Vec<u8>, Vec<u8>),
    /// A literal whose value is Huffman-coded.
    Huffman(Vec<u8>, Vec<u8>),
    /// A reference to a table.
    Indexed(u32),
    /// A new size of the dynamic table.
    TableSize(u32),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

impl Field {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Literal(name, value) => {
                out.push(0);
                string(name, out);
                string(value, out);
            }
            Self::Indexing(name, value) => {
                out.push(0x40);
                string(name, out);
                string(value, out);
            }
            Self::Huffman(name, value) => {
                out.push(0);
                string(name, out);
                let coded = huffman(value);
                integer(coded.len(), 7, 0x80, out);
                out.extend(coded);
            }
            Self::Indexed(index) => integer(*index as usize, 7, 0x80, out),
            Self::TableSize(size) => integer(*size as usize, 5, 0x20, out),
            Self::Raw(bytes) => out.extend(bytes),
        }
    }
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    integer(bytes.len(), 7, 0, out);
    out.extend(bytes);
}

/// RFC 7541, 5.1.
fn integer(value: usize, prefix: u8, pattern: u8, out: &mut Vec<u8>) {
    let max = (1_usize << prefix) - 1;
    if value < max {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | max as u8);
    let mut rest = value - max;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The codes of RFC 7541, appendix B, for the bytes that are used here.
const CODES: &[(&[u8], u32, u8)] = &[
    (b"012aceiost", 0x0, 5),
    (b" %-./3456789=A_bdfghlmnpru", 0x14, 6),
    (b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", 0x5c, 7),
    (b"\0", 0x1ff8, 13),
    (b"\n", 0x3fff_fffc, 30),
    (b"\r", 0x3fff_fffd, 30),
];

fn huffman(bytes: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for byte in bytes {
        let (first, length) = CODES
            .iter()
            .find_map(|(row, first, length)| {
                let place = row.iter().position(|other| other == byte)?;
                Some((first + place as u32, *length))
            })
            .unwrap_or_else(|| panic!("no code is written down for {:?}", char::from(*byte)));
        bits.extend((0..length).rev().map(|bit| first >> bit & 1 == 1));
    }
    // The end is padded with ones.
    bits.chunks(8)
        .map(|chunk| {
            (0..8).fold(0, |byte, bit| byte << 1 | u8::from(*chunk.get(bit).unwrap_or(&true)))
        })
        .collect()
}

/// The status at the start of a block of fields, from a peer that was told to keep no table.
pub(super) fn status(block: &[u8]) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut rest = block;
    // Sizes of tables come first.
    while let [size, more @ ..] = rest
        && size & 0xe0 == 0x20
    {
        rest = more;
        if size & 0x1f == 0x1f {
            rest = &rest[rest.iter().position(|byte| byte & 0x80 == 0)? + 1..];
        }
    }
    let [first, length, value @ ..] = rest else {
        return rest
            .first()
            .and_then(|first| STATIC.get(usize::from(first.wrapping_sub(0x88))).copied());
    };
    if (0x88..0x8f).contains(first) {
        return STATIC.get(usize::from(first - 0x88)).copied();
    }
    // A literal named by entry 8 of the static table, indexed or not.
    if ![0x08, 0x18, 0x48].contains(first) {
        return None;
    }
    let value = value.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    (100..600).find(|status| huffman(status.to_string().as_bytes()) == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(field: &Field) -> Vec<u8> {
        let mut out = Vec::new();
        field.write(&mut out);
        out
    }

    #[test]
    fn fields_are_written_as_in_the_examples_of_the_rfc() {
        let indexing = Field::Indexing(b"custom-key".to_vec(), b"custom-header".to_vec());
        assert_eq!(written(&indexing), b"\x40\x0acustom-key\x0dcustom-header");
        assert_eq!(written(&Field::Indexed(2)), [0x82]);
        assert_eq!(written(&Field::TableSize(4096)), [0x3f, 0xe1, 0x1f]);
        let coded = huffman(b"www.example.com");
        assert_eq!(coded, [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]);
        assert_eq!(huffman(b"no-cache"), [0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]);
    }

    #[test]
    fn a_status_is_read_in_each_of_its_spellings() {
        assert_eq!(status(&[0x88, 0x61]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x3f, 0xe1, 0x1f, 0x8c]), Some(400));
        assert_eq!(status(b"\x08\x03502"), Some(502));
        // From RFC 7541, C.6.1.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x61]), None);
    }
}
