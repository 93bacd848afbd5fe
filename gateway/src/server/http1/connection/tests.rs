//! A connection as a protocol: what is sent, what comes back, and when it ends. In-memory sockets, paused time.

use std::{convert::Infallible, sync::Mutex, time::Duration};

use http_body_util::{BodyExt, Channel, Full, combinators::BoxBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use super::*;
use crate::server::{drain::Signal, http1::Broken};

const BOUNDS: Bounds = Bounds {
    head: HeadBounds { bytes_max: 4096, headers_max: 50 },
    patience: Patience {
        idle: Duration::from_secs(60),
        head: Duration::from_secs(10),
        write: Duration::from_secs(30),
    },
};

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn text(status: u16, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed());
    *answer.status_mut() = status.try_into().unwrap();
    answer.headers_mut().insert("date", "now".parse().unwrap());
    answer
}

/// What a good service does: reads the body and says what it read; `/early` reads nothing, `/never` says nothing.
async fn echo(request: Request<Inbound>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    if let Inbound::Unreadable(fault) = body {
        return Ok(text(fault.status.as_u16(), fault.what));
    }
    Ok(match parts.uri.path() {
        "/early" => text(413, "no"),
        "/never" => std::future::pending().await,
        path => match body.collect().await {
            Ok(body) => text(200, format!("{path}={}", String::from_utf8_lossy(&body.to_bytes()))),
            Err(_) => text(400, "broken"),
        },
    })
}

struct Client {
    socket: DuplexStream,
    signal: Arc<Signal>,
    server: JoinHandle<()>,
}

fn connected<A, F, B>(answer: A) -> Client
where
    A: Fn(Request<Inbound>) -> F + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let (socket, served) = tokio::io::duplex(1024);
    let signal = Arc::new(Signal::default());
    let drain = signal.drain();
    let server = tokio::spawn(async move { serve(served, b"", BOUNDS, drain, answer).await });
    Client { socket, signal, server }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads exactly this.
    async fn expects(&mut self, wanted: &str) {
        let mut read = vec![0; wanted.len()];
        self.socket.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&read), wanted);
    }

    /// Reads to the end.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        self.socket.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }
}

fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn last(status: &str, text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 {status}\r\ndate: now\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    )
}

#[tokio::test(start_paused = true)]
async fn requests_that_came_at_once_are_answered_in_their_order() {
    let mut client = connected(echo);
    client.send("GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiGET /c HTTP/1.1\r\n\r\n").await;
    for answer in ["/a=", "/b=hi", "/c="] {
        client.expects(&ok(answer)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_come_byte_by_byte() {
    let mut client = connected(echo);
    for byte in
        b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    client.expects(&ok("/a=abcde")).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_answered_and_silence_is_not() {
    let mut client = connected(echo);
    client.send("GET / HTTP/1.1\r\nx: ").await;
    let start = Instant::now();
    let answer = client.rest().await;
    assert_eq!(answer, last("408 Request Timeout", Fault::SLOW.what));
    assert_eq!(start.elapsed().as_secs(), 10);

    let mut client = connected(echo);
    client.send("GET /a HTTP/1.1\r\n\r\n").await;
    client.expects(&ok("/a=")).await;
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_has_no_more_time_than_one_that_stops() {
    let client = connected(echo);
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(client.socket);
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = String::new();
    reading.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 10);
    trickle.abort();
    client.server.abort();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_answered_and_nothing_behind_it_is_served() {
    let mut client = connected(echo);
    client.send("GET / HTTP/1.1\r\na : b\r\n\r\nGET /second HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.rest().await, last("400 Bad Request", "a field name can't be read"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_is_answered_and_ends_the_connection() {
    let mut client = connected(echo);
    client.send("POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nGET /second HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.rest().await, last("400 Bad Request", "broken"));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_to_go_ahead_when_its_body_is_wanted_and_not_before() {
    let head =
        |path| format!("PUT {path} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    let mut client = connected(echo);
    client.send(head("/a")).await;
    client.expects("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hi").await;
    client.expects(&ok("/a=hi")).await;

    client.send(head("/early")).await;
    // Whether the body still comes can't be known, so no request is read after this one.
    assert_eq!(client.rest().await, last("413 Payload Too Large", "no"));
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_an_early_answered_upload_is_read_and_the_next_request_served() {
    let mut client = connected(echo);
    let body = "x".repeat(100_000);
    client.send(format!("POST /early HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    client.send("GET /next HTTP/1.1\r\n\r\n").await;
    client
        .expects("HTTP/1.1 413 Payload Too Large\r\ndate: now\r\ncontent-length: 2\r\n\r\nno")
        .await;
    client.expects(&ok("/next=")).await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_last_upload_is_read_too_so_that_its_answer_is() {
    let mut client = connected(echo);
    let body = vec![b'x'; 2 * FAREWELL_BYTES_MAX];
    let length = body.len();
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    client.send(&body).await;
    assert_eq!(client.rest().await, last("413 Payload Too Large", "no"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_between_two_requests_begins_nothing() {
    let mut client = connected(echo);
    client.send("\r\nGET /a HTTP/1.1\r\n\r\n").await;
    client.expects(&ok("/a=")).await;
    client.send("\r\n").await;
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_after_its_answer_is_not_waited_for_for_ever() {
    let mut client = connected(echo);
    client.send("POST /early HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc").await;
    client
        .expects("HTTP/1.1 413 Payload Too Large\r\ndate: now\r\ncontent-length: 2\r\n\r\nno")
        .await;
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_takes_its_call_with_it() {
    let dropped = Arc::new(Mutex::new(false));
    struct Says(Arc<Mutex<bool>>);
    impl Drop for Says {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }
    let says = dropped.clone();
    let mut client = connected(move |request| {
        let says = Says(says.clone());
        async move {
            let _says = says;
            echo(request).await
        }
    });
    client.send("GET /never HTTP/1.1\r\n\r\n").await;
    tokio::task::yield_now().await;
    assert!(!*dropped.lock().unwrap());
    drop(client.socket);
    client.server.await.unwrap();
    assert!(*dropped.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_gets_an_answer_that_comes_at_once_and_no_later_one() {
    for (after, answered) in [(HALF_CLOSED / 2, true), (HALF_CLOSED * 2, false)] {
        let mut client = connected(move |request| async move {
            tokio::time::sleep(after).await;
            echo(request).await
        });
        client.send("GET /a HTTP/1.1\r\n\r\n").await;
        client.socket.shutdown().await.unwrap();
        assert_eq!(client.rest().await, if answered { ok("/a=") } else { String::new() });
        client.server.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_has_its_time_to_take_its_answers() {
    // The first fills all the room that there is towards the client.
    let fills = "x".repeat(1024 - ok(&"x".repeat(900)).len() + 900);
    let answer = fills.clone();
    let mut client = connected(move |_| {
        let answer = answer.clone();
        async move {
            tokio::time::sleep(HALF_CLOSED / 2).await;
            Ok(text(200, answer))
        }
    });
    client.send("GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\n").await;
    client.socket.shutdown().await.unwrap();
    tokio::time::sleep(HALF_CLOSED * 4).await;
    assert_eq!(client.rest().await, ok(&fills).repeat(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_missed_whatever_became_of_its_body() {
    for head in [
        "POST /never HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi",
        "POST /never HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut client = connected(echo);
        client.send(head).await;
        tokio::task::yield_now().await;
        drop(client.socket);
        client.server.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let mut client = connected(|_| async { Ok(text(200, vec![b'x'; 100_000])) });
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let start = Instant::now();
    client.server.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(client.socket);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_pauses_in_its_answer_is_not_the_clients_fault() {
    let mut client = connected(|_| async {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            for piece in ["one", "two"] {
                tokio::time::sleep(Duration::from_secs(300)).await;
                sender.send_data(Bytes::from(piece)).await.unwrap();
            }
        });
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("date", "now".parse().unwrap());
        Ok(answer)
    });
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.expects("HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_answer_pauses_is_missed() {
    let mut client = connected(|_| async {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            sender.send_data(Bytes::from("one")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(300)).await;
        });
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("date", "now".parse().unwrap());
        Ok(answer)
    });
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client
        .expects("HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    let start = Instant::now();
    drop(client.socket);
    client.server.await.unwrap();
    assert!(start.elapsed() <= HALF_CLOSED * 2, "missed after {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_has_read_yet_may_be_whole_when_its_client_says_no_more() {
    let mut client = connected(|request| async {
        tokio::time::sleep(HALF_CLOSED / 2).await;
        echo(request).await
    });
    client.send("POST /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello").await;
    client.socket.shutdown().await.unwrap();
    assert_eq!(client.rest().await, ok("/a=hello"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_is_sent_as_far_as_it_goes_and_not_ended() {
    let mut client = connected(|_| async {
        let (sender, body) = Channel::<Bytes, Broken>::new(1);
        sender.abort(Broken);
        let mut answer = Response::new(body);
        answer.headers_mut().insert("date", "now".parse().unwrap());
        Ok(answer)
    });
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_client_gets_no_chunks_and_is_told_when_its_connection_stays() {
    let mut client = connected(|_| async {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move { sender.send_data(Bytes::from("one")).await.unwrap() });
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("date", "now".parse().unwrap());
        Ok(answer)
    });
    client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close\r\n\r\none");

    let mut client = connected(echo);
    client.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    client.expects("HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n/a=").await;
    client.send("GET /b HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.rest().await, last("200 OK", "/b="));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_connection_at_rest_and_lets_a_running_request_finish() {
    let mut client = connected(echo);
    client.send("GET /a HTTP/1.1\r\n\r\n").await;
    client.expects(&ok("/a=")).await;
    client.signal.raise();
    assert_eq!(client.rest().await, "");

    let mut client = connected(echo);
    client.send("POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nh").await;
    tokio::task::yield_now().await;
    client.signal.raise();
    client.send("i").await;
    assert_eq!(client.rest().await, last("200 OK", "/a=hi"));
}

#[tokio::test(start_paused = true)]
async fn a_last_answer_is_not_lost_to_what_its_client_still_sends() {
    let mut client = connected(echo);
    client.send("GET / HTTP/1.1\r\na : b\r\n\r\n").await;
    let (mut reading, mut writing) = tokio::io::split(client.socket);
    let sending =
        tokio::spawn(async move { while writing.write_all(&[b'x'; 512]).await.is_ok() {} });
    let mut answer = String::new();
    reading.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    sending.await.unwrap();
    client.server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn head_has_no_body_whatever_the_service_gives() {
    let mut client = connected(|_| async { Ok(text(200, "body")) });
    client.send("HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
    client.expects("HTTP/1.1 200 OK\r\ndate: now\r\n\r\n").await;
    client.expects(&ok("body")).await;
}
