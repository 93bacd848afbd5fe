//! The promise: fields behind a body pass in either direction if the operator named them, and none does otherwise.

use std::net::Ipv4Addr;

use portcullis_tests::http2::{Connection, line};
use portcullis_tests::{Answer, Client, Gateway, RawConnection, Script, Upstream};

const NAMED: &str =
    "request_trailers = [\"x-sum\", \"x-sign\"]\nresponse_trailers = [\"grpc-status\"]";

/// The upstream's answer in chunks, with fields behind it.
fn with_trailers(head: &str) -> Script {
    Script::default().read_body().bytes(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Other, Grpc-Status\r\n{head}\r\n\
         5\r\nhello\r\n0\r\nGrpc-Status: 7\r\nX-Other: evil\r\nContent-Length: 1\r\nSet-Cookie: evil\r\n\r\n"
    ))
}

/// A request in chunks with fields behind it, of a client with these fields in front.
async fn sent(gateway: &Gateway, head: &str) {
    let mut connection = RawConnection::open(gateway.address()).await;
    let request = format!(
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host, x-other\r\n{head}\r\n\
         5\r\nhello\r\n0\r\nX-Sum:  9 \r\nX-Other: evil\r\nHost: evil\r\nX_Sum: evil\r\nX-Sum: 8\r\n\r\n"
    );
    connection.write(request).await;
    assert_eq!(connection.read_answer().await.status, 200);
}

/// The answer to a GET of a client with these fields.
async fn answered(gateway: &Gateway, version: &str, head: &str) -> Answer {
    let mut connection = RawConnection::open(gateway.address()).await;
    let request = format!("GET /x {version}\r\nHost: x\r\n{head}\r\n");
    connection.write(request).await;
    connection.read_answer().await
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_upstream_gets_the_named_fields_and_no_others() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", NAMED).start().await;
    sent(&gateway, "").await;

    let request = &upstream.requests()[0];
    assert_eq!(request.trailers, pairs(&[("x-sum", "9"), ("x-sum", "8")]));
    assert_eq!(request.head.all("trailer"), ["x-sum"]);
    assert!(!String::from_utf8_lossy(&request.head.raw).contains("other"));
}

#[tokio::test]
async fn without_a_name_on_the_list_nothing_passes() {
    let upstream = Upstream::always(with_trailers(""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    sent(&gateway, "").await;
    let answer = answered(&gateway, "HTTP/1.1", "TE: trailers\r\n").await;

    let requests = upstream.requests();
    assert!(requests[0].trailers.is_empty() && answer.trailers.is_empty());
    assert_eq!((requests[0].header("trailer"), answer.header("trailer")), (None, None));
    assert_eq!((requests[1].header("te"), requests[1].header("connection")), (None, None));
}

#[tokio::test]
async fn what_connection_names_ends_with_it_behind_a_body_too() {
    let upstream = Upstream::always(with_trailers("Connection: grpc-status\r\n"));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", NAMED).start().await;
    sent(&gateway, "Connection: X-Sum\r\n").await;
    let answer = answered(&gateway, "HTTP/1.1", "TE: trailers\r\n").await;

    let requests = upstream.requests();
    assert!(requests[0].trailers.is_empty() && requests[0].header("trailer").is_none());
    assert!(answer.trailers.is_empty() && answer.header("trailer").is_none());
}

#[tokio::test]
async fn a_client_of_http_1_gets_the_named_fields_if_it_takes_any() {
    let upstream = Upstream::always(with_trailers(""));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", NAMED).start().await;

    let answer = answered(&gateway, "HTTP/1.1", "TE: trailers\r\nConnection: TE\r\n").await;
    assert_eq!(answer.trailers.len(), 1);
    assert_eq!((&answer.trailers["grpc-status"], answer.text()), (&"7".parse().unwrap(), "hello"));
    assert_eq!(answer.header("trailer"), Some("grpc-status"));
    let request = &upstream.requests()[0];
    assert_eq!(
        (request.head.all("te"), request.head.all("connection")),
        (vec!["trailers"], vec!["te"])
    );

    for (version, head) in [
        ("HTTP/1.1", ""),
        ("HTTP/1.1", "TE: gzip\r\n"),
        ("HTTP/1.0", "TE: trailers\r\nConnection: TE\r\n"),
    ] {
        let answer = answered(&gateway, version, head).await;
        assert_eq!(answer.text(), "hello");
        assert!(
            answer.trailers.is_empty() && answer.header("trailer").is_none(),
            "{version} {head}"
        );
    }
    assert!(upstream.requests()[1..].iter().all(|request| request.header("te").is_none()));
}

#[tokio::test]
async fn a_client_of_http_2_gets_them_as_trailers_and_may_send_them() {
    let upstream = Upstream::always(with_trailers(""));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", NAMED).start().await;
    let answer = Client::h2c().get(gateway.url("/x")).await;
    assert_eq!(answer.trailers.len(), 1);
    assert_eq!((&answer.trailers["grpc-status"], answer.text()), (&"7".parse().unwrap(), "hello"));

    let mut connection = Connection::open(gateway.address(), Ipv4Addr::LOCALHOST).await;
    connection.greet(&[]).await;
    let lines = [
        "HEADERS 1 @post=/x",
        "DATA 1 abc",
        "HEADERS 1 end x-sum=9 x-other=evil host=evil x-sign=\\s1\\s",
        "AWAIT end 1",
        // Where the length is known there is no place for them.
        "HEADERS 3 @post=/x content-length=3",
        "DATA 3 abc",
        "HEADERS 3 end x-sum=9",
        "AWAIT end 3",
    ];
    connection.perform(&lines.map(line)).await;
    let came = connection.until(|came| came.on(3).ended).await;
    assert_eq!((came.on(1).status, came.on(3).status), (Some(200), Some(200)));
    let requests = upstream.requests();
    assert_eq!(requests[1].trailers, pairs(&[("x-sum", "9"), ("x-sign", "1")]));
    assert!(requests[2].trailers.is_empty());
}

#[tokio::test]
async fn more_fields_than_the_bound_are_a_fault_of_whoever_sends_them() {
    let many = "grpc-status: 1\r\n".repeat(33);
    let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{many}\r\n");
    let upstream = Upstream::always(Script::default().read_body().bytes(wire));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", NAMED).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n").await;
    let end = connection.read_to_end().await;
    assert!(!String::from_utf8_lossy(&end).contains("0\r\n\r\n"), "it ended as if it were whole");

    let mut connection = RawConnection::open(gateway.address()).await;
    let many = "x-sum: 1\r\n".repeat(33);
    let wire = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write(format!("{wire}0\r\n{many}\r\n")).await;
    assert_eq!(connection.read_answer().await.status, 400);
}
