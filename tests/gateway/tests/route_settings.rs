//! The promise: an operator may decide about headers, paths, redirects and metrics per route and per upstream, and a secret
//! that does so is told to nobody but the upstream.

use portcullis_tests::{
    Client, Gateway, Launch, OtlpReceiver, RawConnection, Script, Upstream, portcullis,
};

/// A value that must be seen at the upstream, and nowhere else.
const CANARY: &str = "canary-7f3b-of-the-upstream";

fn edited(upstream: &Upstream, of_upstream: &str, of_route: &str) -> Launch {
    Gateway::in_front_of(upstream).keys("[upstreams.app]", of_upstream).keys("[[routes]]", of_route)
}

#[tokio::test]
async fn headers_of_requests_are_set_and_removed_whatever_the_client_sends() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = edited(
        &upstream,
        "set_headers = { X-Api-Key = \"${KEY}\" }\nremove_headers = [\"Cookie\"]",
        "set_headers = { X-Tenant = \"shop\" }\nremove_headers = [\"X-Debug\"]",
    )
    .env("KEY", "k")
    .start()
    .await;
    let client = Client::new().with("x-api-key", "forged").with("x-api-key", "twice");
    for client in [client.clone(), Client::h2c().with("x-api-key", "forged")] {
        client
            .get(gateway.url("/x"))
            .header("cookie", "a=b")
            .header("x-debug", "1")
            .header("x-tenant", "other")
            .header("x-mine", "kept")
            .await;
    }

    for request in upstream.requests() {
        assert_eq!(request.head.all("x-api-key"), ["k"]);
        assert_eq!(request.head.all("x-tenant"), ["shop"]);
        assert_eq!(request.head.all("x-mine"), ["kept"]);
        assert_eq!((request.header("cookie"), request.header("x-debug")), (None, None));
    }
}

#[tokio::test]
async fn headers_of_answers_are_set_and_removed_and_refusals_keep_theirs() {
    let script = Script::answer(200, "hello")
        .header("Server", "secretive/1.2")
        .header("X-Powered-By", "steam")
        .header("Cache-Control", "public")
        .header("Cache-Control", "max-age=9");
    let upstream = Upstream::always(script);
    let gateway = edited(
        &upstream,
        "remove_response_headers = [\"server\", \"x-powered-by\"]\nset_response_headers = { X-Frame-Options = \"DENY\" }",
        "set_response_headers = { Cache-Control = \"private\" }",
    )
    .start()
    .await;
    let answer = Client::new().get(gateway.url("/x")).await;

    assert_eq!((answer.header("server"), answer.header("x-powered-by")), (None, None));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.headers.get_all("cache-control").iter().collect::<Vec<_>>(), ["private"]);
    assert_eq!(answer.text(), "hello");

    upstream.refuse().await;
    let refusal = Client::new().get(gateway.url("/x")).await;
    refusal.refused(502, "upstream_unreachable");
    assert_eq!(refusal.header("x-frame-options"), None);
}

#[tokio::test]
async fn what_a_route_says_comes_after_what_its_upstream_says() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = edited(
        &upstream,
        "set_headers = { X-A = \"upstream\", X-B = \"upstream\", X-C = \"upstream\" }\nremove_headers = [\"X-D\"]",
        "set_headers = { X-A = \"route\", X-D = \"route\" }\nremove_headers = [\"X-B\"]",
    )
    .start()
    .await;
    Client::new().get(gateway.url("/x")).header("x-b", "client").header("x-d", "client").await;

    let request = &upstream.requests()[0];
    let all = ["x-a", "x-b", "x-c", "x-d"].map(|name| request.head.all(name).join(","));
    assert_eq!(all, ["route", "", "upstream", "route"]);
}

#[tokio::test]
async fn a_header_that_is_removed_has_been_seen_by_authentication() {
    let verify = Upstream::scripted(|request| {
        let known = request.header("authorization") == Some("Bearer good");
        Script::json(
            if known { 200 } else { 401 },
            &serde_json::json!({ "subject": "ana", "sub": "ana" }),
        )
    });
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway =
        edited(&upstream, "remove_headers = [\"Authorization\"]", "authentication = \"required\"")
            .keys("[upstreams.auth]", &format!("url = \"{}\"", verify.url()))
            .keys("[authentication]", "upstream = \"auth\"\nissuer = \"i\"\naudience = \"a\"")
            .start()
            .await;
    let get = |token: &str| Client::new().bearer(token).get(gateway.url("/x"));

    get("bad").await.refused(401, "unauthorized");
    assert_eq!(get("good").await.status, 200);
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
}

#[tokio::test]
async fn a_secret_in_a_header_is_told_to_the_upstream_and_to_nobody_else() {
    let upstream = Upstream::scripted(|request| match request.target.as_str() {
        "/broken" => Script::reset(),
        _ => Script::answer(200, "fine"),
    });
    let traces = OtlpReceiver::start();
    let config = "set_headers = { X-Api-Key = \"${SECRET}\" }\nset_response_headers = { X-Kept = \"no-secret\" }";
    let gateway =
        edited(&upstream, config, "set_headers = { Authorization = \"Bearer ${SECRET}\" }")
            .keys("[log]", "level = \"trace\"\naccess = true")
            .keys("[telemetry]", &format!("otlp_endpoint = \"{}\"", traces.endpoint()))
            .env("SECRET", CANARY)
            .start()
            .await;
    let client = Client::new();
    let mut told = Vec::new();
    for path in ["/x", "/broken", "/a%00"] {
        let answer = client.get(gateway.url(path)).await;
        told.push(format!("{answer} {:?}", answer.headers));
    }
    told.push(format!("{}", Client::h2c().get(gateway.url("/x")).await));
    for path in [
        "/",
        "/health",
        "/health/circuit-breakers",
        "/health/dependencies",
        "/metrics",
        "/admin/killswitches",
        "/admin/circuit-breakers",
        "/admin/audit",
        "/admin/error-stats",
        "/config",
        "/admin/config",
        "/openapi.json",
    ] {
        told.push(format!("{}", client.get(gateway.admin_url(path)).await));
    }
    let seen = upstream.requests();
    assert!(seen.iter().all(|request| request.header("x-api-key") == Some(CANARY)), "it is in use");
    assert!(
        seen.iter()
            .all(|request| request.header("authorization") == Some(&format!("Bearer {CANARY}")))
    );

    told.push(gateway.log().to_string());
    assert!(
        told.last().is_some_and(|log| log.contains("TRACE")),
        "the log is at its most talkative"
    );
    let spans = traces.spans_until("a span", |spans| !spans.0.is_empty()).await;
    told.push(format!("{spans:?}"));
    for text in told {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn a_secret_that_no_header_takes_is_a_fault_that_does_not_quote_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("gateway.toml");
    for keys in [
        "set_headers = { X-Api-Key = \"${SECRET}\" }",
        "set_headers = { Host = \"${SECRET}\" }",
        "set_headers = \"${SECRET}\"",
        "set_headers = [\"${SECRET}\"]",
        "set_headers = { X-Api-Key = [\"${SECRET}\"] }",
        "set_headers = { X-Api-Key = \"${SECRET}${UNSET}\" }",
        "set_response_headers = { X-Api-Key = \"${SECRET}\" }",
    ] {
        let text = format!("[upstreams.app]\nurl = \"http://127.0.0.1:1\"\n{keys}\n");
        std::fs::write(&file, text.replace("${SECRET}", &format!("{CANARY}\\r\\n")))
            .expect("writable");
        for command in ["check", "run"] {
            let path = file.to_str().expect("a path in ASCII");
            let arguments =
                if command == "run" { vec!["run", "--config", path] } else { vec!["check", path] };
            let ended = portcullis(&arguments).await;
            assert_eq!(ended.code, Some(1), "{keys}: {:?}", ended.lines);
            assert!(
                ended.lines.iter().any(|line| line.contains("gateway.toml:3:")),
                "{:?}",
                ended.lines
            );
            assert!(
                ended.lines.iter().all(|line| !line.contains(CANARY)),
                "{keys}: {:?}",
                ended.lines
            );
        }
    }
}

#[tokio::test]
async fn a_path_is_rewritten_with_its_parameters_and_keeps_its_query() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let text = format!(
        "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"app\"\nupstream = \"app\"\npath = \"/v1/{{kind}}/{{*rest}}\"\n\
         rewrite = \"/api/{{rest}}/of/{{kind}}\"\n",
        upstream.url()
    );
    let gateway = Gateway::with_config(&text).start().await;
    for path in ["/v1/shoes/a/b?x=/../y&z=%2F", "/v1/shoes/../hats/a%20b", "/v1/hats/"] {
        assert_eq!(Client::new().get(gateway.url(path)).await.status, 200, "{path}");
    }

    let targets: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/api/a/b/of/shoes?x=/../y&z=%2F", "/api/a%20b/of/hats", "/api/of/hats"]);
}

#[tokio::test]
async fn what_has_moved_is_answered_with_its_new_place_and_no_upstream_is_asked() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut text = format!(
        "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n",
        upstream.url()
    );
    for status in [301, 302, 303, 307, 308] {
        text += &format!(
            "[[redirects]]\npath = \"/{status}/{{id}}\"\nto = \"/new/{{id}}\"\nstatus = {status}\n"
        );
    }
    text += "[[redirects]]\npath = \"/away/{*rest}\"\nto = \"https://shop.example.com/{rest}\"\nmethods = [\"GET\"]\n";
    let gateway = Gateway::with_config(&text).start().await;
    for client in [Client::new(), Client::h2c()] {
        for status in [301, 302, 303, 307, 308] {
            let answer = client.get(gateway.url(&format!("/{status}/a%20b?q=1"))).await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (status, Some("/new/a%20b?q=1"))
            );
            assert!(answer.body.is_empty());
        }
        let away = client.get(gateway.url("/away/a/b")).await;
        assert_eq!(
            (away.status, away.header("location")),
            (307, Some("https://shop.example.com/a/b"))
        );
    }
    assert_eq!(upstream.request_count(), 0);
    let post = Client::new().post(gateway.url("/away/a")).await;
    assert_eq!(post.status, 405, "{post}");
}

#[tokio::test]
async fn no_request_chooses_the_host_that_a_redirect_leads_to() {
    let text = "[server]\ndouble_slash = \"keep\"\nencoded_slash = \"keep\"\n\
                [[redirects]]\npath = \"/go/{*rest}\"\nto = \"/{rest}\"\n";
    let gateway = Gateway::with_config(text).start().await;
    for target in [
        "/go//evil.example",
        "/go///evil.example",
        "/go/%2Fevil.example",
        "/go/%2F%2Fevil.example",
        "/go/\\evil.example",
        "/go/%5Cevil.example",
        "/go/%09/evil.example",
        "/go/;//evil.example",
        "/go/./%2e//evil.example",
        "/go/?//evil.example",
        "/go/https://evil.example",
        "/go/%0d%0aLocation:%20//evil.example",
        "http://x/go//evil.example",
    ] {
        let mut connection = RawConnection::open(gateway.address()).await;
        connection
            .write(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await;
        let answer = connection.read_answer().await;
        match answer.header("location") {
            None => assert_eq!(answer.status, 400, "{target}: {answer}"),
            Some(location) => {
                assert!(
                    location.starts_with('/') && !location.starts_with("//"),
                    "{target}: {location}"
                );
                assert!(!location.contains('\\'), "{target}: {location}");
            }
        }
        assert!(answer.headers.get_all("location").iter().count() <= 1, "{target}");
    }
}

#[tokio::test]
async fn the_kind_of_an_upstream_shows_in_health() {
    let upstream = Upstream::always(Script::answer(200, ""));
    upstream.aside("/state", Script::answer(200, "{\"status\":\"healthy\",\"kind\":\"forged\"}"));
    let keys = "kind = \"payment\"\nhealth_path = \"/state\"\nhealth_interval_seconds = 0.05";
    let gateway = edited(&upstream, keys, "")
        .keys("[upstreams.plain]", "url = \"http://127.0.0.1:1\"")
        .start()
        .await;
    for url in [gateway.url("/health"), gateway.admin_url("/health")] {
        let health =
            portcullis_tests::eventually(portcullis_tests::PATIENCE, "a health answer", || async {
                let health = Client::new().get(&url).await.json();
                (health["dependencies"]["app"]["status"] == "healthy").then_some(health)
            })
            .await;
        assert_eq!(health["dependencies"]["app"]["kind"], "payment", "{health}");
        assert_eq!(health["dependencies"]["plain"], serde_json::json!({ "status": "unknown" }));
    }
    let dependencies =
        Client::new().get(gateway.admin_url("/health/dependencies")).await.text().to_owned();
    assert!(dependencies.contains("\"payment\""), "{dependencies}");
}

#[tokio::test]
async fn a_route_without_metrics_has_no_series() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let text = format!(
        "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"loud\"\npath = \"/loud\"\nupstream = \"app\"\n\
         [[routes]]\nname = \"quiet\"\npath = \"/quiet\"\nupstream = \"app\"\nmetrics = false\n",
        upstream.url()
    );
    let gateway = Gateway::with_config(&text).start().await;
    for path in ["/loud", "/quiet"] {
        assert_eq!(Client::new().get(gateway.url(path)).await.status, 200);
    }
    let metrics = Client::new().get(gateway.admin_url("/metrics")).await.text().to_owned();
    assert!(metrics.contains("http_route=\"loud\""), "{metrics}");
    assert!(!metrics.contains("http_route=\"quiet\""), "{metrics}");
}

#[tokio::test]
async fn a_route_may_take_larger_or_smaller_bodies_than_others() {
    let upstream = Upstream::always(Script::answer(200, "").read_body());
    let text = format!(
        "[server]\nbody_bytes_max = 100\n[upstreams.app]\nurl = \"{0}\"\n\
         [[routes]]\nname = \"usual\"\npath = \"/usual\"\nupstream = \"app\"\n\
         [[routes]]\nname = \"large\"\npath = \"/large\"\nupstream = \"app\"\nbody_bytes_max = 1000\n\
         [[routes]]\nname = \"small\"\npath = \"/small\"\nupstream = \"app\"\nbody_bytes_max = 10\n",
        upstream.url()
    );
    let gateway = Gateway::with_config(&text).start().await;
    for (path, length, status) in [
        ("/usual", 100, 200),
        ("/usual", 101, 413),
        ("/large", 1000, 200),
        ("/large", 1001, 413),
        ("/small", 10, 200),
        ("/small", 11, 413),
    ] {
        let answer = Client::new().post(gateway.url(path)).body(vec![b'x'; length]).await;
        assert_eq!(answer.status, status, "{path} with {length}");
    }
}
