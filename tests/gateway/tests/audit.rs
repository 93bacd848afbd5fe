//! The promise: what was done stands in the audit, can be searched and taken elsewhere, and whoever changes it is found out.

use std::fs;

use portcullis_tests::{Client, Gateway, portcullis};
use serde_json::{Value, json};

async fn kill(gateway: &Gateway, feature: &str, by: &str) {
    let body = json!({ "enabled": false, "reason": "a drill", "updated_by": by });
    let path = format!("/admin/killswitch/{feature}");
    Client::new().post(gateway.admin_url(&path)).json(&body).await.ok();
}

async fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = portcullis(&[&["audit", "verify"], arguments].concat()).await;
    (ended.code, ended.lines.join("\n"))
}

#[tokio::test]
async fn one_changed_byte_of_the_audit_is_found_in_its_line() {
    let gateway = Gateway::demo().start().await;
    for feature in ["sms_notifications", "email_notifications", "third_party_apis"] {
        kill(&gateway, feature, "ann").await;
    }
    let directory = gateway.data_directory();
    let named = directory.to_str().expect("a temporary directory has a plain name");

    // While the gateway runs, and has the directory locked.
    let (code, says) = verify(&[named]).await;
    assert_eq!(code, Some(0), "{says}");
    assert!(says.starts_with("3 lines, all of them whole and in their order"), "{says}");
    let last = says.rsplit(' ').next().expect("the hash comes last").to_owned();

    let file = directory.join("audit.jsonl");
    let whole = fs::read(&file).expect("it is there");
    let mut changed = whole.clone();
    let second = whole.iter().position(|byte| *byte == b'\n').expect("three lines") + 1;
    changed[second + 20] ^= 1;
    fs::write(&file, &changed).expect("it can be written");
    let (code, says) = verify(&[named]).await;
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains("line 2 was changed"), "{says}");

    // A line taken out breaks the chain; one cut off at the end only shows to who knows what was last.
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&file, [lines[0], lines[2]].concat()).expect("it can be written");
    assert!(verify(&[named]).await.1.contains("line 2 doesn't follow the line before it"));
    fs::write(&file, [lines[0], lines[1]].concat()).expect("it can be written");
    assert_eq!(verify(&[named]).await.0, Some(0));
    let (code, says) = verify(&[named, "--last", &last]).await;
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains(&last) && says.contains("is gone"), "{says}");
}

#[tokio::test]
async fn the_audit_is_searched_paged_and_exported() {
    let gateway = Gateway::demo().start().await;
    for (feature, by) in
        [("sms_notifications", "ann"), ("third_party_apis", "bob"), ("sms_notifications", "=1+1")]
    {
        kill(&gateway, feature, by).await;
    }
    let get = async |query: &str| {
        Client::new().get(gateway.admin_url(&format!("/admin/audit?{query}"))).await
    };
    let actors = |page: &Value| -> Vec<String> {
        let entries = page["entries"].as_array().expect("a list");
        entries.iter().map(|entry| entry["actor"].as_str().unwrap_or("?").to_owned()).collect()
    };
    assert_eq!(actors(&get("feature=sms_notifications").await.ok()), ["ann", "=1+1"]);
    assert_eq!(actors(&get("actor=bob&source=api").await.ok()), ["bob"]);
    assert!(actors(&get("until=2020-01-01T00:00:00Z").await.ok()).is_empty());

    let page = get("limit=2").await.ok();
    assert_eq!(actors(&page), ["bob", "=1+1"]);
    let next = page["next"].as_str().expect("there is more").to_owned();
    let page = get(&format!("limit=2&cursor={next}")).await.ok();
    assert_eq!((actors(&page), &page["next"]), (vec!["ann".to_owned()], &Value::Null));

    let lines = get("format=jsonl").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(lines.text().lines().count(), 3);
    for line in lines.text().lines() {
        let entry: Value = serde_json::from_str(line).expect("one object per line");
        assert!(entry["before"].is_object() && entry["after"].is_object(), "{entry}");
        assert!(entry["request_id"].is_string(), "{entry}");
    }
    let table = get("format=csv").await;
    assert_eq!(table.text().lines().count(), 4, "{table}");
    assert!(table.text().contains("\"'=1+1\""), "no cell is a formula: {table}");

    let misspelt = get("featur=x").await;
    assert_eq!(misspelt.status, 400);
    assert!(misspelt.text().contains("did you mean feature?"), "{misspelt}");
}
