//! The promise: whatever an upstream answers, its client gets an answer that can be read in one way, and nobody else gets any
//! of it.
//!
//! The cases lie in `corpora/answers`; what must come of each stands beside it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use portcullis_tests::Gateway;
use portcullis_tests::hostile::{Answer, Came, Case, Then, assault, corpus, messages, plain_get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_an_answer_that_can_be_read_in_one_way_and_nobody_gets_anothers() {
    let cases = corpus("answers");
    let upstream = Arc::new(Hostile { cases, ..Hostile::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(upstream.clone().accept(listener));
    let gateway = Gateway::with_config(&format!(
        "[upstreams.app]\nurl = \"{url}\"\nresponse_timeout_seconds = 2\nbody_idle_timeout_seconds = 1\n\n\
         [[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n"
    ))
    .keys("[server]", "workers = 1")
    .keys("[log]", "level = \"warn\"\naccess = false")
    .start()
    .await;

    let mut wrong = Vec::new();
    for (number, case) in upstream.cases.iter().enumerate() {
        upstream.playing.send_replace(Some(number));
        // Where the upstream's timing matters, no other request comes between.
        let alone = if case.early || !case.later.is_empty() { "Connection: close\r\n" } else { "" };
        let request = format!("{} /case/{number} HTTP/1.1\r\nHost: a\r\n{alone}\r\n", case.method);
        let came =
            assault(gateway.address(), Ipv4Addr::LOCALHOST, request.as_bytes(), Then::Listen).await;
        upstream.playing.send_replace(None);
        if !case.later.is_empty() {
            upstream.answered.notify_one();
            upstream.said.notified().await;
        }
        let next = plain_get(gateway.address(), &format!("/next/{number}")).await;
        let found = upstream.judge(number, &came).into_iter().chain(next.err());
        wrong.extend(found.map(|what| format!("- {}: {what}\n    {came:?}", case.name)));
    }
    println!("hostile answers: {} cases, {} other than wanted", upstream.cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(upstream.cases.len() >= 45, "only {} cases", upstream.cases.len());
}

/// An upstream that says what the case says, and answers everybody else properly.
#[derive(Debug)]
struct Hostile {
    cases: Vec<Case>,
    /// The case that is being played.
    playing: watch::Sender<Option<usize>>,
    /// On which connection each target came.
    seen: Mutex<Vec<(usize, String)>>,
    /// The client has its answer.
    answered: Notify,
    /// What was to be said later was said.
    said: Notify,
}

impl Default for Hostile {
    fn default() -> Self {
        Self {
            cases: Vec::new(),
            playing: watch::Sender::new(None),
            seen: Mutex::default(),
            answered: Notify::new(),
            said: Notify::new(),
        }
    }
}

impl Hostile {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve(stream, number));
            number += 1;
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, connection: usize) {
        // What is said later arrives when it is said.
        stream.set_nodelay(true).expect("a fresh connection");
        let playing = *self.playing.borrow();
        let early = playing.map(|number| &self.cases[number]).filter(|case| case.early);
        if let Some(case) = early {
            let _ = stream.write_all(&case.bytes).await;
        }
        let mut bytes = Vec::new();
        while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            let (whole, tail) = messages(&bytes);
            if tail.is_some() {
                continue;
            }
            bytes.clear();
            for message in whole {
                let target = message.target.clone();
                self.seen
                    .lock()
                    .expect("nothing panics under this lock")
                    .push((connection, target));
                let number =
                    message.target.strip_prefix("/case/").and_then(|n| n.parse::<usize>().ok());
                let goes_on = match number {
                    // This connection was there before; a new one is spoken to.
                    Some(number) if self.cases[number].early && early.is_none() => false,
                    Some(number) => self.play(&self.cases[number], &mut stream).await,
                    None => {
                        let saw = format!("{} {}", message.method, message.target);
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-saw: {saw}\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.is_ok()
                    }
                };
                if !goes_on {
                    return;
                }
            }
        }
    }

    async fn play(&self, case: &Case, stream: &mut TcpStream) -> bool {
        if !case.early {
            let _ = stream.write_all(&case.bytes).await;
        }
        match case.then {
            Then::Listen => {}
            Then::HalfClose | Then::Close => {
                let _ = stream.shutdown().await;
                return false;
            }
            Then::Reset => {
                let _ = stream.set_zero_linger();
                return false;
            }
        }
        if !case.later.is_empty() {
            self.answered.notified().await;
            let _ = stream.write_all(&case.later).await;
            self.said.notify_one();
        }
        true
    }

    fn judge(&self, number: usize, came: &Came) -> Vec<String> {
        let case = &self.cases[number];
        let mut wrong = came.faults.clone();
        if came.answers.is_empty() && came.closed && case.want.has("aborted") {
            // It broke before the client was sent anything.
            wrong.extend(self.misused(number));
            return wrong;
        }
        let [answer] = &came.answers[..] else {
            wrong.push(format!("{} answers", came.answers.len()));
            return wrong;
        };
        let refused = answer.status == 502
            && answer.first("content-type") == Some("application/problem+json")
            && shown(answer).contains("upstream_unreachable");
        let as_wanted = case.want.answers().any(|want| match want {
            "502" => refused,
            "aborted" => answer.status == case.status && !answer.complete,
            "pass" | "clean" => answer.status == case.status && answer.complete,
            other => panic!("{}: what is {other:?}?", case.name),
        });
        if !as_wanted {
            wrong.push(format!("wanted {:?}", case.want.words));
        }
        if case.body.as_ref().is_some_and(|body| *body != answer.body) && !refused {
            wrong.push("another body".to_owned());
        }
        let shown = shown(answer);
        let holds = |text: &Vec<u8>| shown.contains(&String::from_utf8_lossy(text).to_lowercase());
        wrong.extend(
            case.sees.iter().filter(|text| !holds(text)).map(|text| format!("no {text:?}")),
        );
        wrong.extend(case.never.iter().filter(|text| holds(text)).map(|text| format!("{text:?}")));

        wrong.extend(self.misused(number));
        wrong
    }

    /// Whether the connection was used again where it may not be, or not where it may.
    fn misused(&self, number: usize) -> Option<String> {
        let want = &self.cases[number].want;
        if want.has("kept") && want.has("new") {
            return None;
        }
        let seen = self.seen.lock().expect("nothing panics under this lock");
        let own = format!("/case/{number}");
        let at = seen.iter().rposition(|(_, target)| *target == own).expect("it was asked");
        let again = seen[at + 1..].iter().any(|(connection, _)| *connection == seen[at].0);
        (again != want.has("kept")).then(|| {
            if again { "the connection was used again" } else { "it was not kept" }.to_owned()
        })
    }
}

/// An answer in lower case, to look things up in.
fn shown(answer: &Answer) -> String {
    let fields: String =
        answer.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{}\r\n{fields}\r\n{}", answer.status, String::from_utf8_lossy(&answer.body))
        .to_lowercase()
}
