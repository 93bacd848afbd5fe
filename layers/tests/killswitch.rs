//! The killswitch layer from outside: what it refuses, what it tells, and what it leaves alone.
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    future::{Future, Ready, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::RETRY_AFTER};
use portcullis::{
    killswitch::{KILLSWITCHES, Killswitch, KillswitchLayer},
    refuse::{AsError, AsResponse},
    rejected::Rejected,
    switchboard::{
        Switchboard, UnixMillis,
        feature::{Feature, State},
    },
    view::{Publisher, Subscriber, channel},
};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use tower::{Layer, Service, ServiceExt};
use tower_test::mock;

type BoxError = Box<dyn Error + Send + Sync>;

const FEATURES: [&str; 4] = ["orders", "payment_processing", "2fa", "route:orders"];

/// All features on, but for these.
fn off(killed: &[&str]) -> Switchboard {
    let kill = |board: Switchboard, name: &&str| {
        board.with_state(name, State { enabled: false, ..State::default() })
    };
    killed.iter().fold(Switchboard::new(FEATURES.map(Feature::named), []), kill)
}

fn on() -> (Publisher, Subscriber) {
    channel(off(&[]))
}

/// A service that answers with the headers it was told.
#[derive(Clone, Default)]
struct Echo;

impl Service<Request<()>> for Echo {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut response = Response::new(Bytes::new());
        *response.headers_mut() = request.headers().clone();
        ready(Ok(response))
    }
}

async fn told<L>(layer: &L, request: Request<()>) -> HeaderMap
where
    L: Layer<Echo>,
    L::Service: Service<Request<()>, Response = Response<Bytes>, Error = Infallible>,
{
    layer.layer(Echo).oneshot(request).await.unwrap().into_parts().0.headers
}

/// What a receiver of the header reads in it.
fn read(headers: &HeaderMap) -> Vec<(String, bool)> {
    let lines: Vec<_> =
        headers.get_all(KILLSWITCHES).iter().map(|value| value.as_bytes()).collect();
    let dictionary: Dictionary =
        Parser::new(&lines.join(&b", "[..])).parse().expect("an RFC 9651 dictionary");
    let member = |(key, entry): (&sfv::Key, &ListEntry)| match entry {
        ListEntry::Item(item) => {
            (key.as_str().to_owned(), item.bare_item == BareItem::Boolean(true))
        }
        ListEntry::InnerList(_) => panic!("no lists here"),
    };
    dictionary.iter().map(member).collect()
}

#[tokio::test]
async fn a_feature_that_is_off_is_refused_until_it_is_on_again() {
    let (publisher, subscriber) = on();
    let service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(Echo);
    let status = async |service: &Killswitch<Echo, AsResponse>| {
        service.clone().oneshot(Request::new(())).await.unwrap().status()
    };

    assert_eq!(status(&service).await, StatusCode::OK);
    publisher.publish(off(&["orders"]));
    assert_eq!(status(&service).await, StatusCode::SERVICE_UNAVAILABLE);
    publisher.publish(off(&[]));
    assert_eq!(status(&service).await, StatusCode::OK);
}

#[tokio::test]
async fn another_feature_that_is_off_is_no_business_of_the_layer() {
    let (publisher, subscriber) = on();
    let service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(Echo);
    publisher.publish(off(&["payment_processing", "2fa"]));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn while_a_feature_is_off_the_service_below_is_neither_called_nor_asked_whether_it_is_ready()
{
    let (publisher, subscriber) = on();
    let (inner, mut below) = mock::pair::<Request<()>, Response<Bytes>>();
    below.allow(0);
    let mut service =
        mock::Spawn::new(KillswitchLayer::new(subscriber).rejects(["orders"]).layer(inner));
    assert!(service.poll_ready().is_pending(), "on: the service below decides");

    publisher.publish(off(&["orders"]));
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))), "off: it isn't asked");
    let answer = service.call(Request::new(())).await.unwrap();
    assert_eq!(answer.extensions().get::<Rejected>().map(Rejected::reason), Some("killswitch"));
    drop(service);
    assert!(below.next_request().await.is_none(), "nothing arrived below");
}

#[tokio::test]
async fn a_refusal_names_the_feature_and_says_what_clients_may_hear_and_when_to_come_back() {
    let orders =
        Feature { public_message: Some("back at noon".into()), ..Feature::named("orders") };
    let kill = State {
        enabled: false,
        reason: "the operator's own words".to_owned(),
        expires_at: Some(UnixMillis(UnixMillis::now().0 + 600_000)),
        ..State::default()
    };
    let (_publisher, subscriber) =
        channel(Switchboard::new([orders], []).with_state("orders", kill));
    let service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(Echo);
    let answer = service.oneshot(Request::new(())).await.unwrap();

    let Some(Rejected::Killed { feature, public_message, retry_after }) = answer.extensions().get()
    else {
        panic!("no kill in {answer:?}")
    };
    assert_eq!(&**feature, "orders");
    assert_eq!(public_message.as_deref(), Some("back at noon"));
    let left = retry_after.expect("the kill has an expiry");
    assert!((Duration::from_secs(590)..=Duration::from_secs(600)).contains(&left), "{left:?}");
    assert!(answer.headers().contains_key(RETRY_AFTER));
    assert!(!format!("{answer:?}").contains("own words"));
}

#[tokio::test]
async fn a_kill_without_expiry_promises_no_time() {
    let (_publisher, subscriber) = channel(off(&["orders"]));
    let service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(Echo);
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert!(!answer.headers().contains_key(RETRY_AFTER));
}

#[tokio::test]
async fn a_request_sees_the_switchboard_that_was_pinned_for_it() {
    let (publisher, subscriber) = on();
    let layer = KillswitchLayer::new(subscriber.clone()).rejects(["orders"]);
    let mut service = layer.layer(Echo);
    service.ready().await.unwrap();
    let mut request = Request::new(());
    request.extensions_mut().insert(subscriber.pin());
    publisher.publish(off(&["orders"]));
    assert_eq!(
        service.call(request).await.unwrap().status(),
        StatusCode::OK,
        "pinned before the kill"
    );
}

#[tokio::test]
async fn readiness_that_was_given_while_a_feature_was_off_is_for_a_refusal() {
    let (publisher, subscriber) = channel(off(&["orders"]));
    let mut service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(Echo);
    service.ready().await.unwrap();
    publisher.publish(off(&[]));
    let fresh = service.clone();
    assert_eq!(
        service.call(Request::new(())).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
    assert_eq!(fresh.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_feature_that_was_declared_after_the_layer_was_built_is_obeyed() {
    let (publisher, subscriber) = on();
    let service = KillswitchLayer::new(subscriber).rejects(["learnt"]).layer(Echo);
    assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
    publisher.publish(off(&["learnt"]));
    assert_eq!(
        service.oneshot(Request::new(())).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn the_service_below_is_told_which_features_are_off_and_only_those() {
    let (publisher, subscriber) = on();
    let layer = KillswitchLayer::new(subscriber).informs(["orders", "payment_processing", "2fa"]);
    assert!(!told(&layer, Request::new(())).await.contains_key(KILLSWITCHES));

    publisher.publish(off(&["payment_processing", "2fa"]));
    let headers = told(&layer, Request::new(())).await;
    assert_eq!(headers[KILLSWITCHES], "payment_processing=?0, *2fa=?0");
    assert_eq!(
        read(&headers),
        [("payment_processing".to_owned(), false), ("*2fa".to_owned(), false)]
    );
}

#[tokio::test]
async fn a_client_cannot_say_which_features_are_off() {
    let (publisher, subscriber) = on();
    let forged = || {
        let request = Request::builder()
            .header("Killswitches", "orders=?0")
            .header("killswitches", "payment_processing");
        request.body(()).unwrap()
    };
    let silent = KillswitchLayer::new(subscriber.clone());
    assert!(!told(&silent, forged()).await.contains_key(KILLSWITCHES));

    let telling = KillswitchLayer::new(subscriber).informs(["payment_processing"]);
    assert!(!told(&telling, forged()).await.contains_key(KILLSWITCHES));
    publisher.publish(off(&["payment_processing"]));
    assert_eq!(read(&told(&telling, forged()).await), [("payment_processing".to_owned(), false)]);
}

#[tokio::test]
async fn a_second_layer_adds_to_what_the_first_one_told() {
    let (_publisher, subscriber) = channel(off(&["orders", "payment_processing"]));
    let outer = KillswitchLayer::new(subscriber.clone()).informs(["orders"]);
    let inner = KillswitchLayer::new(subscriber).informs(["payment_processing"]);
    let forged = Request::builder().header("killswitches", "2fa=?0").body(()).unwrap();
    let headers = told(&tower::layer::util::Stack::new(inner, outer), forged).await;
    assert_eq!(headers[KILLSWITCHES], "orders=?0, payment_processing=?0");
}

#[test]
#[should_panic(expected = "can't travel in a header")]
fn a_name_that_can_not_travel_in_a_header_is_found_when_the_layer_is_built() {
    let _ = KillswitchLayer::new(on().1).informs(["route:orders"]);
}

#[tokio::test]
async fn a_name_that_can_not_travel_in_a_header_can_still_be_rejected_for() {
    let (_publisher, subscriber) = channel(off(&["route:orders"]));
    let service = KillswitchLayer::new(subscriber).rejects(["route:orders"]).layer(Echo);
    assert_eq!(
        service.oneshot(Request::new(())).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_refusal_can_travel_as_an_error_or_as_anything_else() {
    let (_publisher, subscriber) = channel(off(&["orders"]));
    let layer = KillswitchLayer::new(subscriber).rejects(["orders"]);

    let (inner, _below) = mock::pair::<Request<()>, &'static str>();
    let error =
        layer.clone().refuse(AsError).layer(inner).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some("killswitch"));

    let (inner, _below) = mock::pair::<Request<()>, &'static str>();
    let teapot = |_: Rejected| Ok::<_, BoxError>("teapot");
    assert_eq!(
        layer.refuse(teapot).layer(inner).oneshot(Request::new(())).await.unwrap(),
        "teapot"
    );
}

#[tokio::test]
async fn an_error_of_the_service_below_passes_unchanged() {
    let (_publisher, subscriber) = on();
    let (inner, mut below) = mock::pair::<Request<&'static str>, Response<Bytes>>();
    let service = KillswitchLayer::new(subscriber).rejects(["orders"]).layer(inner);
    let call = tokio::spawn(service.oneshot(Request::new("hello")));
    let (request, respond) = below.next_request().await.unwrap();
    assert_eq!(*request.body(), "hello");
    respond.send_error("broken");
    assert_eq!(call.await.unwrap().unwrap_err().to_string(), "broken");
}

/// Neither `Clone` nor `Send`, as a service of a single thread may be.
struct Local {
    calls: Rc<Cell<u32>>,
    _not_clone: Box<dyn FnOnce()>,
}

impl Service<Request<()>> for Local {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let calls = self.calls.clone();
        Box::pin(async move {
            calls.set(calls.get() + 1);
            Ok(Response::new(Bytes::new()))
        })
    }
}

#[tokio::test]
async fn a_service_that_is_neither_clone_nor_send_can_be_wrapped() {
    let (_publisher, subscriber) = on();
    let calls = Rc::new(Cell::new(0));
    let local = Local { calls: calls.clone(), _not_clone: Box::new(|| {}) };
    let mut service =
        KillswitchLayer::new(subscriber).rejects(["orders"]).refuse(AsResponse).layer(local);
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(calls.get(), 1);
}

#[tokio::test]
async fn services_made_one_per_connection_obey_the_same_flip() {
    let (publisher, subscriber) = on();
    let layer = KillswitchLayer::new(subscriber).rejects(["orders"]);
    let connections = [layer.layer(Echo), layer.layer(Echo)];
    publisher.publish(off(&["orders"]));
    for connection in connections {
        assert_eq!(
            connection.oneshot(Request::new(())).await.unwrap().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
