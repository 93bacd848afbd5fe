//! The sanitiser: whatever a client sends, nothing goes on that belongs to one connection, that only the gateway may say, or
//! that could frame the body in a second way. The lists here are written anew, so that a slip in the gateway's own is seen.

use bytes::BytesMut;
use http::{HeaderMap, Version};
use portcullis_gateway::config::config::{DoubleSlash, EncodedSlash};
use portcullis_gateway::sanitise::{path::PathRules, request};
use portcullis_gateway::server::peer::Peer;
use portcullis_gateway::wire::body::Body;
use portcullis_gateway::wire::request::read::{HeadBounds, head};

use super::{Target, must};

pub(crate) struct Fields;

const BOUNDS: HeadBounds = HeadBounds { bytes_max: 4096, headers_max: 40 };
const RULES: PathRules =
    PathRules { double_slash: DoubleSlash::Merge, encoded_slash: EncodedSlash::Reject };

const OF_ONE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];
const OWN: [&str; 8] = [
    "feature-flags",
    "feature-flags-revision",
    "killswitches",
    "spool-queued",
    "x-auth-subject",
    "x-auth-mode",
    "x-original-url",
    "x-rewrite-url",
];

impl Target for Fields {
    fn name(&self) -> &'static str {
        "fields"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let lines = [
            "x-a: 1",
            "Connection: x-a, close",
            "X_Forwarded_For: evil",
            "x-forwarded-for: evil",
            "Forwarded: for=evil",
            "Feature-Flags: evil",
            "x.auth.subject: evil",
            "TE: trailers",
            "Upgrade: websocket",
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Cookie: a=b",
            "Proxy-Connection: evil",
            "Killswitches: evil",
        ];
        let alone =
            lines.map(|line| format!("POST /a HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n").into_bytes());
        let mut seeds = alone.to_vec();
        seeds.push(
            format!(
                "GET http://a/b/../c HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n",
                lines[..6].join("\r\n")
            )
            .into_bytes(),
        );
        seeds
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"Connection: ",
            b"close, ",
            b"x-forwarded-",
            b"x_forwarded_for",
            b": evil\r\n",
            b"\r\n",
            b"Content-Length",
            b"_",
            b".",
            b"-",
            b"Transfer-Encoding: chunked\r\n",
            b"Host: b\r\n",
            b"http://b/",
            b"Forwarded",
            b"X-Real-IP",
            b"x-auth-subject",
            b"feature-flags",
            b"killswitches",
            b"x-request-id",
            b"te",
            b"upgrade",
            b"keep-alive",
            b"trailer",
            b"HTTP/1.0",
            b", ",
            b"proxy-authorization",
            b"http2-settings",
            b"expect",
            b"cookie",
            b"authorization",
            b"~",
            b"*",
            b"'",
        ]
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let mut answers = Vec::new();
        for (trusted, version) in [(false, None), (true, None), (false, Some(Version::HTTP_2))] {
            let read = head(&mut BytesMut::from(input), BOUNDS);
            let Ok(Some(head)) = read else { return Ok("no head".to_owned()) };
            let mut parts = head.parts;
            parts.version = version.unwrap_or(parts.version);
            let length = match head.body {
                Body::Length(length) => Some(length),
                Body::Chunked(_) | Body::UntilClose => None,
            };
            let peer = Peer::new(([192, 0, 2, 1], 4000).into(), |_| trusted);
            match request::request(&mut parts, &peer, RULES, length) {
                Err(failure) => answers.push(failure.reason()),
                Ok(_) => {
                    clean(&parts.headers, trusted)?;
                    must(parts.uri.authority().is_none(), || {
                        format!("{} goes on whole", parts.uri)
                    })?;
                    answers.push("passed");
                }
            }
        }
        Ok(answers.join(" "))
    }
}

fn clean(headers: &HeaderMap, trusted: bool) -> Result<(), String> {
    for (name, value) in headers {
        let folded: String = name
            .as_str()
            .chars()
            .map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '-' })
            .collect();
        let shown = || format!("{name}: {value:?} goes on");
        must(!OF_ONE_CONNECTION.contains(&folded.as_str()), shown)?;
        must(!OWN.contains(&folded.as_str()), shown)?;
        let forwarding =
            folded == "forwarded" || folded == "x-real-ip" || folded.starts_with("x-forwarded-");
        must(!forwarding || folded == name.as_str(), shown)?;
        must(folded != "x-request-id" && folded != "expect", shown)?;
        must(
            !forwarding
                || trusted
                || !String::from_utf8_lossy(value.as_bytes()).contains("evil")
                || folded == "x-forwarded-host",
            shown,
        )?;
    }
    let count = |name: &str| headers.get_all(name).iter().count();
    must(count("host") == 1, || "not one Host".to_owned())?;
    must(count("transfer-encoding") + count("content-length") <= 1, || "two framings".to_owned())?;
    if let Some(coding) = headers.get("transfer-encoding") {
        must(coding.as_bytes().eq_ignore_ascii_case(b"chunked"), || {
            format!("the coding {coding:?}")
        })?;
    }
    if let Some(length) = headers.get("content-length") {
        let text = length.to_str().unwrap_or_default();
        must(text.parse::<u64>().is_ok_and(|number| number.to_string() == text), || {
            format!("the length {text:?}")
        })?;
    }
    Ok(())
}
