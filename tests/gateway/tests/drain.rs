//! The promise: a gateway that is asked to end finishes what runs, takes nothing new, and says so.

use std::time::Duration;

use portcullis_tests::{
    Client, Gate, Gateway, PATIENCE, RawConnection, Script, Upstream, eventually,
};

#[tokio::test]
async fn a_request_in_flight_is_finished_and_nothing_new_is_taken() {
    let gate = Gate::closed();
    let upstream = Upstream::always(
        Script::default().at(&gate).head(200).header("content-length", "4").bytes("done"),
    );
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.requests_until(1).await;

    gateway.ask_to_end();
    // Connections only: a request that got in before the signal would wait for the gate.
    let address = gateway.address();
    eventually(PATIENCE, "new connections are refused", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    gate.open();
    assert_eq!(connection.read_answer().await.text(), "done");
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_draining_gateway_is_not_ready() {
    let gate = Gate::closed();
    let upstream =
        Upstream::always(Script::default().at(&gate).head(200).header("content-length", "0"));
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.requests_until(1).await;

    gateway.ask_to_end();
    let ready = gateway.admin_url("/readyz");
    eventually(PATIENCE, "readyz says no", async || {
        Client::new().get(&ready).attempt().await.is_ok_and(|answer| answer.status == 503)
    })
    .await;
    gate.open();
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_kept_connection_without_a_request_does_not_hold_up_the_end() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let mut idle = RawConnection::open(gateway.address()).await;
    idle.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.read_answer().await;
    let start = std::time::Instant::now();
    assert_eq!(gateway.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_drain_is_over() {
    let upstream = Upstream::always(Script::stall());
    let mut gateway = Gateway::in_front_of(&upstream)
        .keys("[server]", "drain_timeout_seconds = 0.5")
        .start()
        .await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.requests_until(1).await;

    assert!(gateway.terminate().await.code().is_some());
    connection.read_to_end().await;
}
