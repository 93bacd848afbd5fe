//! The whole stack, with an upstream that answers anything: the client gets one whole answer or a broken connection, and no byte
//! of what the upstream said too much is ever read as the answer to someone else.

use super::{Target, must, rig::Rig};

pub(crate) struct Answers {
    rig: Rig,
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self { rig: Rig::new() }
    }
}

impl Target for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive, X-A\r\nX-A: evil\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
            "HTTP/1.1 101 Switching\r\nUpgrade: evil\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 503 x\r\nFeature-Errors: payments\r\nRetry-After: 5\r\nKeep-Alive: evil\r\nContent-Length: 0\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\r\n",
            b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 x\r\n\r\n",
            b"HTTP/1.0",
            b"Content-Length: 4\r\n",
            b"304",
            b"204",
            b"Transfer-Encoding: chunked\r\n",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"Connection: close\r\n",
            b"Connection: ",
            b"Upgrade: x\r\n",
            b"\0",
            b"\n",
            b"\r",
            b" ",
            b":",
            b"Trailer: x\r\n",
            b"Feature-Errors: x\r\n",
            b"Proxy-Authenticate: x\r\n",
            b"1xx",
            b"101",
        ]
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        self.rig.answer(Some(input.to_vec()));
        let answer =
            self.rig.exchange(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", false)?;
        self.rig.answer(None);
        self.rig.clean()?;
        let text = String::from_utf8_lossy(&answer);
        // A body that breaks before anything of it has been sent takes its head with it.
        must(text.is_empty() || text.starts_with("HTTP/1.1 "), || format!("no answer: {text:?}"))?;
        let status = text.get(9..12).unwrap_or_default().to_owned();
        must(!status.starts_with('1'), || format!("{text:?}"))?;
        let head = text.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
        // An upstream may well say 500; the gateway never does, and what it says is a problem document.
        let ours = head.contains("application/problem+json");
        must(status != "500" || !ours, || format!("{text:?}"))?;
        for gone in [
            "\nfeature-errors:",
            "\nkeep-alive:",
            "\nproxy-authenticate:",
            "\nupgrade:",
            "\nte:",
            "\ntrailer:",
        ] {
            must(!head.contains(gone), || format!("{gone:?} reached the client: {text:?}"))?;
        }
        let framings = head.matches("\ncontent-length:").count()
            + head.matches("\ntransfer-encoding:").count();
        must(framings <= 1, || format!("{framings} framings: {text:?}"))?;
        // Twice, so that a connection which was kept against all reason would be used.
        self.rig.still_serves()?;
        self.rig.still_serves()?;
        Ok(format!("{status} {framings} {}", head.matches('\n').count()))
    }
}
