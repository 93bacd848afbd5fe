//! `/admin/emergency-disable` and `/admin/bulk-enable`: several features at once, all of them or none.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::RequestId;
use super::keys::Caller;
use super::killswitches::{Asked, Asking, states_shown};
use super::problem::Problem;
use super::{Admin, body};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Emergency {
    features: Vec<String>,
    reason: Option<String>,
    updated_by: Option<String>,
    duration_minutes: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllClear {
    features: Vec<String>,
    reason: Option<String>,
    updated_by: Option<String>,
}

pub(super) async fn emergency_disable(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let wish: Emergency = body::read(body)?;
    let asking = Asking::new(caller, &id, &asked, &headers)?;
    let features = some(wish.features)?;
    let flip = asking.flip(
        &features,
        false,
        wish.reason.as_deref(),
        wish.updated_by.as_deref(),
        wish.duration_minutes,
    )?;
    done(&admin, asking, flip).await
}

pub(super) async fn bulk_enable(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let wish: AllClear = body::read(body)?;
    let asking = Asking::new(caller, &id, &asked, &headers)?;
    let flip = asking.flip(
        &some(wish.features)?,
        true,
        wish.reason.as_deref(),
        wish.updated_by.as_deref(),
        None,
    )?;
    done(&admin, asking, flip).await
}

async fn done(
    admin: &Admin,
    asking: Asking,
    flip: portcullis::switchboard::flip::Flip,
) -> Result<Json<Value>, Problem> {
    let (flipped, mut answer) = asking.write(admin, flip).await?;
    answer["features"] = json!(states_shown(&admin.subscriber.pin(), &flipped));
    Ok(Json(answer))
}

fn some(features: Vec<String>) -> Result<Vec<String>, Problem> {
    if features.is_empty() {
        return Err(Problem::bad_request("`features` is empty: nothing would change"));
    }
    Ok(features)
}
