//! Kills as values: whom they are for, what a flip makes of them, and what time does.
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis::switchboard::{
    Switchboard, UnixMillis,
    feature::{Feature, Source, State, WhenUnknown},
    flag::Rollout,
    flip::{Flip, FlipError},
    kill::{KILLS_MAX, Mode, OnExpiry, Terms},
    scope::{Asked, Network, Scope, Who},
};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1_000)
}

fn board() -> Switchboard {
    Switchboard::new(["orders", "reports", "search"].map(Feature::named), [])
}

fn kill(feature: &str, terms: Terms) -> Flip {
    Flip {
        features: vec![feature.into()],
        enabled: false,
        reason: "stock is wrong".to_owned(),
        actor: "ada".to_owned(),
        source: Source::Api,
        expires_at: None,
        terms,
    }
}

fn until(end: UnixMillis, flip: Flip) -> Flip {
    Flip { expires_at: Some(end), ..flip }
}

fn scoped(scope: Scope) -> Terms {
    Terms { scope, ..Terms::default() }
}

fn tenant(name: &str) -> Scope {
    Scope { tenants: vec![name.into()], ..Scope::default() }
}

fn share(percent: f64) -> Scope {
    Scope { share: Some(Rollout::percent(percent).unwrap()), ..Scope::default() }
}

fn somebody<'r>(subject: &'r str, tenant: &'r str) -> Asked<'r> {
    let who = Who::Known { subject: Some(subject), tenant: Some(tenant) };
    Asked { who, ..Asked::default() }
}

fn is_off(board: &Switchboard, feature: &str, asked: &Asked<'_>) -> bool {
    board.judge(board.id(feature).unwrap(), asked).off.is_some()
}

fn state<'b>(board: &'b Switchboard, feature: &str) -> &'b State {
    board.state(board.id(feature).unwrap())
}

#[test]
fn a_kill_of_a_tenant_leaves_all_others_alone() {
    let board = board().apply(&kill("orders", scoped(tenant("acme"))), NOW).unwrap();
    assert!(is_off(&board, "orders", &somebody("ana", "acme")));
    assert!(!is_off(&board, "orders", &somebody("ana", "zeta")));
    assert!(!is_off(&board, "reports", &somebody("ana", "acme")));
    assert!(board.is_enabled("orders"), "it isn't off for everybody");
}

#[test]
fn kills_stand_beside_each_other_and_are_lifted_one_by_one_or_together() {
    let board = board().apply(&kill("orders", scoped(tenant("acme"))), NOW).unwrap();
    let board = board.apply(&kill("orders", scoped(tenant("zeta"))), at(1)).unwrap();
    let board = board.apply(&kill("orders", Terms::default()), at(2)).unwrap();
    assert!(is_off(&board, "orders", &somebody("ana", "other")));

    let restore = |terms: Terms| Flip { enabled: true, ..kill("orders", terms) };
    let id = state(&board, "orders").kill_id().unwrap();
    let by_id = Terms { kill: Some(id), ..Terms::default() };
    let board = board.apply(&restore(by_id), at(3)).unwrap();
    assert!(!is_off(&board, "orders", &somebody("ana", "other")));
    assert!(is_off(&board, "orders", &somebody("ana", "acme")), "the others are in force again");

    let fewer = board.apply(&restore(scoped(tenant("acme"))), at(4)).unwrap();
    assert!(!is_off(&fewer, "orders", &somebody("ana", "acme")));
    assert!(is_off(&fewer, "orders", &somebody("ana", "zeta")));
    let gone = fewer.apply(&restore(scoped(tenant("acme"))), at(5)).unwrap_err();
    assert_eq!(gone, FlipError::NoSuchKill { feature: "orders".into() });

    let all = board.apply(&restore(Terms::default()), at(4)).unwrap();
    assert!(!is_off(&all, "orders", &somebody("ana", "zeta")));
    assert_eq!(state(&all, "orders").kills, []);
}

#[test]
fn a_kill_of_the_same_scope_takes_the_place_of_the_one_before() {
    let board = board().apply(&kill("orders", scoped(tenant("acme"))), NOW).unwrap();
    let longer = until(at(60), kill("orders", scoped(tenant("acme"))));
    let board = board.apply(&longer, at(1)).unwrap();
    let kills = &state(&board, "orders").kills;
    assert_eq!((kills.len(), kills[0].expires_at), (1, Some(at(60))));
}

#[test]
fn a_feature_has_only_so_many_kills() {
    let mut board = board();
    for n in 0..KILLS_MAX {
        board = board.apply(&kill("orders", scoped(tenant(&n.to_string()))), NOW).unwrap();
    }
    let error = board.apply(&kill("orders", scoped(tenant("one more"))), NOW).unwrap_err();
    assert_eq!(error, FlipError::TooManyKills { feature: "orders".into() });
    assert!(board.apply(&kill("orders", Terms::default()), NOW).is_ok(), "off is always possible");
}

#[test]
fn a_kill_in_shadow_or_drill_turns_nothing_off_and_is_told() {
    for mode in [Mode::Shadow, Mode::Drill] {
        let terms = Terms { mode, ..Terms::default() };
        let board = board().apply(&kill("orders", terms), NOW).unwrap();
        let verdict = board.judge(board.id("orders").unwrap(), &Asked::default());
        assert!(verdict.off.is_none() && board.is_enabled("orders"));
        let told = [(verdict.shadow, Mode::Shadow), (verdict.drill, Mode::Drill)];
        let told = told.map(|(off, mode)| (off.is_some(), mode));
        assert!(told.contains(&(true, mode)), "{told:?}");
        assert!(
            told.contains(&(false, if mode == Mode::Drill { Mode::Shadow } else { Mode::Drill }))
        );
    }
}

#[test]
fn a_planned_kill_begins_when_its_time_has_come() {
    let planned = |scope| Terms { starts_at: Some(at(60)), scope, ..Terms::default() };
    let board =
        board().apply(&until(at(120), kill("orders", planned(Scope::default()))), NOW).unwrap();
    let board = board.apply(&kill("search", planned(tenant("acme"))), NOW).unwrap();
    assert_eq!(board.next_expiry(), Some(at(60)));
    assert!(board.is_enabled("orders") && !is_off(&board, "search", &somebody("ana", "acme")));
    assert!(board.expire(at(59)).is_none());

    let begun = board.expire(at(60)).unwrap();
    assert!(!begun.is_enabled("orders"));
    assert!(is_off(&begun, "search", &somebody("ana", "acme")));
    assert_eq!(begun.next_expiry(), Some(at(120)));
    assert!(begun.expire(at(120)).unwrap().is_enabled("orders"));
}

#[test]
fn a_planned_kill_cant_bring_the_end_of_another_forward() {
    let planned = Terms { starts_at: Some(at(60)), ..Terms::default() };
    let board = board().apply(&kill("orders", Terms::default()), NOW).unwrap();
    let board = board.apply(&until(at(120), kill("orders", planned)), NOW).unwrap();
    let begun = board.expire(at(60)).unwrap();
    assert_eq!(state(&begun, "orders").expires_at, None);
    assert!(begun.expire(at(120)).is_none());
}

#[test]
fn a_kill_has_to_begin_before_it_ends() {
    let planned = Terms { starts_at: Some(at(60)), ..Terms::default() };
    let error = board().apply(&until(at(60), kill("orders", planned)), NOW).unwrap_err();
    assert_eq!(error, FlipError::EndsBeforeItStarts);
}

#[test]
fn a_kill_that_is_to_be_held_stays_past_its_end() {
    let hold = Terms { on_expiry: OnExpiry::Hold, ..Terms::default() };
    let beside = Terms { scope: tenant("acme"), ..hold.clone() };
    let board = board().apply(&until(at(60), kill("orders", hold)), NOW).unwrap();
    let board = board.apply(&until(at(60), kill("search", beside)), NOW).unwrap();
    let later = board.expire(at(60)).unwrap();
    assert!(!later.is_enabled("orders"));
    assert!(is_off(&later, "search", &somebody("ana", "acme")));
    assert_eq!(later.next_expiry(), None);
}

/// Who is cut, among a thousand.
fn cut(board: &Switchboard, feature: &str) -> BTreeSet<u32> {
    let is_cut = |n: &u32| is_off(board, feature, &somebody(&format!("user-{n}"), "acme"));
    (0..1_000).filter(is_cut).collect()
}

#[test]
fn a_feature_comes_back_to_5_then_25_then_all_and_those_who_came_last_go_first() {
    let ramp = Terms { on_expiry: OnExpiry::Ramp { step_seconds: 30 }, ..Terms::default() };
    let off = board().apply(&until(at(60), kill("orders", ramp)), NOW).unwrap();
    let first = off.expire(at(61)).unwrap();
    assert!(first.is_enabled("orders") && first.next_expiry() == Some(at(90)));
    assert!(first.expire(at(89)).is_none());
    let second = first.expire(at(90)).unwrap();
    let all = second.expire(at(120)).unwrap();
    let cuts = [&off, &first, &second, &all].map(|board| cut(board, "orders"));
    assert!(cuts.windows(2).all(|pair| pair[1].is_subset(&pair[0])), "nobody is cut again");
    let [off, first, second, all] = cuts.map(|cut| cut.len());
    assert_eq!((off, all), (1_000, 0));
    assert!((930..970).contains(&first) && (720..780).contains(&second), "{first}, {second}");
}

#[test]
fn the_tenth_who_was_cut_last_comes_back_first() {
    let ramp = Terms {
        on_expiry: OnExpiry::RAMP,
        scope: Scope { share: share(40.0).share, ..tenant("acme") },
        ..Terms::default()
    };
    let before = board().apply(&until(at(60), kill("orders", ramp)), NOW).unwrap();
    let back = before.expire(at(60)).unwrap();
    let smaller = board().apply(&kill("orders", scoped(share(38.0))), NOW).unwrap();
    assert_eq!(cut(&back, "orders"), cut(&smaller, "orders"), "40 % less 5 % of it");
}

#[test]
fn a_gateway_that_was_down_over_the_end_begins_the_ramp_when_it_is_back() {
    let ramp = Terms { on_expiry: OnExpiry::Ramp { step_seconds: 30 }, ..Terms::default() };
    let off = board().apply(&until(at(60), kill("orders", ramp)), NOW).unwrap();
    let first = off.expire(at(7_200)).unwrap();
    assert!(cut(&first, "orders").len() > 900, "it doesn't come back to all at once");
    assert_eq!(first.next_expiry(), Some(at(7_230)));
}

#[test]
fn a_kill_during_the_ramp_takes_its_place() {
    let ramp = Terms { on_expiry: OnExpiry::RAMP, ..Terms::default() };
    let off = board().apply(&until(at(60), kill("orders", ramp)), NOW).unwrap();
    let first = off.expire(at(60)).unwrap();
    let again = first
        .apply(&Flip { source: Source::Auto, ..kill("orders", Terms::default()) }, at(70))
        .unwrap();
    assert_eq!((again.is_enabled("orders"), again.next_expiry()), (false, None));
    assert_eq!(state(&again, "orders").kills, []);
}

#[test]
fn what_a_feature_implies_is_off_with_it_for_whom_it_is() {
    let implies = |name, implied: &[&str]| Feature {
        implies: implied.iter().map(|&name| name.into()).collect(),
        ..Feature::named(name)
    };
    // A circle, too: all of it is off together.
    let board = Switchboard::new(
        [
            implies("network", &["payments", "mails"]),
            implies("payments", &["refunds"]),
            implies("refunds", &["payments"]),
            Feature::named("mails"),
        ],
        [],
    );
    let off = board.apply(&kill("network", Terms::default()), NOW).unwrap();
    assert!(["network", "payments", "mails", "refunds"].iter().all(|name| !off.is_enabled(name)));
    assert!(state(&off, "refunds").enabled, "nobody killed it itself");

    let some = board.apply(&kill("network", scoped(tenant("acme"))), NOW).unwrap();
    assert!(is_off(&some, "refunds", &somebody("ana", "acme")));
    assert!(!is_off(&some, "refunds", &somebody("ana", "zeta")));

    let others = board.apply(&kill("refunds", Terms::default()), NOW).unwrap();
    assert_eq!((others.is_enabled("payments"), others.is_enabled("network")), (false, true));
    let restored =
        off.apply(&Flip { enabled: true, ..kill("network", Terms::default()) }, at(1)).unwrap();
    assert!(
        ["network", "payments", "mails", "refunds"].iter().all(|name| restored.is_enabled(name))
    );
}

#[test]
fn a_feature_may_be_off_until_somebody_turns_it_on() {
    let closed = Feature { when_unknown: WhenUnknown::Closed, ..Feature::named("beta") };
    let board = Switchboard::new([closed], []);
    assert!(!board.is_enabled("beta"));
    let on = board.apply(&Flip { enabled: true, ..kill("beta", Terms::default()) }, NOW).unwrap();
    assert!(on.is_enabled("beta"));
}

proptest! {
    #[test]
    fn a_larger_share_cuts_whom_a_smaller_one_does(a in 0.0..100.0_f64, b in 0.0..100.0_f64, subject in "\\PC{0,40}") {
        let (smaller, larger) = if a < b { (a, b) } else { (b, a) };
        let cuts = |percent: f64| {
            let board = board().apply(&kill("orders", scoped(share(percent))), NOW).unwrap();
            is_off(&board, "orders", &somebody(&subject, "acme"))
        };
        prop_assert!(!cuts(smaller) || cuts(larger), "{} is cut at {} % and not at {} %", subject, smaller, larger);
        prop_assert_eq!(cuts(larger), cuts(larger));
        prop_assert!(cuts(100.0) && !cuts(0.0));
    }
}

/// One request of the table below, in short: `POST orders.create eu 10.1.2.3 x-canary=1 ana@acme`.
struct Asking {
    route: String,
    method: Method,
    region: String,
    address: IpAddr,
    headers: HeaderMap,
    who: Option<(Option<String>, Option<String>)>,
}

impl Asking {
    fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [method, route, region, address, header, who] = words[..] else { panic!("{text}") };
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header.split_once('=') {
            let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
            headers.append(name.unwrap(), value.unwrap());
        }
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        Self {
            route: route.to_owned(),
            method: method.parse().unwrap(),
            region: region.to_owned(),
            address: address.parse().unwrap(),
            headers,
            who: who.split_once('@').map(|(subject, tenant)| (some(subject), some(tenant))),
        }
    }

    fn asked(&self) -> Asked<'_> {
        let who = self.who.as_ref().map_or(Who::NotYet, |(subject, tenant)| Who::Known {
            subject: subject.as_deref(),
            tenant: tenant.as_deref(),
        });
        Asked {
            route: Some(&self.route),
            region: Some(&self.region),
            method: Some(&self.method),
            headers: Some(&self.headers),
            address: Some(self.address),
            who,
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn each_scope_covers_the_requests_that_the_table_says() {
    let mut lines = 0;
    for line in include_str!("data/scopes.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let [scope, asking, expected] = line.split('|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let scope: Scope =
            serde_json::from_str(scope).unwrap_or_else(|error| panic!("{scope}: {error}"));
        let board = board().apply(&kill("orders", scoped(scope)), NOW).unwrap();
        let asking = Asking::read(asking);
        let verdict = board.judge(board.id("orders").unwrap(), &asking.asked());
        let is = match (verdict.off.is_some(), verdict.not_yet) {
            (true, _) => "off",
            (false, true) => "not yet",
            (false, false) => "on",
        };
        assert_eq!(is, expected, "{line}");
        lines += 1;
    }
    assert!(lines >= 30, "{lines} lines");
}

#[test]
fn an_address_may_be_written_as_ipv6() {
    let network = Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 };
    assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
    let all = Network { address: "::".parse().unwrap(), prefix: 0 };
    assert!(
        all.contains("2001:db8::1".parse().unwrap()) && !all.contains("10.0.0.1".parse().unwrap())
    );
}

#[cfg(feature = "serde")]
mod kept {
    use super::*;
    use portcullis::store::Saved;

    #[test]
    fn what_the_version_before_kept_is_read_as_it_was_meant() {
        let text = include_str!("data/saved_version_1.json");
        let saved: Saved = serde_json::from_str(text).unwrap();
        let board = saved.restore(board());
        assert_eq!(
            (board.revision(), board.is_enabled("order_creation"), board.is_enabled("sms")),
            (41, false, false)
        );
        assert!(board.is_enabled("reports"));
        assert_eq!(state(&board, "order_creation").on_expiry, OnExpiry::Restore);
        assert_eq!(
            serde_json::to_string(&saved).unwrap(),
            text.trim_end(),
            "and it could read what we write of it"
        );
    }

    #[test]
    fn what_the_version_before_couldnt_understand_it_refuses() {
        let version = |terms| {
            let board = board().apply(&until(at(60), kill("orders", terms)), NOW).unwrap();
            let text = serde_json::to_string(&Saved::of(&board)).unwrap();
            assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), Saved::of(&board), "{text}");
            text[..13].to_owned()
        };
        assert_eq!(version(Terms::default()), r#"{"version":1,"#);
        let hold = Terms { on_expiry: OnExpiry::Hold, ..Terms::default() };
        for beyond in
            [hold, scoped(tenant("acme")), Terms { mode: Mode::Shadow, ..Terms::default() }]
        {
            assert_eq!(version(beyond), r#"{"version":2,"#);
        }
    }

    #[test]
    fn a_ramp_on_its_way_is_kept() {
        let ramp = Terms {
            on_expiry: OnExpiry::RAMP,
            incident: Some("INC-7".to_owned()),
            ..scoped(share(33.3))
        };
        let board = board()
            .apply(&until(at(60), kill("orders", ramp)), NOW)
            .unwrap()
            .expire(at(60))
            .unwrap();
        let text = serde_json::to_string(&Saved::of(&board)).unwrap();
        let again = serde_json::from_str::<Saved>(&text).unwrap().restore(super::board());
        assert_eq!(Saved::of(&again), Saved::of(&board));
        assert_eq!(cut(&again, "orders"), cut(&board, "orders"));
    }
}
