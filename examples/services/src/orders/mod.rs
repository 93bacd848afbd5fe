//! The orders service: a shop's back end that obeys nine killswitches.
//!
//! The gateway tells each request which features are off in the header `Killswitches`; what is off shows in the answer:
//! a pending payment, an unchecked stock, a skipped message, a queued write. The service decides nothing about
//! switches, it only obeys; without the header everything is on.

mod book;
mod fault;
mod instructions;
mod order;
mod shipping;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{bad_json, busy, refusal};
use crate::database::Limits;
use crate::startup::{Background, OpenError, Service, Settings};
use book::{Book, WriteError};
use fault::{Fault, Faults};
use instructions::{Feature, Instructions};
use order::{NewOrder, Order, OrderRefused, PaymentStatus};
use shipping::Shipping;

struct Orders {
    book: Book,
    shipping: Shipping,
    faults: Faults,
}

/// Opens the service; its database may come later.
pub async fn open(settings: Settings) -> Result<Service, OpenError> {
    let orders = Arc::new(Orders {
        book: Book::open(&settings.data_dir, Limits::default()),
        shipping: Shipping::default(),
        faults: Faults::default(),
    });
    let mut background = Background::default();
    let at_end = orders.clone();
    background.spawn(|mut ending| async move {
        ending.begun().await;
        // The switch spares a database in trouble; it is no reason to lose a customer's order.
        at_end.book.flush().await;
    });
    Ok(Service { router: router(orders, settings.test_endpoints), background })
}

fn router(orders: Arc<Orders>, test_endpoints: bool) -> Router {
    let obeying = Router::new()
        .route("/orders", post(create).get(list))
        .route("/orders/report", get(report))
        .route("/orders/{id}", get(find))
        .route("/orders/{id}/shipping", get(quote))
        .route("/orders/{id}/payment", post(pay))
        .route_layer(middleware::from_fn_with_state(orders.clone(), obey));
    let mut router = Router::new().merge(obeying).route("/health", get(health));
    if test_endpoints {
        router = router.route("/fault", post(inject_fault));
    }
    router.with_state(orders)
}

/// Around every order request: injected faults, the instructions, and what earlier instructions held back.
async fn obey(State(orders): State<Arc<Orders>>, mut request: Request, next: Next) -> Response {
    let fault = orders.faults.next();
    if let Some(status) = fault.as_ref().and_then(|fault| fault.status) {
        return refusal(status, "Injected fault");
    }
    let instructions = Instructions::read(request.headers());
    if instructions.is_on(Feature::DatabaseWrites) {
        orders.book.flush().await;
        if instructions.is_on(Feature::EmailNotifications) {
            orders.book.send_queued_emails().await;
        }
    }
    request.extensions_mut().insert(instructions);
    let mut response = next.run(request).await;
    if let Some(features) =
        fault.and_then(|fault| HeaderValue::from_str(&fault.feature_errors).ok())
        && !features.is_empty()
    {
        response.headers_mut().insert("feature-errors", features);
    }
    response
}

async fn create(
    State(orders): State<Arc<Orders>>,
    Extension(instructions): Extension<Instructions>,
    body: Result<Json<NewOrder>, JsonRejection>,
) -> Response {
    let Json(new) = match body {
        Ok(body) => body,
        Err(rejection) => return bad_json(&rejection),
    };
    match Order::place(new, &instructions) {
        Ok(order) => write(&orders, order, &instructions).await,
        Err(OrderRefused::CreationOff) => {
            off(Feature::OrderCreation, "Order creation temporarily disabled")
        }
        Err(OrderRefused::Invalid(why)) => refusal(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(OrderRefused::OutOfStock(product)) => {
            let body = json!({ "error": "Out of stock", "product_id": product });
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
    }
}

async fn pay(
    State(orders): State<Arc<Orders>>,
    Extension(instructions): Extension<Instructions>,
    Path(id): Path<String>,
) -> Response {
    if !instructions.is_on(Feature::PaymentProcessing) {
        return off(Feature::PaymentProcessing, "Payment processing temporarily disabled");
    }
    let order = match known(&orders, &id).await {
        Ok(order) => order,
        Err(response) => return response,
    };
    match order.status {
        PaymentStatus::Confirmed => answer(&order, json!("stored"), &instructions),
        PaymentStatus::Pending => write(&orders, order.paid(), &instructions).await,
    }
}

async fn find(
    State(orders): State<Arc<Orders>>,
    Extension(instructions): Extension<Instructions>,
    Path(id): Path<String>,
) -> Response {
    match known(&orders, &id).await {
        Ok(order) => {
            let persisted = if orders.book.is_queued(order.order_id) { "queued" } else { "stored" };
            answer(&order, json!(persisted), &instructions)
        }
        Err(response) => response,
    }
}

#[derive(Deserialize)]
struct Filter {
    user_id: Option<String>,
}

async fn list(State(orders): State<Arc<Orders>>, Query(filter): Query<Filter>) -> Response {
    match orders.book.of_user(filter.user_id).await {
        Ok(found) => Json(json!({ "count": found.len(), "orders": found })).into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

async fn report(
    State(orders): State<Arc<Orders>>,
    Extension(instructions): Extension<Instructions>,
) -> Response {
    let simplified = !instructions.is_on(Feature::ExpensiveQueries);
    match orders.book.report(simplified).await {
        Ok(mut report) => {
            report["simplified"] = json!(simplified);
            report["writes_queued"] = json!(orders.book.queued_count());
            Json(report).into_response()
        }
        Err(unavailable) => unavailable.into_response(),
    }
}

async fn quote(
    State(orders): State<Arc<Orders>>,
    Extension(instructions): Extension<Instructions>,
    Path(id): Path<String>,
) -> Response {
    match known(&orders, &id).await {
        Ok(order) => {
            let (quote, source) =
                orders.shipping.quote(&order, instructions.is_on(Feature::ThirdPartyApis));
            Json(json!({ "order_id": order.order_id, "quote": quote, "source": source }))
                .into_response()
        }
        Err(response) => response,
    }
}

async fn health(State(orders): State<Arc<Orders>>) -> Json<Value> {
    let database = orders.book.health().await;
    let status = if database == "up" { "healthy" } else { "degraded" };
    let queued = orders.book.queued_count();
    Json(
        json!({ "status": status, "dependencies": { "database": database }, "writes_queued": queued }),
    )
}

async fn inject_fault(
    State(orders): State<Arc<Orders>>,
    body: Result<Json<Fault>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(fault)) => {
            let answer = json!({ "status": fault.status.map(|status| status.as_u16()), "count": fault.count });
            orders.faults.inject(fault);
            Json(answer).into_response()
        }
        Err(rejection) => bad_json(&rejection),
    }
}

async fn known(orders: &Orders, id: &str) -> Result<Order, Response> {
    let unknown = || refusal(StatusCode::NOT_FOUND, "Unknown order");
    let id = Uuid::parse_str(id).map_err(|_| unknown())?;
    orders.book.find(id).await.map_err(IntoResponse::into_response)?.ok_or_else(unknown)
}

async fn write(orders: &Orders, order: Order, instructions: &Instructions) -> Response {
    match orders.book.write(order.clone(), instructions.is_on(Feature::DatabaseWrites)).await {
        Ok(persisted) => answer(&order, json!(persisted), instructions),
        Err(WriteError::QueueFull) => busy("Too many writes are waiting", Duration::from_secs(1)),
        Err(WriteError::Database(unavailable)) => unavailable.into_response(),
    }
}

fn answer(order: &Order, persisted: Value, instructions: &Instructions) -> Response {
    let mut body = json!(order);
    body["persisted"] = persisted;
    body["flags"] = json!(instructions.flags);
    Json(body).into_response()
}

fn off(feature: Feature, error: &str) -> Response {
    let body = json!({ "error": error, "feature": feature.name() });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
