//! What holds for every text: a fault is never lost, never invented, and never a panic.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use portcullis::circuit_breaker::{
    Backoff, HalfOpenMax, Judges, Late, LostProbe, Minimum, Objective, Profile, Ramp, Ratio,
    Settings, Slow, Span, State, Then, Threshold, Verdict,
};
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

    assert_eq!((&*inherited.name, &*inherited.profile.name), ("a", "standard"));
    assert_eq!((&*own.name, &*own.profile.name), ("own", "quick"));
    assert_eq!(none, None);
}

#[test]
fn a_breaker_of_a_route_is_named_after_its_upstream() {
    assert_eq!(&*route("upstream = 'b'\nbreaker = 'quick'").breaker.expect("own").name, "b");
}

fn settings(text: &str) -> portcullis_gateway::config::config::Breaker {
    let text = format!("[upstreams.a]\nurl = 'http://127.0.0.1:9'\n{text}");
    sound(&text).upstreams.remove(0).breaker.expect("it has one").profile
}

#[test]
fn three_profiles_are_always_there() {
    for (name, failures, wait, call) in
        [("default", 5, 60, 30), ("critical", 10, 120, 60), ("optional", 2, 30, 5)]
    {
        let profile = settings(&format!("breaker = '{name}'"));
        assert_eq!(profile.settings.consecutive_failures.expect("a rule").get(), failures);
        assert_eq!(profile.settings.open_wait, Duration::from_secs(wait), "{name}");
        assert_eq!(profile.call_timeout, Duration::from_secs(call), "{name}");
        assert_eq!(profile.settings.verdict, Verdict::Run(NonZeroU32::new(3).expect("not 0")));
    }
}

#[test]
fn what_a_table_leaves_out_comes_from_its_profile_and_at_last_from_default() {
    let text = "breaker = { profile = 'fast', half_open_probes = 4 }
[breakers.fast]
profile = 'optional'
open_wait_seconds = 1
[breakers.default]
successes_to_close = 7
consecutive_failures = 9
";
    let profile = settings(text);
    assert_eq!(profile.settings.half_open_probes.get(), 4, "its own");
    assert_eq!(profile.settings.open_wait, Duration::from_secs(1), "of fast");
    assert_eq!(profile.settings.consecutive_failures.expect("a rule").get(), 2, "of optional");
    assert_eq!(profile.settings.verdict, Verdict::Run(NonZeroU32::new(7).expect("not 0")));
}

#[test]
fn a_table_of_a_route_stands_on_what_its_upstream_has() {
    let route = |keys: &str| {
        let text = format!(
            "[upstreams.a]\nurl = 'http://127.0.0.1:9'\nbreaker = {{ consecutive_failures = 8, open_wait_seconds = 4 }}\n\
             [[routes]]\nname = 'r'\npath = '/r'\nupstream = 'a'\nbreaker_name = 'own'\n[routes.breaker]\n{keys}"
        );
        sound(&text).routes.remove(0).breaker.expect("its own").profile.settings
    };
    let over_upstream = route("open_wait_seconds = 2");
    assert_eq!(over_upstream.consecutive_failures.expect("a rule").get(), 8);
    assert_eq!(over_upstream.open_wait, Duration::from_secs(2));
    let over_profile = route("profile = 'optional'");
    assert_eq!(over_profile.consecutive_failures.expect("a rule").get(), 2);
}

#[test]
fn every_rule_of_the_library_can_be_written() {
    let settings = settings(
        "breaker_name = 'all'
[upstreams.a.breaker]
consecutive_failures = false
failure_rate_percent = 12.5
slow = { longer_than_seconds = 0.25, rate_percent = 80 }
objective = { failure_percent = 5, deviations = 2.5 }
window = { seconds = 30, buckets = 60 }
minimum_calls = 20
retry_after_max_seconds = 90
busy_is_overload = true
call_timeout_seconds = 3
open_wait_seconds = 2
backoff = { growth = 3, wait_max_seconds = 60, jitter_percent = 10 }
half_open_probes = 4
probe_rate = { calls = 8, failure_percent = 25 }
probe_timeout_seconds = 9
lost_probe = 'ignored'
half_open_max = { seconds = 40, then = 'closes' }
automatic_half_open = true
ramp = { from_percent = 2, growth = 4, step_seconds = 5 }
initial_state = 'shadow'
threshold = 'passed'
minimum = 'passed'
judges = 'failures_only'
late_results = 'recorded'
",
    );
    let seconds = Duration::from_secs;
    let count = |number| NonZeroU32::new(number).expect("not 0");
    assert!(settings.busy_is_overload && settings.call_timeout == seconds(3));
    let wanted = Settings {
        consecutive_failures: None,
        failure_rate: Some(Ratio::per_million(125_000)),
        slow: Some(Slow { longer_than: Duration::from_millis(250), rate: Ratio::percent(80) }),
        objective: Some(Objective { failures: Ratio::percent(5), z_hundredths: 250 }),
        span: Span::Time { length: seconds(30), buckets: count(60) },
        minimum_calls: count(20),
        retry_after_max: Some(seconds(90)),
        open_wait: seconds(2),
        backoff: Backoff {
            growth_hundredths: 300,
            wait_max: seconds(60),
            jitter: Ratio::percent(10),
        },
        half_open_probes: count(4),
        verdict: Verdict::Rate { calls: count(8), failures: Ratio::percent(25) },
        probe_timeout: seconds(9),
        lost_probe: LostProbe::Ignored,
        half_open_max: Some(HalfOpenMax { after: seconds(40), then: Then::Closes }),
        automatic_half_open: true,
        ramp: Some(Ramp { from: Ratio::percent(2), growth_hundredths: 400, step: seconds(5) }),
        initial: State::Shadow,
        profile: Profile {
            threshold: Threshold::Passed,
            judges: Judges::FailuresOnly,
            minimum: Minimum::Passed,
            late: Late::Recorded,
        },
    };
    assert_eq!(settings.settings, wanted);
}

#[test]
fn false_turns_off_what_the_profile_below_turned_on() {
    let text = "breaker = { profile = 'by-rate', slow = false, backoff = false }
[breakers.by-rate]
slow = { longer_than_seconds = 1 }
backoff = {}
";
    let settings = settings(text).settings;
    assert_eq!((settings.slow, settings.backoff), (None, Backoff::NONE));
}

#[test]
fn a_call_has_the_time_that_its_breaker_gives_it_unless_its_upstream_says_otherwise() {
    let timeout = |keys: &str| {
        let text = format!("[upstreams.a]\nurl = 'http://127.0.0.1:9'\n{keys}");
        sound(&text).upstreams.remove(0).response_timeout.as_secs()
    };
    assert_eq!(timeout(""), 30);
    assert_eq!(timeout("breaker = 'optional'"), 5);
    assert_eq!(timeout("breaker = 'optional'\nresponse_timeout_seconds = 7"), 7);
    let routes = "[[routes]]\nname = 'r'\npath = '/r'\nupstream = 'a'\nbreaker = 'critical'\nbreaker_name = 'own'";
    let text = format!("[upstreams.a]\nurl = 'http://127.0.0.1:9'\nbreaker = 'optional'\n{routes}");
    assert_eq!(sound(&text).routes[0].response_timeout.as_secs(), 60);
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
