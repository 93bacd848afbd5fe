//! `/admin/emergency-disable` and `/admin/bulk-enable`: several features at once, all of them or none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::body::Told;
use super::guard::RequestId;
use super::keys::Caller;
use super::killswitches::{Asked, Asking, Revised, states_shown};
use super::problem::Problem;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Emergency {
    #[schemars(length(min = 1))]
    features: Vec<String>,
    #[schemars(required, length(min = 1, max = 500))]
    reason: Option<String>,
    updated_by: Option<String>,
    #[schemars(range(min = 1, max = 525_600))]
    duration_minutes: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllClear {
    #[schemars(length(min = 1))]
    features: Vec<String>,
    #[schemars(required, length(min = 1, max = 500))]
    reason: Option<String>,
    updated_by: Option<String>,
}

pub(super) async fn emergency_disable(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Told(wish): Told<Emergency>,
) -> Result<Revised, Problem> {
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
    Told(wish): Told<AllClear>,
) -> Result<Revised, Problem> {
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
) -> Result<Revised, Problem> {
    let (flipped, mut answer) = asking.write(admin, flip).await?;
    answer["features"] = json!(states_shown(&admin.subscriber.pin(), &flipped));
    Ok(Revised(answer))
}

fn some(features: Vec<String>) -> Result<Vec<String>, Problem> {
    if features.is_empty() {
        return Err(Problem::bad_request("`features` is empty: nothing would change"));
    }
    Ok(features)
}
