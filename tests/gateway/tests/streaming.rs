//! The promise: bodies flow through as they come, in both directions, and nothing waits for their end.

use portcullis_tests::{Client, Gate, Gateway, RawConnection, Script, Upstream};

#[tokio::test]
async fn the_upstream_sees_a_request_body_while_it_is_still_being_sent() {
    let upstream = Upstream::always(Script::answer(200, "done"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;

    connection.write("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    connection.write_chunk("one").await;
    assert_eq!(upstream.body_until(3).await.body, b"one");
    connection.write_chunk("two").await;
    connection.write("0\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.text(), "done");
    assert_eq!(upstream.requests()[0].body, b"onetwo");
}

#[tokio::test]
async fn the_client_sees_an_answer_while_it_is_still_being_made() {
    let gate = Gate::closed();
    let script = Script::default().head(200).header("transfer-encoding", "chunked");
    let upstream = Upstream::always(script.chunk("one").at(&gate).chunk("two").last_chunk());
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;

    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    connection.read_head().await;
    assert_eq!(connection.piece().await.as_deref(), Some(&b"one"[..]));
    gate.open();
    assert_eq!(connection.rest().await, b"two");
}

#[tokio::test]
async fn a_length_stays_a_length() {
    let upstream = Upstream::always(Script::answer(200, "hello"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = Client::new().post(gateway.url("/x")).body("12345").await;

    assert_eq!((answer.header("content-length"), answer.text()), (Some("5"), "hello"));
    assert_eq!(upstream.requests()[0].header("content-length"), Some("5"));
    assert_eq!(upstream.requests()[0].header("transfer-encoding"), None);
}

#[tokio::test]
async fn a_large_body_arrives_whole_in_both_directions() {
    let large: Vec<u8> = (0..4_000_000u32).map(|index| (index % 251) as u8).collect();
    let upstream = Upstream::always(Script::answer(200, &large));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    for client in [Client::new(), Client::h2c()] {
        let answer = client.post(gateway.url("/x")).body(large.clone()).await;
        assert!(answer.body == large, "the answer was changed");
        let request = upstream.requests().pop().expect("it was sent");
        assert!(request.complete && request.body == large, "the request was changed");
    }
}

#[tokio::test]
async fn a_slow_client_slows_the_upstream_down_instead_of_filling_the_memory() {
    let upstream = Upstream::always(Script::answer(200, vec![b'x'; 64 * 1024 * 1024]));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let before = gateway.memory().resident;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    connection.read_head().await;
    // What is read here is far less than what the upstream has to give; a gateway that buffers would take the rest meanwhile.
    for _ in 0..64 {
        connection.piece().await.expect("there is much more");
        tokio::task::yield_now().await;
    }
    let growth = gateway.memory().resident.saturating_sub(before);
    assert!(growth < 16 * 1024, "the gateway grew by {growth} KiB");
    assert!(connection.rest().await.len() > 60 * 1024 * 1024);
}
