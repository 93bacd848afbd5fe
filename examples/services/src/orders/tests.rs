//! The service as the gateway sees it: each killswitch by its effect.

use std::fs;

use axum::body::Body;
use tempfile::TempDir;

use super::*;
use crate::http_test::{get, post as post_json, send, send_for_headers, with};

fn service(directory: &TempDir) -> Router {
    let book = Book::open(directory.path(), Limits::default());
    router(
        Arc::new(Orders { book, shipping: Shipping::default(), faults: Faults::default() }),
        true,
    )
}

fn laptop() -> Value {
    json!({
        "user_id": "test_user", "items": [{ "product_id": "laptop", "quantity": 1, "price": 999.99 }],
        "payment_method": "credit_card", "total_amount": 999.99,
    })
}

fn off(request: axum::http::Request<Body>, feature: &str) -> axum::http::Request<Body> {
    with(request, "killswitches", &format!("{feature}=?0"))
}

async fn ordered_without(router: &Router, feature: &str) -> Value {
    let (status, order) = send(router, off(post_json("/orders", &laptop()), feature)).await;
    assert_eq!(status, 200, "{order}");
    order
}

/// The path of an order, with something behind it.
fn path(order: &Value, rest: &str) -> String {
    format!("/orders/{}{rest}", order["order_id"].as_str().unwrap())
}

#[tokio::test]
async fn an_order_is_created_found_and_listed() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let (status, order) = send(&router, post_json("/orders", &laptop())).await;
    assert_eq!(
        (status, &order["status"], &order["persisted"]),
        (200, &json!("confirmed"), &json!("stored"))
    );
    assert_eq!(send(&router, get(&path(&order, ""))).await, (200, order.clone()));
    let (_, mine) = send(&router, get("/orders?user_id=test_user")).await;
    assert_eq!(mine["orders"][0]["order_id"], order["order_id"]);
    let (_, theirs) = send(&router, get("/orders?user_id=somebody")).await;
    assert_eq!(theirs, json!({ "count": 0, "orders": [] }));
}

#[tokio::test]
async fn orders_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let (_, order) = send(&service(&directory), post_json("/orders", &laptop())).await;
    assert_eq!(send(&service(&directory), get(&path(&order, ""))).await.0, 200);
}

#[tokio::test]
async fn bad_orders_and_unknown_ones_are_refused_as_json() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let mut nothing = laptop();
    nothing["items"] = json!([]);
    assert_eq!(send(&router, post_json("/orders", &nothing)).await.0, 422);
    assert_eq!(send(&router, post_json("/orders", &json!({}))).await.0, 422);
    let mut gone = laptop();
    gone["items"][0]["product_id"] = json!("sold-out");
    assert_eq!(send(&router, post_json("/orders", &gone)).await.0, 409);
    for path in ["/orders/7", "/orders/0190b7a0-0000-7000-8000-000000000000"] {
        assert_eq!(send(&router, get(path)).await, (404, json!({ "error": "Unknown order" })));
    }
}

#[tokio::test]
async fn order_creation_off_refuses_here_too() {
    let directory = TempDir::new().unwrap();
    let (status, body) =
        send(&service(&directory), off(post_json("/orders", &laptop()), "order_creation")).await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        json!({ "error": "Order creation temporarily disabled", "feature": "order_creation" })
    );
}

#[tokio::test]
async fn payment_processing_off_leaves_a_payment_to_settle_later() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let order = ordered_without(&router, "payment_processing").await;
    assert_eq!(order["status"], "pending payment");
    let payment = || post_json(&path(&order, "/payment"), &json!({}));
    let (refused, _) = send(&router, off(payment(), "payment_processing")).await;
    let (settled, paid) = send(&router, payment()).await;
    assert_eq!((refused, settled, &paid["status"]), (503, 200, &json!("confirmed")));
    assert_eq!(send(&router, payment()).await.0, 200);
    let (_, found) = send(&router, get(&path(&order, ""))).await;
    assert_eq!(found["status"], "confirmed");
}

#[tokio::test]
async fn inventory_switches_show_how_the_stock_was_checked() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let order = ordered_without(&router, "inventory_service").await;
    assert_eq!(order["inventory"], "checked against cached stock");
    let order = ordered_without(&router, "require_inventory_check").await;
    assert_eq!(order["inventory"], "not checked");
}

#[tokio::test]
async fn notifications_off_are_queued_or_skipped_and_queued_mail_is_sent_later() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let silent = ordered_without(&router, "email_notifications=?0, sms_notifications").await;
    assert_eq!(silent["notifications"], json!({ "email": "queued", "sms": "skipped" }));
    let (_, still) = send(&router, off(get(&path(&silent, "")), "email_notifications")).await;
    assert_eq!(still["notifications"]["email"], "queued");
    let (_, later) = send(&router, get(&path(&silent, ""))).await;
    assert_eq!(later["notifications"], json!({ "email": "sent", "sms": "skipped" }));
}

#[tokio::test]
async fn database_writes_off_queues_the_write_until_they_are_on_again() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let order = ordered_without(&router, "database_writes").await;
    assert_eq!(order["persisted"], "queued");
    let (_, held) = send(&router, off(get(&path(&order, "")), "database_writes")).await;
    assert_eq!((&held["order_id"], &held["persisted"]), (&order["order_id"], &json!("queued")));
    let (_, list) = send(&router, off(get("/orders?user_id=test_user"), "database_writes")).await;
    assert_eq!(list["count"], 1);
    // Health says nothing about switches, so it must not flush.
    assert_eq!(send(&router, get("/health")).await.1["writes_queued"], 1);
    let (_, stored) = send(&router, get(&path(&order, ""))).await;
    assert_eq!(stored["persisted"], "stored");
    assert_eq!(send(&service(&directory), get(&path(&order, ""))).await.0, 200);
}

#[tokio::test]
async fn queued_writes_are_bounded() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    for _ in 0..1000 {
        ordered_without(&router, "database_writes").await;
    }
    let (status, body) =
        send(&router, off(post_json("/orders", &laptop()), "database_writes")).await;
    assert_eq!((status, body), (503, json!({ "error": "Too many writes are waiting" })));
}

#[tokio::test]
async fn queued_writes_are_stored_at_the_end_of_the_service() {
    let directory = TempDir::new().unwrap();
    let settings = Settings {
        data_dir: directory.path().to_owned(),
        test_endpoints: false,
        gateway_url: "http://127.0.0.1:8000".to_owned(),
    };
    let opened = open(settings).await.unwrap();
    let order = ordered_without(&opened.router, "database_writes").await;
    opened.background.end().await;
    assert_eq!(send(&service(&directory), get(&path(&order, ""))).await.0, 200);
}

#[tokio::test]
async fn expensive_queries_off_simplifies_the_report() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    send(&router, post_json("/orders", &laptop())).await;
    let (_, full) = send(&router, get("/orders/report")).await;
    assert_eq!((&full["simplified"], &full["revenue"]), (&json!(false), &json!(999.99)));
    assert_eq!(full["top_products"], json!({ "laptop": 1 }));
    let (_, simple) = send(&router, off(get("/orders/report"), "expensive_queries")).await;
    assert_eq!(simple, json!({ "simplified": true, "orders": 1, "writes_queued": 0 }));
}

#[tokio::test]
async fn third_party_apis_off_answers_from_the_cache_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let (_, order) = send(&router, post_json("/orders", &laptop())).await;
    let quote = || get(&path(&order, "/shipping"));
    let (_, none) = send(&router, off(quote(), "third_party_apis")).await;
    assert_eq!((&none["quote"], &none["source"]), (&Value::Null, &json!("none")));
    let (_, live) = send(&router, quote()).await;
    let (_, cached) = send(&router, off(quote(), "third_party_apis")).await;
    assert_eq!((&live["source"], &cached["source"]), (&json!("live"), &json!("cached")));
    assert_eq!(live["quote"], cached["quote"]);
}

#[tokio::test]
async fn flags_are_said_back() {
    let directory = TempDir::new().unwrap();
    let request =
        with(post_json("/orders", &laptop()), "feature-flags", "new-checkout;v=on, theme=\"blue\"");
    let (_, order) = send(&service(&directory), request).await;
    assert_eq!(order["flags"], json!({ "new-checkout": true, "theme": "blue" }));
}

#[tokio::test]
async fn an_injected_fault_hits_exactly_the_next_order_requests() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    assert_eq!(
        send(&router, post_json("/fault", &json!({ "status": 500, "count": 2 }))).await.0,
        200
    );
    assert_eq!(send(&router, get("/health")).await.0, 200);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&router, get("/orders")).await.0);
    }
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test]
async fn an_injected_feature_error_is_said_in_a_header_only() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    send(
        &router,
        post_json("/fault", &json!({ "feature_errors": "payment_processing", "count": 1 })),
    )
    .await;
    let (status, headers, _) = send_for_headers(&router, post_json("/orders", &laptop())).await;
    assert_eq!((status, headers["feature-errors"].to_str().unwrap()), (200, "payment_processing"));
    let (_, headers, _) = send_for_headers(&router, get("/orders")).await;
    assert!(!headers.contains_key("feature-errors"));
}

#[tokio::test]
async fn without_test_endpoints_there_are_no_faults() {
    let directory = TempDir::new().unwrap();
    let book = Book::open(directory.path(), Limits::default());
    let orders =
        Arc::new(Orders { book, shipping: Shipping::default(), faults: Faults::default() });
    let answer =
        send(&router(orders, false), post_json("/fault", &json!({ "status": 500, "count": 1 })))
            .await;
    assert_eq!(answer, (404, json!({ "error": "Not found" })));
}

#[tokio::test]
async fn a_broken_database_is_said_and_queued_writes_wait_for_it() {
    let directory = TempDir::new().unwrap();
    let router = service(&directory);
    let held = ordered_without(&router, "database_writes").await;
    let (file, away) = (directory.path().join("orders.db"), directory.path().join("away"));
    fs::rename(&file, &away).unwrap();
    let (status, body) = send(&router, post_json("/orders", &laptop())).await;
    assert_eq!((status, body), (503, json!({ "error": "Database unavailable" })));
    assert_eq!(send(&router, get(&path(&held, ""))).await.1["persisted"], "queued");
    let (_, health) = send(&router, get("/health")).await;
    assert_eq!(
        (&health["status"], &health["dependencies"]["database"]),
        (&json!("degraded"), &json!("down"))
    );
}
