//! What holds for every text: a fault is never lost, never invented, and never a panic.

use std::fmt::Write as _;
use std::time::Duration;

use portcullis_gateway::config::config::{Place, UpstreamId};
use proptest::prelude::*;

use super::{bare, faults, parse_named, sound, text};

const ROUTES: &str = "
[breakers.standard]
[breakers.quick]
[features.writes]
auto_disable = {}
[upstreams.a]
url = 'http://127.0.0.1:8101'
breaker = 'standard'
[upstreams.b]
url = 'http://127.0.0.1:8102'
";

fn route(keys: &str) -> portcullis_gateway::config::config::Route {
    let text = format!("{ROUTES}[[routes]]\nname = 'r'\npath = '/r'\n{keys}\n");
    sound(&text).routes.remove(0)
}

#[test]
fn a_route_takes_its_upstreams_breaker_unless_it_says_otherwise() {
    let inherited = route("upstream = 'a'").breaker.expect("the upstream's");
    let own =
        route("upstream = 'a'\nbreaker = 'quick'\nbreaker_name = 'own'").breaker.expect("own");
    let none = route("upstream = 'a'\nbreaker = false").breaker;

    assert_eq!((&*inherited.name, &*inherited.settings.name), ("a", "standard"));
    assert_eq!((&*own.name, &*own.settings.name), ("own", "quick"));
    assert_eq!(none, None);
}

#[test]
fn a_breaker_of_a_route_is_named_after_its_upstream() {
    assert_eq!(&*route("upstream = 'b'\nbreaker = 'quick'").breaker.expect("own").name, "b");
}

#[test]
fn errors_of_a_route_count_for_what_it_rejects_unless_it_says_otherwise() {
    let counted = route("upstream = 'a'\nrejects = ['writes']");
    let silent = route("upstream = 'a'\nrejects = ['writes']\nauto_disable = []");
    let informed = route("upstream = 'a'\ninforms = ['writes']");

    assert_eq!(counted.auto_disable, counted.rejects);
    assert!(silent.auto_disable.is_empty());
    assert!(informed.auto_disable.is_empty());
}

#[test]
fn a_route_takes_what_it_leaves_out_from_the_server() {
    let route = route("upstream = 'b'");

    assert_eq!(route.upstream, UpstreamId(1));
    assert_eq!(route.timeout, Duration::from_secs(60));
    assert_eq!(route.body_bytes_max, 104_857_600);
}

#[test]
fn a_rate_without_a_burst_bursts_by_itself() {
    let limit = route("upstream = 'a'\nrate_limit = { requests = 7 }").rate_limit.expect("written");

    assert_eq!((limit.burst.get(), limit.per), (7, Duration::from_secs(1)));
}

#[test]
fn everything_knows_the_line_that_declares_it() {
    let text = "[features.f]\n\n[upstreams.u]\nurl = 'http://a'\n\n  [[routes]]\nname = 'r'\npath = '/'\nupstream = 'u'\n";
    let config = sound(text);
    let place = |line, column| Place { file: "config/test.toml".into(), line, column };

    assert_eq!(config.features[0].place, place(1, 11));
    assert_eq!(config.upstreams[0].place, place(3, 12));
    assert_eq!(config.routes[0].place, place(6, 3));
}

#[test]
fn a_fraction_of_a_second_is_kept() {
    let text = "[server]\ndrain_timeout_seconds = 0.25\n";

    assert_eq!(sound(text).server.drain_timeout, Duration::from_millis(250));
}

#[test]
fn one_misspelt_table_is_one_fault() {
    let text = ROUTES.replace("[upstreams.", "[upstream.")
        + "[[routes]]\nname = 'r'\npath = '/r'\nupstream = 'a'\n";

    assert_eq!(faults(&text).lines().count(), 1, "{}", faults(&text));
}

#[test]
fn a_misspelt_key_is_not_blamed_for_its_value_too() {
    let text =
        format!("{ROUTES}[[routes]]\nname = 'r'\npath = '/r'\nupstream = 'a'\nhosts = ['a']\n");

    assert_eq!(
        faults(&text),
        "config/test.toml:15:1: unknown key `hosts` in [[routes]]; did you mean `host`?\n"
    );
}

#[test]
fn ten_thousand_routes_are_checked_in_moments() {
    let mut text = ROUTES.to_owned();
    for at in 0..10_000 {
        write!(text, "[[routes]]\nname = 'r{at}'\npath = '/r{at}/{{id}}'\nupstream = 'a'\n")
            .unwrap();
    }
    let started = std::time::Instant::now();

    assert_eq!(sound(&text).routes.len(), 10_000);
    // Generous, for a debug build on a busy machine: what is quadratic takes minutes.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn the_demo_without_any_one_of_its_lines_is_sound_or_at_fault_with_a_place() {
    let text = text("demo.toml");
    let lines: Vec<_> = text.lines().collect();
    for without in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(without);
        if let Err(faults) = parse_named("demo.toml", &fewer.join("\n")) {
            assert!(!faults.is_empty(), "line {without} is missed by nobody");
            assert!(faults.iter().all(|fault| fault.line <= lines.len()), "{faults:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,200}") {
        let _ = portcullis_gateway::config::parse("any", &text, &bare);
    }

    #[test]
    fn the_paths_of_sound_routes_go_into_one_tree(
        routes in prop::collection::vec(
            (
                prop::collection::vec(prop::sample::select(vec!["a", "b", "{x}", "{y}"]), 0..3),
                prop::sample::select(vec!["", "/{*}", "/{*all}", "/a", "/"]),
                prop::sample::select(vec!["", "methods = ['GET']", "methods = ['PUT']"]),
            ),
            1..6,
        )
    ) {
        let mut text = ROUTES.to_owned();
        for (at, (segments, end, methods)) in routes.iter().enumerate() {
            let start: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let path = if start.is_empty() && end.is_empty() { "/" } else { &format!("{start}{end}") };
            write!(text, "[[routes]]\nname = 'r{at}'\npath = '{path}'\n{methods}\nupstream = 'a'\n").unwrap();
        }
        let Ok(config) = parse_named("any.toml", &text) else { return Ok(()) };
        let paths: std::collections::HashSet<_> = config.routes.iter().map(|route| &route.path.0).collect();
        let mut tree = matchit::Router::new();
        for path in paths {
            prop_assert!(tree.insert(path.as_str(), ()).is_ok(), "{path} in {text}");
        }
    }

    #[test]
    fn no_value_is_a_panic(
        key in prop::sample::select(vec![
            "name", "methods", "host", "path", "upstream", "rewrite", "rejects", "breaker", "rate_limit",
            "timeout_seconds", "auto_disable",
        ]),
        value in prop_oneof![
            "'[a-z/{}*%.:$]{0,12}'",
            "[-0-9.e_]{1,6}",
            "\\[('[a-zA-Z/{}]{0,6}')?\\]",
            "\\{ (requests|errors|x) = [0-9]{1,3} \\}",
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("1979-05-27".to_owned()),
            Just("nan".to_owned()),
        ],
    ) {
        let rest = [("name", "'r'"), ("path", "'/r/{id}'"), ("upstream", "'a'")];
        let rest = rest.iter().filter(|(other, _)| *other != key);
        let rest: String = rest.map(|(key, value)| format!("{key} = {value}\n")).collect();
        let text = format!("{ROUTES}[[routes]]\n{rest}{key} = {value}\n");
        if let Err(faults) = parse_named("any.toml", &text) {
            prop_assert!(!faults.is_empty());
        }
    }
}
