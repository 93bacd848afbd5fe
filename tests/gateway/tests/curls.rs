//! The promise: each curl of the killswitch guide that people come with does what the guide says, with its port changed.

use portcullis_tests::{Client, Fleet};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Curl {
    title: String,
    /// Which listener it wants.
    at: Listener,
    /// Method and target.
    curl: (String, String),
    #[serde(default)]
    body: Option<Value>,
    status: u16,
    /// What the answer has, among other members.
    answer: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Listener {
    Gateway,
    Admin,
}

#[tokio::test]
async fn every_curl_of_the_killswitch_guide_does_what_the_guide_says() {
    let curls: Vec<Curl> =
        serde_json::from_str(include_str!("../corpora/curls/killswitch.json")).expect("a list");
    let fleet = Fleet::start().await;
    for Curl { title, at, curl: (method, target), body, status, answer: expected } in curls {
        let url = match at {
            Listener::Gateway => fleet.gateway.url(&target),
            Listener::Admin => fleet.gateway.admin_url(&target),
        };
        let method = method.parse().expect("a method");
        let request = Client::new().request(method, url);
        let answer = match &body {
            Some(body) => request.json(body).await,
            None => request.await,
        };
        assert_eq!(answer.status, status, "{title}: {answer}");
        let found: Value = serde_json::from_str(answer.text()).expect("JSON");
        assert!(has(&found, &expected), "{title}: {expected} is not in {found}");
    }
}

/// Whether it has all that is expected, whatever else it has.
fn has(found: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(members) => members.iter().all(|(name, value)| has(&found[name], value)),
        other => found == other,
    }
}
