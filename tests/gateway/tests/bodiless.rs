//! The promise: answers that have no body by their nature keep their headers and leave the connection in order.

use http::Method;
use portcullis_tests::{Client, Gateway, RawConnection, Script, Upstream};

#[tokio::test]
async fn the_answer_to_a_head_keeps_its_length_and_has_no_body() {
    let upstream =
        Upstream::always(Script::default().read_body().head(200).header("content-length", "5"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let client = Client::kept_alive();
    for _ in 0..2 {
        let answer = client.request(Method::HEAD, gateway.url("/x")).await;
        assert_eq!(
            (answer.status, answer.header("content-length"), answer.text()),
            (200, Some("5"), "")
        );
    }
    assert_eq!(upstream.requests()[0].method, "HEAD");
}

#[tokio::test]
async fn after_a_204_and_a_304_the_connection_goes_on() {
    let upstream = Upstream::always(Script::answer(200, "hello"));
    upstream.next(Script::answer(204, ""));
    upstream.next(Script::answer(304, "").header("etag", "\"v1\""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;

    for (status, text) in [(204, ""), (304, ""), (200, "hello")] {
        connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = connection.read_answer().await;
        assert_eq!((answer.status, answer.text()), (status, text));
        if status == 304 {
            assert_eq!(answer.header("etag"), Some("\"v1\""));
        }
    }
}

#[tokio::test]
async fn an_empty_answer_is_empty_and_not_late() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = Client::new().get(gateway.url("/x")).await;
    assert_eq!(
        (answer.status, answer.header("content-length"), answer.text()),
        (200, Some("0"), "")
    );
}
