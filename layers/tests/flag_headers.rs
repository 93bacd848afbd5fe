//! The flag headers from outside: what an upstream reads in them, and that no client writes them.
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use portcullis::{
    dictionary,
    flag_headers::{FEATURE_FLAGS, FEATURE_FLAGS_REVISION, FlagHeadersLayer},
    subject::Subject,
    switchboard::{
        Switchboard,
        flag::{Flag, Rollout},
    },
    view::channel,
};
use proptest::prelude::*;
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use tower::{Layer, Service, ServiceExt};

/// A service that answers with the headers it was told.
#[derive(Clone)]
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

fn flag(key: &str, percent: f64) -> Flag {
    Flag { key: key.into(), enabled: true, rollout: Rollout::percent(percent).unwrap() }
}

fn board(flags: impl IntoIterator<Item = Flag>) -> Switchboard {
    Switchboard::new([], flags)
}

fn of(subject: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Subject(subject.into()));
    request
}

async fn told(layer: &FlagHeadersLayer, request: Request<()>) -> HeaderMap {
    layer.layer(Echo).oneshot(request).await.unwrap().into_parts().0.headers
}

/// What an upstream reads: key, value, variant and reason.
fn read(headers: &HeaderMap) -> Vec<(String, bool, String, String)> {
    let Some(line) = headers.get(FEATURE_FLAGS) else { return Vec::new() };
    let dictionary: Dictionary = Parser::new(line).parse().expect("an RFC 9651 dictionary");
    let member = |(key, entry): (&sfv::Key, &ListEntry)| {
        let ListEntry::Item(item) = entry else { panic!("{key:?} is a list") };
        let BareItem::Boolean(value) = item.bare_item else { panic!("{key:?} is no boolean") };
        let word = |name: &str| match item.params.get(name) {
            Some(BareItem::Token(word)) => word.as_str().to_owned(),
            other => panic!("{name} of {key:?} is {other:?}"),
        };
        (key.as_str().to_owned(), value, word("v"), word("r"))
    };
    dictionary.iter().map(member).collect()
}

fn member(key: &str, value: bool, reason: &str) -> (String, bool, String, String) {
    (key.to_owned(), value, if value { "on" } else { "off" }.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn an_upstream_reads_value_variant_and_reason_of_each_flag() {
    let disabled = Flag { enabled: false, ..flag("legacy", 100.0) };
    let (_publisher, subscriber) =
        channel(board([flag("new-checkout", 100.0), flag("theme", 0.0), disabled]).at_revision(7));
    let layer = FlagHeadersLayer::new(subscriber).flags(["new-checkout", "theme", "legacy"]);
    let headers = told(&layer, Request::new(())).await;
    assert_eq!(
        headers[FEATURE_FLAGS],
        "new-checkout;v=on;r=static, theme=?0;v=off;r=static, legacy=?0;v=off;r=disabled"
    );
    assert_eq!(headers[FEATURE_FLAGS_REVISION], "7");
    assert_eq!(
        read(&headers),
        [
            member("new-checkout", true, "static"),
            member("theme", false, "static"),
            member("legacy", false, "disabled")
        ]
    );
}

#[tokio::test]
async fn a_percentage_is_of_subjects_and_the_same_subject_always_gets_the_same() {
    let (_publisher, subscriber) = channel(board([flag("new-checkout", 50.0)]));
    let layer = FlagHeadersLayer::new(subscriber).flags(["new-checkout"]);
    let mut on = 0;
    for user in 0..200 {
        let user = format!("user-{user}");
        let first = read(&told(&layer, of(&user)).await);
        assert_eq!(first, read(&told(&layer, of(&user)).await));
        assert_eq!(first[0].3, "split");
        on += usize::from(first[0].1);
    }
    assert!((60..140).contains(&on), "{on} of 200");
}

#[tokio::test]
async fn a_percentage_without_a_subject_is_off() {
    let (_publisher, subscriber) = channel(board([flag("new-checkout", 50.0)]));
    let layer = FlagHeadersLayer::new(subscriber).flags(["new-checkout"]);
    assert_eq!(
        read(&told(&layer, Request::new(())).await),
        [member("new-checkout", false, "default")]
    );
}

#[tokio::test]
async fn a_client_cannot_set_its_flags() {
    let (_publisher, subscriber) = channel(board([flag("theme", 0.0)]).at_revision(3));
    let forged = || {
        let request = Request::builder()
            .header("Feature-Flags", "theme;v=on")
            .header("feature-flags", "admin");
        request.header("FEATURE-FLAGS-REVISION", "999").body(()).unwrap()
    };
    let telling = FlagHeadersLayer::new(subscriber.clone()).flags(["theme"]);
    let headers = told(&telling, forged()).await;
    assert_eq!(headers.get_all(FEATURE_FLAGS).iter().count(), 1);
    assert_eq!(read(&headers), [member("theme", false, "static")]);
    assert_eq!(headers.get_all(FEATURE_FLAGS_REVISION).iter().collect::<Vec<_>>(), ["3"]);

    let silent = FlagHeadersLayer::new(subscriber);
    assert!(!told(&silent, forged()).await.contains_key(FEATURE_FLAGS));
}

#[tokio::test]
async fn a_flag_that_nobody_declared_is_left_out() {
    let (_publisher, subscriber) = channel(board([flag("theme", 100.0)]));
    let layer = FlagHeadersLayer::new(subscriber).flags(["nosuch", "theme"]);
    assert_eq!(read(&told(&layer, Request::new(())).await), [member("theme", true, "static")]);
}

#[tokio::test]
async fn without_a_declared_flag_there_is_a_revision_and_no_empty_header() {
    let (_publisher, subscriber) = channel(board([]));
    let headers =
        told(&FlagHeadersLayer::new(subscriber).flags(["nosuch"]), Request::new(())).await;
    assert!(!headers.contains_key(FEATURE_FLAGS));
    assert_eq!(headers[FEATURE_FLAGS_REVISION], "0");
}

#[tokio::test]
async fn a_new_switchboard_is_told_at_once_even_at_the_same_revision() {
    let (publisher, subscriber) = channel(board([flag("theme", 0.0)]));
    let layer = FlagHeadersLayer::new(subscriber).flags(["theme"]);
    assert_eq!(read(&told(&layer, Request::new(())).await), [member("theme", false, "static")]);
    publisher.publish(board([flag("theme", 100.0)]));
    assert_eq!(read(&told(&layer, Request::new(())).await), [member("theme", true, "static")]);
    publisher.publish(board([flag("other", 100.0), flag("theme", 100.0)]).at_revision(1));
    assert_eq!(told(&layer, Request::new(())).await[FEATURE_FLAGS_REVISION], "1");
}

#[tokio::test]
async fn a_flip_is_told_by_its_revision_although_the_flags_are_the_same() {
    let first = board([flag("theme", 100.0)]);
    let (publisher, subscriber) = channel(first.clone());
    let layer = FlagHeadersLayer::new(subscriber).flags(["theme"]);
    assert_eq!(told(&layer, Request::new(())).await[FEATURE_FLAGS_REVISION], "0");
    publisher.publish(first.at_revision(1));
    assert_eq!(told(&layer, Request::new(())).await[FEATURE_FLAGS_REVISION], "1");
}

#[tokio::test]
async fn a_request_is_told_the_switchboard_that_was_pinned_for_it() {
    let (publisher, subscriber) = channel(board([flag("theme", 100.0)]).at_revision(1));
    let layer = FlagHeadersLayer::new(subscriber.clone()).flags(["theme"]);
    let mut early = Request::new(());
    early.extensions_mut().insert(subscriber.pin());
    publisher.publish(board([flag("theme", 0.0)]).at_revision(2));
    assert_eq!(told(&layer, Request::new(())).await[FEATURE_FLAGS_REVISION], "2");
    let headers = told(&layer, early).await;
    assert_eq!(headers[FEATURE_FLAGS_REVISION], "1");
    assert_eq!(read(&headers), [member("theme", true, "static")]);
}

#[test]
#[should_panic(expected = "can't travel in a header")]
fn a_key_that_can_not_travel_is_found_when_the_layer_is_built() {
    let (_publisher, subscriber) = channel(board([]));
    let _ = FlagHeadersLayer::new(subscriber).flags(["new checkout"]);
}

proptest! {
    #[test]
    fn every_declared_flag_comes_out_of_the_header_as_it_was_evaluated(
        flags in prop::collection::btree_map("[a-z0-9][a-z0-9_.-]{0,62}", (0.0..=100.0_f64, any::<bool>()), 0..12),
        subject in prop::option::of("\\PC{0,20}"),
    ) {
        let flags: Vec<_> = flags.iter().map(|(key, &(percent, enabled))| Flag { enabled, ..flag(key, percent) }).collect();
        let (_publisher, subscriber) = channel(board(flags.clone()));
        let layer = FlagHeadersLayer::new(subscriber).flags(flags.iter().map(|flag| &flag.key));
        let request = subject.as_deref().map_or_else(|| Request::new(()), of);
        let mut service = layer.layer(Echo);
        let headers = service.call(request).into_inner().unwrap().into_parts().0.headers;
        let evaluated = flags.iter().map(|flag| {
            let evaluation = flag.evaluate(subject.as_deref());
            member(&dictionary::key(&flag.key).unwrap(), evaluation.on, evaluation.reason.as_str())
        });
        prop_assert_eq!(read(&headers), evaluated.collect::<Vec<_>>());
    }

    #[test]
    fn whatever_is_a_key_is_one_to_a_parser_and_no_two_names_share_one(a in "[ -~]{0,6}", b in "[0-9a-z*]{1,3}") {
        for name in [&a, &b] {
            if let Some(key) = dictionary::key(name) {
                prop_assert!(sfv::KeyRef::from_str(&key).is_ok(), "{}", key);
                prop_assert_eq!(key.strip_prefix('*').unwrap_or(&key), name.as_str());
            }
        }
    }
}
