//! The description of the API is true: the document is walked, and each operation is sent what it promises to take, and what
//! it doesn't.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::control::admin::openapi::document;

async fn documented(desk: &Desk) -> Value {
    desk.get("/openapi.json").await.ok()
}

/// Each operation: its method, its path with its parameters filled in, and what the document says of it.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        let path = path
            .replace("{feature}", "order_creation")
            .replace("{name}", "ControlAPI")
            .replace("{action}", "shadow");
        operations.as_object().unwrap().iter().map(move |(method, operation)| {
            (method.to_ascii_uppercase().parse().unwrap(), path.clone(), operation.clone())
        })
    });
    operations.collect()
}

/// Something that a schema takes.
fn sound(name: &str, schema: &Value) -> Value {
    match (name, schema["type"].as_str()) {
        ("features", _) => json!(["email_notifications"]),
        ("feature", _) => "order_creation".into(),
        ("since" | "until", _) => "2026-11-20T15:04:05Z".into(),
        ("cursor", _) => Value::Null,
        ("wait", _) => "all".into(),
        ("format", _) => "csv".into(),
        (_, Some("boolean")) => false.into(),
        (_, Some("integer")) => 5.into(),
        (_, Some("array")) => json!([]),
        _ if schema["type"].is_array() => Value::Null,
        _ => "words".into(),
    }
}

fn sound_body(operation: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let members = schema["properties"].as_object()?.iter();
    Some(members.map(|(name, schema)| (name.clone(), sound(name, schema))).collect())
}

#[tokio::test]
async fn every_endpoint_is_described_and_can_be_read_alone() {
    let desk = Desk::new();
    let document = documented(&desk).await;
    let served = endpoints::all(true);
    assert_eq!(operations(&document).len(), served.len());
    let mut ids = std::collections::BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert!(ids.insert(operation["operationId"].to_string()), "{operation}");
    }
    let text = document.to_string();
    assert!(!text.contains("$defs"), "a type within a type has no place in the document yet");
}

#[tokio::test]
async fn what_the_document_promises_is_taken_and_answered_as_it_says() {
    for (method, path, operation) in operations(&documented(&Desk::new()).await) {
        let desk = Desk::new();
        let pairs = operation["parameters"].as_array().unwrap().iter().filter_map(|parameter| {
            let value = sound(parameter["name"].as_str()?, &parameter["schema"]);
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let sent = parameter["in"] == "query" && value != "null";
            sent.then(|| format!("{}={value}", parameter["name"].as_str().unwrap_or_default()))
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        let body = sound_body(&operation).map(|body| body.to_string()).unwrap_or_default();
        let request = request(method.clone(), &format!("{path}?{query}"), &body);
        // Only the head: a stream of events has no end.
        let answer = desk.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {path}?{query} {body}");
        let kind = answer.headers()["content-type"].to_str().unwrap();
        let says = operation["responses"]["200"]["content"].as_object().unwrap();
        let exported = query.contains("format=csv");
        assert!(exported || says.keys().any(|says| kind.starts_with(says)), "{path}: {kind}");
    }
}

#[tokio::test]
async fn a_body_without_what_is_required_or_with_more_is_refused() {
    for (method, path, operation) in operations(&documented(&Desk::new()).await) {
        let desk = Desk::new();
        let Some(body) = sound_body(&operation) else { continue };
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for name in required.iter().filter_map(Value::as_str) {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(name);
            let answer = desk.send(request(method.clone(), &path, &less.to_string())).await;
            answer.problem(400, "bad_request");
        }
        let mut more = body;
        more["one_more"] = true.into();
        let answer = desk.send(request(method, &path, &more.to_string())).await;
        answer.problem(400, "bad_request");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::hash_map("[a-z_]{1,8}", inner, 0..3)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Whatever an operation is sent (members of its own with odd values, unknown ones, no JSON at all, odd parameters and
/// headers), it answers as the document says: with what it promises, or with a problem; and it never fails.
#[tokio::test]
async fn whatever_comes_is_answered_as_the_document_says() {
    let desk = Desk::new();
    let served: Vec<_> = endpoints::all(true).into_iter().map(|served| served.endpoint).collect();
    let operations: Vec<_> = operations(&document(&served))
        .into_iter()
        .filter(|(_, path, _)| path != "/admin/events")
        .collect();
    let full = std::env::var("PORTCULLIS_FULL").is_ok_and(|full| full == "1");
    let mut runner = TestRunner::default();
    let odd = (
        proptest::sample::select(operations),
        proptest::collection::vec(any_json(), 8),
        "[!-~]{0,20}",
        proptest::option::of("[!-~]{0,12}"),
        any::<u8>(),
    );
    for _ in 0..if full { 100_000 } else { 2_000 } {
        let ((method, path, operation), values, text, header, dice) =
            odd.new_tree(&mut runner).unwrap().current();
        let mut values = values.into_iter().cycle();
        let mut body = sound_body(&operation).unwrap_or_default();
        for (_, member) in body.as_object_mut().into_iter().flatten() {
            if let (Some(value), true) = (values.next(), dice & 1 == 0) {
                *member = value;
            }
        }
        let body = if dice % 5 == 0 { text.clone() } else { body.to_string() };
        let names = operation["parameters"].as_array().unwrap().iter();
        let query: Vec<String> = names
            .filter(|parameter| parameter["in"] == "query" && dice & 2 == 0)
            .map(|parameter| {
                let safe =
                    text.replace(['#', '&', '"', '<', '>', '`', '{', '}', '\\', '^', '|'], "");
                format!("{}={safe}", parameter["name"].as_str().unwrap_or_default())
            })
            .collect();
        let mut odd = request(method.clone(), &format!("{path}?{}", query.join("&")), &body);
        if let Some(header) = &header {
            odd = with(odd, "idempotency-key", header);
            odd = with(odd, "if-match", header);
        }
        let answer = desk.send(odd).await;
        let what = format!("{method} {path}?{} {body}: {}", query.join("&"), answer.status);
        assert!(answer.status < 500, "{what} {}", answer.text());
        if answer.status >= 400 {
            let problem = answer.json();
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
            for member in ["type", "title", "detail", "error", "reason", "request_id"] {
                assert!(problem[member].is_string(), "{what}: {problem}");
            }
        }
    }
}

/// An operation that promises to heed `If-Match` is refused over another revision, and one that doesn't promise it isn't.
#[tokio::test]
async fn if_match_is_promised_where_it_is_heeded() {
    let operations = operations(&documented(&Desk::new()).await).into_iter();
    for (method, path, operation) in operations.filter(|(method, ..)| !method.is_safe()) {
        let desk = Desk::new();
        let parameters = operation["parameters"].as_array().unwrap();
        let promised = parameters.iter().any(|parameter| parameter["name"] == "If-Match");
        let body = sound_body(&operation).map(|body| body.to_string()).unwrap_or_default();
        let stale = with(request(method.clone(), &path, &body), "if-match", "\"7\"");
        let status = desk.send(stale).await.status;
        assert_eq!(status, if promised { 412 } else { 200 }, "{method} {path}");
    }
}
