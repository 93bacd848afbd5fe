//! The promise: one service down takes nothing else down, and what comes back is used again without help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::{
    Client, Fleet, Gateway, PATIENCE, RawConnection, Script, Service, Upstream, eventually, login,
    signed_in,
};

/// The contract's promise for services whose breaker waits five seconds at most.
const RECOVERY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_auth_a_login_is_refused_clearly_and_a_token_still_works() {
    let mut fleet = Fleet::start().await;
    let client = fleet.signed_in().await;
    let test = async || client.post(fleet.gateway.url("/test/sensor/temperature")).await;
    assert_eq!(test().await.ok()["status"], "processing");

    fleet.auth.kill_9();
    let refusal = fleet.login().await;
    assert_eq!(
        (refusal.status, &refusal.json()["error"]),
        (503, &"auth service unavailable".into()),
        "{refusal}"
    );
    assert_eq!(
        client.post(fleet.gateway.url("/test/sensor/temperature")).await.ok()["status"],
        "processing"
    );

    fleet.auth.restart().await;
    eventually(RECOVERY, "login works again", async || fleet.login().await.status == 200).await;
}

#[tokio::test]
async fn an_upstream_is_told_who_vouched_for_the_token() {
    let mut auth = Service::named("auth").start().await;
    let sensor = Upstream::always(Script::answer(200, "{}"));
    let gateway = Gateway::demo().service(&auth).in_place_of("sensor", &sensor).start().await;
    let client = signed_in(&gateway).await;
    let vouched = async || {
        client.post(gateway.url("/test/sensor/temperature")).await.ok();
        let request = sensor.requests().pop().expect("it has just arrived");
        let header = |name| request.header(name).map(ToOwned::to_owned);
        (header("x-auth-subject"), header("x-auth-mode"))
    };
    let by = |mode: &str| (Some("admin".to_owned()), Some(mode.to_owned()));

    assert_eq!(vouched().await, by("service"));
    auth.kill_9();
    assert_eq!(vouched().await, by("jwt-fallback"));
    auth.restart().await;
    eventually(RECOVERY, "the auth service vouches again", async || {
        vouched().await == by("service")
    })
    .await;
}

#[tokio::test]
async fn without_auth_a_forged_token_is_still_refused() {
    let mut auth = Service::named("auth").start().await;
    let sensor = Upstream::always(Script::answer(200, "{}"));
    let gateway = Gateway::demo().service(&auth).in_place_of("sensor", &sensor).start().await;
    let login = login(&gateway).await.ok();
    let token = login["access_token"].as_str().expect("a login answers a token");
    auth.kill_9();

    // The same token with its claims untouched and a signature of zeros.
    let (signed, _) = token.rsplit_once('.').expect("a token has three parts");
    let forged = Client::new().bearer(&format!("{signed}.{}", "A".repeat(86)));
    forged.post(gateway.url("/test/sensor/temperature")).await.refused(401, "unauthorized");
    assert_eq!(sensor.request_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_under_load_harms_no_other_route_and_is_used_again_once_it_is_back() {
    let Fleet { mut gateway, mut kafka_producer, orders: _orders, auth: _auth, sensor: _sensor } =
        Fleet::start().await;
    let over = Arc::new(AtomicBool::new(false));
    let killed: Vec<_> = (0..8).map(|_| load(gateway.url("/kafka/stats"), &over)).collect();
    let unharmed: Vec<_> =
        (0..2).map(|_| load(gateway.url("/api/orders?user_id=nobody"), &over)).collect();

    kafka_producer.kill_9();
    gateway.logged("Circuit breaker OPENED for kafka-producer").await;
    kafka_producer.restart().await;
    gateway.logged("Circuit breaker CLOSED for kafka-producer").await;
    let stats = gateway.url("/kafka/stats");
    eventually(RECOVERY, "the killed service answers", async || {
        Client::new().get(&stats).await.status == 200
    })
    .await;

    over.store(true, Ordering::Relaxed);
    for task in killed {
        let statuses = task.await.expect("every request came to an answer");
        assert!(
            statuses.iter().all(|status| [200, 502, 503, 504].contains(status)),
            "{statuses:?}"
        );
    }
    for task in unharmed {
        let statuses = task.await.expect("every request came to an answer");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert_eq!(gateway.terminate().await.code(), Some(0));
    assert_eq!(gateway.log().containing("panicked"), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_reads_only_after_its_upload_gets_the_early_answer() {
    const PIECE: usize = 1024 * 1024;
    let upstream = Upstream::always(Script::answer_early(200, "enough"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;

    let piece = vec![b'x'; PIECE];
    let length = 64 * PIECE;
    connection
        .write(format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"))
        .await;
    for _ in 0..64 {
        connection.write(&piece).await;
    }
    let answer = connection.read_answer().await;
    assert_eq!((answer.status, answer.text()), (200, "enough"));
}

#[tokio::test]
async fn a_client_that_reads_only_after_its_upload_hears_of_a_dead_upstream() {
    let upstream = Upstream::always(Script::default().read_body());
    upstream.refuse().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;

    connection.write("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n").await;
    connection.write(vec![b'x'; 65_536]).await;
    connection.read_answer().await.refused(502, "upstream_unreachable");
}

/// Asks again and again until it is over; each answer must come in good time.
fn load(url: String, over: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<u16>> {
    let over = over.clone();
    tokio::spawn(async move {
        let client = Client::kept_alive();
        let mut statuses = Vec::new();
        while !over.load(Ordering::Relaxed) {
            statuses.push(client.get(&url).within(PATIENCE).await.status);
        }
        statuses
    })
}
