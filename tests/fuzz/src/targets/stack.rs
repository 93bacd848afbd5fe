//! The whole stack, as an HTTP/1 client reaches it: whatever is sent, the upstream gets whole, clean requests, the client gets
//! answers, nothing hangs, nothing is blamed on the upstream, and the next client is served.

use super::{
    Target, must,
    rig::{Rig, leaves},
};

pub(crate) struct Stack {
    rig: Rig,
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self { rig: Rig::new() }
    }
}

impl Target for Stack {
    fn name(&self) -> &'static str {
        "stack"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            "GET http://a/../b HTTP/1.1\r\nHost: a\r\nConnection: x-a, close\r\nX-A: 1\r\nX_Auth_Subject: evil\r\n\r\n",
            "HEAD / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello",
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\r\n",
            b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"Connection: close\r\n",
            b"Connection: ",
            b"Expect: 100-continue\r\n",
            b"Host: a\r\n",
            b"HEAD ",
            b"POST ",
            b"HTTP/1.0",
            b"/../",
            b"//",
            b"%2e",
            b"%2f",
            b";",
            b"_",
            b"X-Forwarded-For: evil\r\n",
            b"Upgrade: h2c\r\n",
            b"\0",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b": ",
            b", ",
            b"CONNECT a:1 ",
            b"OPTIONS * ",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let answer = self.rig.exchange(input, leaves(input))?;
        self.rig.clean()?;
        must(self.rig.failures() == 0, || {
            "a client's doing was blamed on the upstream".to_owned()
        })?;
        // Whoever begins so speaks HTTP/2, and is a matter of the target `http2`.
        let kind = match input.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
            true => "HTTP/2".to_owned(),
            false => statuses(&answer)?,
        };
        self.rig.still_serves()?;
        Ok(kind)
    }
}

/// The statuses of answers that are ours to give: the upstream is in order, and so are we.
fn statuses(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    must(text.is_empty() || text.starts_with("HTTP/1.1 "), || format!("no answer: {text:?}"))?;
    let statuses: Vec<_> = text
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, word)| text.get(at + word.len()..at + word.len() + 3))
        .collect();
    let ours = |status: &&str| matches!(*status, "500" | "502" | "504");
    must(!statuses.iter().any(ours), || format!("{statuses:?}: {text:?}"))?;
    Ok(statuses.join(" "))
}
