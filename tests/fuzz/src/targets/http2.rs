//! The whole stack, as an HTTP/2 client reaches it: any frames, under the same promises.

use fastrand::Rng;

use super::{
    Target, must,
    rig::{Rig, leaves},
};
use crate::frames::{frame, mend};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `:method: GET`, `:scheme: http`, `:path: /` from the static table, and `:authority: a`.
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";
/// The same with `:method: POST`.
const POST: &[u8] = b"\x83\x86\x84\x41\x01a";

pub(crate) struct Http2 {
    rig: Rig,
}

impl Http2 {
    pub(crate) fn new() -> Self {
        Self { rig: Rig::new() }
    }
}

impl Target for Http2 {
    fn name(&self) -> &'static str {
        "http2"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let settings = frame(4, 0, 0, b"");
        let get = |stream| frame(1, 5, stream, GET);
        let field = |name: &str, value: &str| {
            let (n, v) = (name.len() as u8, value.len() as u8);
            [GET, &[0, n], name.as_bytes(), &[v], value.as_bytes()].concat()
        };
        let mut seeds = vec![
            [settings.clone(), get(1)].concat(),
            [settings.clone(), get(1), get(3), get(5)].concat(),
            [settings.clone(), frame(1, 4, 1, POST), frame(0, 0, 1, b"hel"), frame(0, 1, 1, b"lo")]
                .concat(),
            [
                settings.clone(),
                frame(1, 4, 1, POST),
                frame(0, 1, 1, b""),
                frame(3, 0, 1, b"\0\0\0\x08"),
            ]
            .concat(),
            [
                settings.clone(),
                frame(1, 0, 1, &GET[..3]),
                frame(9, 4, 1, &GET[3..]),
                frame(6, 0, 0, b"12345678"),
            ]
            .concat(),
            [
                settings.clone(),
                frame(1, 4, 1, POST),
                frame(0, 8, 1, b"\x02ab\0\0"),
                frame(1, 5, 1, b"\0\x01t\x011"),
            ]
            .concat(),
            [
                settings.clone(),
                frame(8, 0, 0, b"\0\0\x01\0"),
                frame(2, 0, 1, b"\0\0\0\0\x10"),
                get(1),
                frame(7, 0, 0, &[0; 8]),
            ]
            .concat(),
            [frame(4, 0, 0, b"\0\x04\0\0\0\x01\0\x01\0\0\0\0"), get(1)].concat(),
        ];
        for (name, value) in [
            ("connection", "close"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("host", "b"),
            ("x_auth_subject", "evil"),
            ("cookie", "a=b"),
            ("x", "a\r\nb"),
            (":path", "//x/../y"),
            ("x-forwarded-for", "evil"),
        ] {
            seeds.push([settings.clone(), frame(1, 5, 1, &field(name, value)), get(3)].concat());
        }
        seeds
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84\x41\x01a",
            b"\0\0\0\x04\x01\0\0\0\0",
            b"\0\0\x08\x06\0\0\0\0\0abcdefgh",
            b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
            b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01",
            b"\0\0\x01\0\x01\0\0\0\x01x",
            b"\0\0\0\0\0\0\0\0\x01",
            b"\x82",
            b"\x83",
            b"\x84",
            b"\x86",
            b"\x41\x01a",
            b"\0\x01x\x01y",
            b"\x40\x01x\x01y",
            b"\x3f\xe1\x1f",
            b"\x20",
            b"\xbe",
            b"\0\x0econtent-length\x015",
            b"\0\x06cookie\x03a=b",
            b"\x44\x04/a/b",
            b"\x7f\xff\xff\xff",
        ]
    }

    fn mend(&self, rng: &mut Rng, input: &mut Vec<u8>) {
        if rng.u8(..8) > 0 {
            mend(rng, input);
        }
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let answer = self.rig.exchange(&[PREFACE, input].concat(), leaves(input))?;
        self.rig.clean()?;
        must(self.rig.failures() == 0, || {
            "a client's doing was blamed on the upstream".to_owned()
        })?;
        let kind = kinds(&answer)?;
        self.rig.still_serves()?;
        Ok(kind)
    }
}

/// The kinds of frames that came back, with the codes of those that tell of an error.
fn kinds(mut answer: &[u8]) -> Result<String, String> {
    let mut kinds = String::new();
    while let Some((header, rest)) = answer.split_at_checked(9) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        must(header[3] <= 9, || format!("a frame of kind {}", header[3]))?;
        let Some((payload, next)) = rest.split_at_checked(length) else { break };
        let code = match header[3] {
            3 => payload.last(),
            7 => payload.get(7),
            _ => None,
        };
        kinds +=
            &format!("{}{} ", header[3], code.map_or_else(String::new, |code| format!("({code})")));
        answer = next;
    }
    kinds.truncate(48);
    Ok(kinds)
}
