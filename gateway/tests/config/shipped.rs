//! What the demo and the measurements are promised by their files.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use portcullis::circuit_breaker::Verdict;
use portcullis_gateway::config::config::{
    Config, FeatureIndex, Rewrite, RewritePart, Route, RouteAuthentication, Store,
};
use portcullis_gateway::config::{parse, render_faults};

use super::{bare, text};

fn shipped(name: &str) -> Config {
    let named = format!("config/{name}");
    parse(&named, &text(name), &bare).unwrap_or_else(|faults| panic!("{}", render_faults(&faults)))
}

fn route<'c>(config: &'c Config, method: &Method, path: &str) -> &'c Route {
    let found = config.routes.iter().find(|route| {
        route.path.0 == path && (route.methods.is_empty() || route.methods.contains(method))
    });
    found.unwrap_or_else(|| panic!("no route for {method} {path}"))
}

fn names(config: &Config, features: &[FeatureIndex]) -> Vec<String> {
    features.iter().map(|index| config.features[index.0].name.to_string()).collect()
}

fn written(rewrite: Option<&Rewrite>) -> String {
    let parts = rewrite.into_iter().flat_map(|rewrite| &rewrite.parts);
    let parts = parts.map(|part| match part {
        RewritePart::Literal(text) => text.clone(),
        RewritePart::Parameter(name) => format!("{{{name}}}"),
    });
    parts.collect()
}

#[test]
fn every_shipped_file_is_sound() {
    for name in ["gateway.toml", "demo.toml", "bench.toml"] {
        shipped(name);
    }
}

#[test]
fn the_demo_serves_every_route_of_the_contract() {
    let demo = shipped("demo.toml");
    let expected = [
        (Method::POST, "/auth/token", "auth", ""),
        (Method::GET, "/api/auth/verify", "auth", "/verify"),
        (Method::POST, "/test/sensor/{type}", "sensor", "/test/{type}"),
        (Method::GET, "/test/{test_id}", "sensor", ""),
        (Method::POST, "/kafka/events", "kafka-producer", "/events"),
        (Method::GET, "/kafka/stats", "kafka-producer", "/stats"),
        (Method::POST, "/api/orders", "orders", "/orders"),
        (Method::GET, "/api/orders", "orders", "/orders"),
        (Method::GET, "/api/orders/{id}", "orders", "/orders/{id}"),
        (Method::GET, "/api/orders/report", "orders", "/orders/report"),
        (Method::GET, "/api/orders/{id}/shipping", "orders", "/orders/{id}/shipping"),
        (Method::POST, "/api/orders/{id}/payment", "orders", "/orders/{id}/payment"),
        (Method::GET, "/api/control/{*rest}", "control", "/{rest}"),
    ];
    for (method, path, upstream, rewrite) in &expected {
        let route = route(&demo, method, path);
        assert_eq!(&*demo.upstreams[route.upstream.0].name, *upstream, "{method} {path}");
        assert_eq!(written(route.rewrite.as_ref()), *rewrite, "{method} {path}");
    }

    assert_eq!(demo.routes.len(), expected.len());
}

#[test]
fn the_demo_refuses_only_without_the_feature_that_a_route_is_about() {
    let demo = shipped("demo.toml");
    let create = route(&demo, &Method::POST, "/api/orders");
    let pay = route(&demo, &Method::POST, "/api/orders/{id}/payment");

    assert_eq!(names(&demo, &create.rejects), ["order_creation"]);
    assert_eq!(create.auto_disable, create.rejects);
    assert!(names(&demo, &create.informs).contains(&"payment_processing".to_owned()));
    assert_eq!(names(&demo, &pay.rejects), ["payment_processing"]);
    let silent = demo.routes.iter().filter(|route| {
        route.path.0.starts_with("/api/orders") && route.rejects.len() + route.informs.len() < 8
    });
    assert_eq!(silent.count(), 0, "an orders route that some feature does not reach");
}

#[test]
fn the_demo_has_nine_features_three_of_them_critical() {
    let demo = shipped("demo.toml");
    let critical: Vec<_> = demo
        .features
        .iter()
        .filter(|feature| feature.critical)
        .map(|feature| &*feature.name)
        .collect();

    assert_eq!(demo.features.len(), 9);
    assert_eq!(critical, ["database_writes", "order_creation", "payment_processing"]);
    for feature in &demo.features {
        let rule = feature.auto_disable.expect("each turns itself off");
        assert_eq!((rule.errors.get(), rule.window), (10, Duration::from_secs(300)));
    }
}

#[test]
fn the_demo_recovers_within_ten_seconds_but_for_control() {
    let demo = shipped("demo.toml");
    let breakers: BTreeMap<_, _> = demo
        .upstreams
        .iter()
        .map(|upstream| {
            let breaker = upstream.breaker.as_ref().expect("each has one");
            (&*breaker.name, &breaker.profile.settings)
        })
        .collect();

    for name in ["auth", "sensor", "kafka-producer", "orders"] {
        assert!(breakers[name].open_wait <= Duration::from_secs(5), "{name}");
    }
    let control = breakers["ControlAPI"];
    assert_eq!(control.consecutive_failures, NonZeroU32::new(5));
    assert_eq!(control.open_wait, Duration::from_secs(30));
    assert_eq!(control.verdict, Verdict::FIRST, "the first success closes it");
}

#[test]
fn the_orders_circuit_stays_closed_until_auto_disable_has_counted_its_errors() {
    let demo = shipped("demo.toml");
    let create = route(&demo, &Method::POST, "/api/orders");
    let breaker = create.breaker.as_ref().expect("orders has a breaker");
    let feature = &demo.features[create.auto_disable[0].0];

    let failures = breaker.profile.settings.consecutive_failures.expect("it has the rule");
    assert!(failures > feature.auto_disable.expect("a rule").errors);
}

#[test]
fn the_demo_asks_for_a_token_only_where_a_local_check_can_stand_in() {
    let demo = shipped("demo.toml");
    let required = RouteAuthentication::Required { jwt_fallback: true };
    let asking: Vec<_> = demo
        .routes
        .iter()
        .filter(|route| route.authentication == required)
        .map(|route| &*route.name)
        .collect();

    assert_eq!(asking, ["sensor.test", "sensor.result"]);
    let others = demo.routes.iter().filter(|route| route.authentication != required);
    assert!(others.clone().all(|route| route.authentication == RouteAuthentication::None));
}

#[test]
fn the_demo_moves_to_other_ports_and_another_directory_by_its_environment() {
    let environment = |name: &str| match name {
        "PORTCULLIS_LISTEN" => Some("127.0.0.1:7000".to_owned()),
        "PORTCULLIS_ADMIN_LISTEN" => Some("127.0.0.1:7001".to_owned()),
        "PORTCULLIS_DATA_DIR" => Some("elsewhere".to_owned()),
        "ORDERS_PORT" => Some("7104".to_owned()),
        _ => None,
    };
    let demo = parse("config/demo.toml", &text("demo.toml"), &environment).unwrap();

    assert_eq!(demo.server.listen.port(), 7000);
    assert_eq!(demo.admin.listen.port(), 7001);
    assert_eq!(demo.store, Store::Embedded { directory: "elsewhere".into() });
    let orders = demo.upstreams.iter().find(|upstream| &*upstream.name == "orders").unwrap();
    assert_eq!(orders.address, "127.0.0.1:7104");
}

#[test]
fn the_bench_measures_a_bare_route_and_one_with_all_four_layers() {
    let bench = shipped("bench.toml");
    let bare = route(&bench, &Method::GET, "/{*rest}");
    let layers = route(&bench, &Method::GET, "/layers/{*rest}");

    assert_eq!(bench.server.listen.to_string(), "127.0.0.1:9200");
    assert_eq!(bench.admin.listen.to_string(), "127.0.0.1:9201");
    assert_eq!(bench.server.workers.get(), 1);
    assert_eq!(bench.store, Store::Memory);
    assert_eq!((bench.log.access, bench.telemetry.sample_ratio), (false, 0.01));
    assert_eq!(bench.upstreams[0].address, "127.0.0.1:9100");
    assert!(bare.breaker.is_none() && bare.rejects.is_empty() && bare.flags.is_empty());
    assert!(layers.breaker.is_some());
    assert_eq!((layers.rejects.len(), layers.auto_disable.len(), layers.flags.len()), (1, 1, 2));
}
