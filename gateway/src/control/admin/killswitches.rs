//! `/admin/killswitches` and `/admin/killswitch/{feature}`: what is off, who did it and why; and turning one off or on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{ETAG, IF_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use portcullis::switchboard::feature::{Feature, Source, State as Switch};
use portcullis::switchboard::flip::{Flip, FlipError};
use portcullis::switchboard::kill::Terms;
use portcullis::switchboard::{Switchboard, UnixMillis};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::body::{self, Told};
use super::guard::RequestId;
use super::keys::Caller;
use super::problem::Problem;
use crate::config::config::Role;
use crate::control::moment::rfc3339;
use crate::control::writer::{Flipped, Origin, WriteError};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Only for people: if given, it has to be the feature of the path.
    feature: Option<String>,
    enabled: bool,
    #[schemars(required, length(min = 1, max = 500))]
    reason: Option<String>,
    updated_by: Option<String>,
    /// The end of a kill; what is turned on stays on.
    #[schemars(range(min = 1, max = 525_600))]
    duration_minutes: Option<u32>,
}

/// For how long a write waits for the other gateways at most, in milliseconds: whom a minute doesn't reach needs a person.
const WAIT_MS_MAX: u64 = 60_000;

/// What a write may ask for beside its body.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// `all`: answer when every live gateway has applied it.
    #[schemars(regex(pattern = "^all$"))]
    wait: Option<String>,
    /// For how long at most, in milliseconds.
    #[schemars(range(max = 60_000))]
    timeout_ms: Option<u64>,
}

/// What a flip needs to know of its request, whichever handler it came through.
pub(super) struct Asking {
    pub(super) caller: Caller,
    origin: Origin,
    source: Source,
    wait_all: Option<Duration>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Revised {
    let view = admin.subscriber.pin();
    // A route's own switch shows once somebody has used it; before that it would only crowd the table.
    let worth =
        |feature: &Feature, state: &Switch| feature.declared || state.source != Source::Default;
    let features = view.features().filter(|(_, feature, state)| worth(feature, state));
    let all: BTreeMap<&str, Value> =
        features.map(|(_, feature, state)| (&*feature.name, shown(feature, state))).collect();
    Revised(json!({
        "revision": view.revision(),
        "killswitches": all,
        "pending": *admin.writer.ledger().pending(),
    }))
}

pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Revised, Problem> {
    let view = admin.subscriber.pin();
    let id = view.id(&name).ok_or_else(|| unknown(&view, &name))?;
    let mut answer = shown(view.feature(id), view.state(id));
    answer["feature"] = name.into();
    answer["revision"] = view.revision().into();
    answer["pending"] = json!(*admin.writer.ledger().pending());
    Ok(Revised(answer))
}

pub(super) async fn flip(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Told(wish): Told<Wish>,
) -> Result<Revised, Problem> {
    if let Some(other) = wish.feature.filter(|feature| *feature != name) {
        return Err(Problem::bad_request(format_args!(
            "the path says {name}, but the body's `feature` says {other}"
        )));
    }
    let asking = Asking::new(caller, &id, &asked, &headers)?;
    let flip = asking.flip(
        &[name],
        wish.enabled,
        wish.reason.as_deref(),
        wish.updated_by.as_deref(),
        wish.duration_minutes,
    )?;
    let (flipped, mut answer) = asking.write(&admin, flip).await?;
    if let [(name, state)] = &flipped.states[..] {
        let view = admin.subscriber.pin();
        let of_state = shown(feature_of(&view, name), state);
        merge(&mut answer, of_state);
        answer["feature"] = json!(name);
    }
    Ok(Revised(answer))
}

impl Asking {
    pub(super) fn new(
        caller: Caller,
        id: &RequestId,
        asked: &Asked,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let origin = Origin {
            request_id: Some(id.0.to_string()),
            expected_revision: expected_revision(headers)?,
            may_end_sooner: caller.may(Role::Operator).is_ok(),
        };
        Ok(Self { caller, origin, source: source(headers), wait_all: asked.wait_all()? })
    }

    /// The flip that is wished for. Turning on takes the role of an operator.
    pub(super) fn flip(
        &self,
        features: &[String],
        enabled: bool,
        reason: Option<&str>,
        updated_by: Option<&str>,
        duration_minutes: Option<u32>,
    ) -> Result<Flip, Problem> {
        self.caller.may(if enabled { Role::Operator } else { Role::Killer })?;
        if enabled && duration_minutes.is_some() {
            return Err(Problem::bad_request(
                "`duration_minutes` goes with a kill: what is turned on stays on",
            ));
        }
        Ok(Flip {
            features: features.iter().map(|name| Arc::from(name.as_str())).collect(),
            enabled,
            reason: body::reason(reason)?,
            actor: self.caller.actor(body::updated_by(updated_by)?.as_deref()),
            source: self.source.clone(),
            expires_at: body::expiry(duration_minutes, UnixMillis::now())?,
            terms: Terms::default(),
        })
    }

    /// Hands the flip to the writer; the answer has what all writes say.
    pub(super) async fn write(
        self,
        admin: &Admin,
        flip: Flip,
    ) -> Result<(Flipped, Value), Problem> {
        let flipped = admin.writer.flip(flip, self.origin).await.map_err(|error| match error {
            WriteError::Refused(FlipError::UnknownFeature { feature }) => {
                unknown(&admin.subscriber.pin(), &feature)
            }
            other => other.into(),
        })?;
        let mut answer = json!({
            "revision": flipped.revision,
            "saved": flipped.saved,
            "pending": flipped.pending,
        });
        if let Some(replicas) = flipped.replicas {
            answer["replicas"] = replicas.into();
        }
        if let Some(patience) = self.wait_all {
            // One that isn't kept yet will have the next revision, and is in force at this gateway alone.
            let revision = flipped.revision + u64::from(!flipped.saved);
            merge(&mut answer, admin.fleet.applied(revision, patience).await);
        }
        Ok((flipped, answer))
    }
}

impl Asked {
    fn wait_all(&self) -> Result<Option<Duration>, Problem> {
        let wait = self.timeout_ms.unwrap_or(2_000);
        if wait > WAIT_MS_MAX {
            return Err(Problem::bad_request(format_args!(
                "`timeout_ms` must be at most {WAIT_MS_MAX}, not {wait}"
            )));
        }
        match self.wait.as_deref() {
            None => Ok(None),
            Some("all") => Ok(Some(Duration::from_millis(wait))),
            Some(other) => {
                Err(Problem::bad_request(format_args!("`wait` can only be `all`, not {other:?}")))
            }
        }
    }
}

/// One killswitch as it is shown everywhere.
pub(super) fn shown(feature: &Feature, state: &Switch) -> Value {
    json!({
        "enabled": state.enabled,
        "reason": state.reason,
        "updated_by": state.updated_by,
        "updated_at": state.updated_at.and_then(rfc3339),
        "expires_at": state.expires_at.and_then(rfc3339),
        "source": state.source.as_str(),
        "description": feature.description,
        "critical": feature.critical,
        "declared": feature.declared,
        "public_message": feature.public_message,
    })
}

/// The states after a flip, by feature.
pub(super) fn states_shown(board: &Switchboard, flipped: &Flipped) -> BTreeMap<String, Value> {
    let entry = |(name, state): &(Arc<str>, Switch)| {
        (name.to_string(), shown(feature_of(board, name), state))
    };
    flipped.states.iter().map(entry).collect()
}

pub(super) fn unknown(board: &Switchboard, name: &str) -> Problem {
    let known = board.features().map(|(_, feature, _)| &*feature.name);
    Problem::unknown("unknown_feature", "feature", name, known)
}

fn feature_of<'b>(board: &'b Switchboard, name: &str) -> &'b Feature {
    board.feature(
        board.id(name).expect("a flipped feature is known, and features are never forgotten"),
    )
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// JSON that names the revision it shows: with its `ETag` in `If-Match`, a write is done only if nothing changed since.
pub(super) struct Revised(pub(super) Value);

impl IntoResponse for Revised {
    fn into_response(self) -> Response {
        let etag = HeaderValue::from_str(&format!("\"{}\"", self.0["revision"]));
        ([(ETAG, etag.expect("a number in quotes is a header value"))], Json(self.0))
            .into_response()
    }
}

/// The command line says who it is; all else is the API.
pub(super) fn source(headers: &HeaderMap) -> Source {
    let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    if agent.is_some_and(|agent| agent.starts_with(b"portcullis-cli/")) {
        Source::Cli
    } else {
        Source::Api
    }
}

/// `If-Match: "7"`: only if the switchboard is still the one that the operator looked at.
fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    match value.to_str().map(|value| value.trim().trim_matches('"')) {
        Ok("*") => Ok(None),
        Ok(revision) if revision.parse::<u64>().is_ok() => Ok(revision.parse().ok()),
        _ => Err(Problem::bad_request(
            "`If-Match` must be the revision of the switchboard, such as \"7\"",
        )),
    }
}
