//! The promise: what belongs to one connection stays on it, what the gateway vouches for is its own, all else goes through.

use portcullis_tests::{Client, Gateway, RawConnection, Script, Upstream};

#[tokio::test]
async fn ordinary_headers_target_and_query_go_through_untouched() {
    let upstream = Upstream::always(
        Script::answer(200, "").header("X-Answer", "a, b").header("Set-Cookie", "c=d"),
    );
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = Client::new()
        .get(gateway.url("/a/b?x=%2F&y"))
        .header("cookie", "e=f")
        .header("x-question", "g")
        .await;

    let request = &upstream.requests()[0];
    assert_eq!(request.target, "/a/b?x=%2F&y");
    assert_eq!((request.header("cookie"), request.header("x-question")), (Some("e=f"), Some("g")));
    assert_eq!(
        (answer.header("x-answer"), answer.header("set-cookie")),
        (Some("a, b"), Some("c=d"))
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_request_end_at_the_gateway() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection
        .write(
            "GET /x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n\
             Proxy-Authorization: secret\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-Public: 2\r\n\r\n",
        )
        .await;
    connection.read_answer().await;

    let request = &upstream.requests()[0];
    for name in ["x-private", "keep-alive", "proxy-authorization", "proxy-connection", "te"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("x-public"), Some("2"));
}

#[tokio::test]
async fn a_connection_header_takes_nothing_away_that_the_upstream_relies_on() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection
        .write(
            "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Host, Authorization, X-Forwarded-For, X-Request-Id\r\n\
             Authorization: Bearer t\r\n\r\n",
        )
        .await;
    connection.read_answer().await;

    let request = &upstream.requests()[0];
    assert!(request.header("host").is_some());
    assert_eq!(request.header("authorization"), Some("Bearer t"));
    assert!(
        request.header("x-forwarded-for").is_some() && request.header("x-request-id").is_some()
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_an_answer_end_at_the_gateway() {
    let script = Script::answer(200, "hello")
        .header("Connection", "X-Internal")
        .header("X-Internal", "10.0.0.7")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authenticate", "Basic");
    let upstream = Upstream::always(script);
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = Client::kept_alive().get(gateway.url("/x")).await;

    for name in ["x-internal", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn an_upstream_is_told_who_asked_by_the_gateway_and_by_nobody_else() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    Client::new()
        .get(gateway.url("/x"))
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=6.6.6.6")
        .await;

    let request = &upstream.requests()[0];
    assert_eq!(request.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.head.all("x-forwarded-host"), [gateway.address().to_string()]);
    assert!(!String::from_utf8_lossy(&request.head.raw).contains("6.6.6.6"));
}

#[tokio::test]
async fn a_trusted_proxy_may_say_who_asked() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[server]", "trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    Client::new().get(gateway.url("/x")).header("x-forwarded-for", "6.6.6.6").await;

    assert_eq!(upstream.requests()[0].head.all("x-forwarded-for").join(", "), "6.6.6.6, 127.0.0.1");
}

#[tokio::test]
async fn a_client_cannot_speak_for_the_gateway_in_any_spelling() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    for name in [
        "Feature-Flags",
        "Feature-Flags-Revision",
        "Killswitches",
        "X-Auth-Subject",
        "X-Auth-Mode",
        "X-Request-Id",
    ] {
        for spelling in [
            name.to_owned(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.to_lowercase().replacen('-', "_", 1),
        ] {
            let mut connection = RawConnection::open(gateway.address()).await;
            connection
                .write(format!(
                    "GET /x HTTP/1.1\r\nHost: x\r\n{spelling}: spoof\r\n{spelling}: spoof\r\n\r\n"
                ))
                .await;
            connection.read_head().await;
        }
    }
    for request in upstream.requests() {
        assert!(
            !String::from_utf8_lossy(&request.head.raw).contains("spoof"),
            "{}",
            String::from_utf8_lossy(&request.head.raw)
        );
    }
}

#[tokio::test]
async fn a_trace_context_goes_through_untouched_unless_it_cannot_be_read() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    for traceparent in [good, "00-not-a-trace-01"] {
        let request = Client::new().get(gateway.url("/x"));
        let request = request.header("traceparent", traceparent).header("tracestate", "a=b");
        assert_eq!(request.await.status, 200);
    }
    let requests = upstream.requests_until(2).await;
    assert_eq!(requests[0].header("traceparent"), Some(good));
    assert_eq!(requests[0].header("tracestate"), Some("a=b"));
    assert_eq!(requests[1].header("traceparent"), None);
    assert_eq!(requests[1].header("tracestate"), None);
}

#[tokio::test]
async fn every_request_carries_an_id_of_its_own() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    Client::new().get(gateway.url("/x")).await;
    Client::new().get(gateway.url("/x")).await;

    let ids: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| request.header("x-request-id").map(ToOwned::to_owned))
        .collect();
    assert!(ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test]
async fn a_rewritten_path_is_what_the_upstream_sees() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::with_config(&format!(
        "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"sensor\"\npath = \"/test/sensor/{{type}}\"\nupstream = \"app\"\n\
         rewrite = \"/test/{{type}}\"\n",
        upstream.url()
    ))
    .start()
    .await;
    Client::new().get(gateway.url("/test/sensor/temperature?unit=c")).await;
    assert_eq!(upstream.requests()[0].target, "/test/temperature?unit=c");
}

#[tokio::test]
async fn flags_go_up_in_one_header_and_a_client_copy_does_not() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[[routes]]", "flags = [\"everyone\", \"nobody\"]")
        .keys("[flags.everyone]", "enabled = true\nrollout_percentage = 100")
        .keys("[flags.nobody]", "enabled = true\nrollout_percentage = 0")
        .start()
        .await;
    Client::new().get(gateway.url("/x")).header("feature-flags", "nobody").await;

    let request = &upstream.requests()[0];
    let flags = request.head.all("feature-flags");
    assert_eq!(flags.len(), 1, "{flags:?}");
    let entry = |key: &str| {
        flags[0].split(", ").find(|entry| entry.starts_with(key)).map(ToOwned::to_owned)
    };
    assert!(entry("everyone").is_some_and(|entry| !entry.contains("?0")), "{flags:?}");
    assert!(entry("nobody").is_none_or(|entry| entry.starts_with("nobody=?0")), "{flags:?}");
    assert!(request.header("feature-flags-revision").is_some());
}
