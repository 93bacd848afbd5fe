//! The promise: the access log tells what was asked by whom as the gateway understood it, not as somebody spelt it.

use portcullis_tests::{Client, Gateway, RawConnection, Script, Upstream};
use serde_json::Value;

/// A gateway that rewrites what it forwards, and believes this machine who asks.
async fn logging(upstream: &Upstream) -> Gateway {
    Gateway::with_config(&format!(
        "[upstreams.app]\nurl = \"{}\"\n\n[[routes]]\nname = \"items\"\npath = \"/items/{{id}}\"\nrewrite = \"/v2/{{id}}\"\n\
         upstream = \"app\"\n",
        upstream.url()
    ))
    .keys("[server]", "trusted_proxies = [\"127.0.0.1\"]")
    .keys("[log]", "access = true")
    .start()
    .await
}

/// The line of the only request that the upstream got.
async fn line_of_the_request(gateway: &Gateway, upstream: &Upstream) -> Value {
    let requests = upstream.requests_until(1).await;
    let id = requests[0].header("x-request-id").expect("each has one").to_owned();
    line_with(gateway, &id).await
}

async fn line_with(gateway: &Gateway, id: &str) -> Value {
    let line = gateway.logged(&format!("\"request_id\":\"{id}\"")).await;
    serde_json::from_str(&line).expect("a line of the access log is JSON")
}

#[tokio::test]
async fn a_line_has_the_path_that_was_matched_before_it_was_rewritten_and_without_its_query() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = logging(&upstream).await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x/..//items/%37?token=s3cret HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.status, 200);
    let line = line_of_the_request(&gateway, &upstream).await;
    assert_eq!(upstream.requests()[0].target, "/v2/7?token=s3cret");
    assert_eq!((&line["path"], &line["route"]), (&"/items/7".into(), &"items".into()), "{line}");
}

#[tokio::test]
async fn a_line_names_the_client_that_a_trusted_proxy_names() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = logging(&upstream).await;
    let asked = Client::new().get(gateway.url("/items/7"));
    assert_eq!(asked.header("x-forwarded-for", "192.0.2.1, 198.51.100.7").await.status, 200);
    let line = line_of_the_request(&gateway, &upstream).await;
    assert_eq!(line["client"], "198.51.100.7", "{line}");
}

#[tokio::test]
async fn a_line_of_a_request_that_can_not_be_understood_has_what_came_and_from_where() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = logging(&upstream).await;
    let asked = Client::new().get(gateway.url("/items/%00"));
    let problem = asked.header("x-forwarded-for", "198.51.100.7").await.refused(400, "bad_request");
    let line = line_with(&gateway, problem["request_id"].as_str().expect("each has one")).await;
    assert_eq!(
        (&line["path"], &line["client"], &line["refusal"]),
        (&"/items/%00".into(), &"127.0.0.1".into(), &"bad_request".into()),
        "{line}"
    );
}
