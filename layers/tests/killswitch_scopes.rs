//! The killswitch layer and kills that are for some only, or not in earnest.
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response};
use portcullis::{
    killswitch::{KILLSWITCHES, KillswitchLayer, Stage},
    subject::{Subject, Tenant},
    switchboard::{
        Switchboard, UnixMillis,
        feature::{Feature, Source},
        flag::Rollout,
        flip::Flip,
        kill::{Mode, Terms},
        scope::Scope,
    },
    view::{Subscriber, channel},
};
use tower::{Layer, ServiceExt, service_fn};

/// A switchboard with one kill on these terms.
fn killed(terms: Terms) -> Subscriber {
    let flip = Flip {
        features: vec!["orders".into()],
        enabled: false,
        reason: "a test".to_owned(),
        actor: "ada".to_owned(),
        source: Source::Api,
        expires_at: None,
        terms,
    };
    let board = Switchboard::new([Feature::named("orders")], []);
    channel(board.apply(&flip, UnixMillis(1_000)).unwrap()).1
}

fn scoped(scope: Scope) -> Terms {
    Terms { scope, ..Terms::default() }
}

fn tenant(name: &str) -> Scope {
    Scope { tenants: vec![name.into()], ..Scope::default() }
}

/// A request of a tenant's subject.
fn request(subject: &str, tenant: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Subject(subject.into()));
    request.extensions_mut().insert(Tenant(tenant.into()));
    request
}

/// The status of the answer, and how often the service below ran.
async fn ask(layer: &KillswitchLayer, request: Request<()>) -> (u16, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let below = calls.clone();
    let echo = move |request: Request<()>| -> Ready<Result<Response<Bytes>, Infallible>> {
        below.fetch_add(1, Relaxed);
        let mut response = Response::new(Bytes::new());
        *response.headers_mut() = request.headers().clone();
        ready(Ok(response))
    };
    let answer = layer.layer(service_fn(echo)).oneshot(request).await.unwrap();
    (answer.status().as_u16(), calls.load(Relaxed))
}

#[tokio::test]
async fn only_the_tenant_that_a_kill_names_is_refused_and_nothing_runs_for_it() {
    let layer = KillswitchLayer::new(killed(scoped(tenant("acme")))).rejects(["orders"]);
    assert_eq!(ask(&layer, request("ana", "acme")).await, (503, 0));
    assert_eq!(ask(&layer, request("ana", "zeta")).await, (200, 1));
    assert_eq!(ask(&layer, Request::new(())).await, (200, 1), "whose tenant isn't known");
}

#[tokio::test]
async fn a_kill_of_a_route_and_a_method_is_for_both_together() {
    let scope = Scope {
        routes: vec!["orders.create".into()],
        methods: vec![Method::POST],
        ..Scope::default()
    };
    let subscriber = killed(scoped(scope));
    let post = || Request::post("/").body(()).unwrap();
    let layer =
        |route: &str| KillswitchLayer::new(subscriber.clone()).rejects(["orders"]).route(route);
    assert_eq!(ask(&layer("orders.create"), post()).await, (503, 0));
    assert_eq!(ask(&layer("orders.create"), Request::new(())).await, (200, 1));
    assert_eq!(ask(&layer("orders.list"), post()).await, (200, 1));
}

#[tokio::test]
async fn a_kill_of_a_region_and_of_addresses_is_obeyed_where_they_are_known() {
    let region = Scope { regions: vec!["eu".into()], ..Scope::default() };
    let layer = KillswitchLayer::new(killed(scoped(region))).rejects(["orders"]);
    assert_eq!(ask(&layer, Request::new(())).await, (200, 1));
    assert_eq!(ask(&layer.region("eu"), Request::new(())).await, (503, 0));

    let network =
        portcullis::switchboard::scope::Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 };
    let addresses = Scope { addresses: vec![network], ..Scope::default() };
    let layer = KillswitchLayer::new(killed(scoped(addresses))).rejects(["orders"]);
    assert_eq!(ask(&layer, Request::new(())).await, (200, 1));
    let layer = layer.address(|_| "10.1.2.3".parse().ok());
    assert_eq!(ask(&layer, Request::new(())).await, (503, 0));
}

#[tokio::test]
async fn before_authentication_only_what_needs_no_identity_is_decided() {
    let stage =
        |terms: Terms, stage| KillswitchLayer::new(killed(terms)).rejects(["orders"]).stage(stage);
    let before = stage(scoped(tenant("acme")), Stage::BeforeAuthentication);
    assert_eq!(ask(&before, request("ana", "acme")).await, (200, 1), "nobody was asked yet");
    let behind = stage(scoped(tenant("acme")), Stage::BehindAuthentication);
    assert_eq!(ask(&behind, request("ana", "acme")).await, (503, 0));
    let get = Scope { methods: vec![Method::GET], ..Scope::default() };
    let before = stage(scoped(get), Stage::BeforeAuthentication);
    assert_eq!(ask(&before, Request::new(())).await, (503, 0));
}

#[tokio::test]
async fn an_upstream_is_told_of_a_feature_that_is_off_for_this_subject_only() {
    let layer = KillswitchLayer::new(killed(scoped(tenant("acme")))).informs(["orders"]);
    let told = async |request| {
        let echo = service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(Bytes::from(format!(
                "{:?}",
                request.headers().get(KILLSWITCHES)
            ))))
        });
        layer.layer(echo).oneshot(request).await.unwrap().into_body()
    };
    assert_eq!(told(request("ana", "acme")).await, r#"Some("orders=?0")"#);
    assert_eq!(told(request("ana", "zeta")).await, "None");
}

#[tokio::test]
async fn about_as_many_are_refused_as_the_share_says_and_always_the_same() {
    let share = Scope { share: Rollout::percent(30.0), ..Scope::default() };
    let layer = KillswitchLayer::new(killed(scoped(share))).rejects(["orders"]);
    let mut refused = 0;
    for n in 0..1_000 {
        let user = format!("user-{n}");
        let (first, again) =
            (ask(&layer, request(&user, "a")).await, ask(&layer, request(&user, "b")).await);
        assert_eq!(first, again);
        refused += usize::from(first.0 == 503);
    }
    assert!((250..350).contains(&refused), "{refused} of 1,000");
}

#[tokio::test]
async fn a_kill_in_shadow_refuses_nobody_and_each_of_whom_it_would_is_told_once() {
    for (mode, scope, stages) in [
        (Mode::Shadow, Scope::default(), vec![Stage::Alone]),
        (Mode::Drill, tenant("acme"), vec![Stage::Alone]),
        (
            Mode::Shadow,
            Scope::default(),
            vec![Stage::BeforeAuthentication, Stage::BehindAuthentication],
        ),
        (
            Mode::Shadow,
            tenant("acme"),
            vec![Stage::BeforeAuthentication, Stage::BehindAuthentication],
        ),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let subscriber = killed(Terms { mode, ..scoped(scope) });
        for stage in stages {
            let list = told.clone();
            let layer = KillswitchLayer::new(subscriber.clone())
                .rejects(["orders"])
                .stage(stage)
                .watch(move |mode, rejected| list.lock().unwrap().push((mode, rejected.reason())));
            assert_eq!(ask(&layer, request("ana", "acme")).await, (200, 1));
        }
        assert_eq!(*told.lock().unwrap(), [(mode, "killswitch")]);
    }
}

#[tokio::test]
async fn a_feature_is_off_with_the_one_that_implies_it_and_named_itself() {
    let network = Feature { implies: vec!["orders".into()], ..Feature::named("network") };
    let board = Switchboard::new([network, Feature::named("orders")], []);
    let off = portcullis::switchboard::feature::State {
        enabled: false,
        ..portcullis::switchboard::feature::State::default()
    };
    let (_publisher, subscriber) = channel(board.with_state("network", off));
    let layer = KillswitchLayer::new(subscriber).rejects(["orders"]);
    assert_eq!(ask(&layer, Request::new(())).await, (503, 0));
}
