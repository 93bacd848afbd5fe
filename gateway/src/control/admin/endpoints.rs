//! Every endpoint of the admin API, in one table: what it is, who may use it, which parameters it takes.
//!
//! The router, the guard and the API's description are made from it, so that none of them can know of an endpoint that the
//! others don't.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use http::Method;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::{
    Admin, audit, bulk, circuit_breakers, error_stats, events, expose, health, instances,
    killswitches, openapi, page,
};
use crate::config::config::Role;

/// One method of one path.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// As axum writes it: `/admin/killswitch/{feature}`.
    pub(super) path: &'static str,
    /// What it does, in one line.
    pub(super) about: &'static str,
    /// The least that one has to be. What a body asks for may take more.
    pub(super) needs: Role,
    /// The parameters of its query, as a JSON Schema of an object.
    pub(super) query: Option<Value>,
    /// Its body, as a JSON Schema.
    pub(super) body: Option<Value>,
    /// Whether it is done only over the revision that `If-Match` names.
    pub(super) heeds_revision: bool,
    /// The media type of its answer.
    pub(super) answers: &'static str,
}

/// An endpoint, and what answers there.
pub(super) struct Served {
    pub(super) endpoint: Endpoint,
    pub(super) handler: MethodRouter<Arc<Admin>>,
}

/// The table. What only tests use is there only where it is wanted.
pub(super) fn all(test_endpoints: bool) -> Vec<Served> {
    let mut all = vec![
        read("/", "the state of the gate, for a browser", page::show).answers("text/html"),
        read("/admin/killswitches", "every killswitch", killswitches::list),
        read("/admin/killswitch/{feature}", "one killswitch", killswitches::show),
        write(
            "/admin/killswitch/{feature}",
            Role::Killer,
            "turns one off, or (as an operator) on",
            killswitches::flip,
        )
        .flips()
        .body::<killswitches::Wish>(),
        write(
            "/admin/emergency-disable",
            Role::Killer,
            "turns several off, all or none",
            bulk::emergency_disable,
        )
        .flips()
        .body::<bulk::Emergency>(),
        write(
            "/admin/bulk-enable",
            Role::Operator,
            "turns several on, all or none",
            bulk::bulk_enable,
        )
        .flips()
        .body::<bulk::AllClear>(),
        read(
            "/admin/error-stats",
            "how near each feature is to turning itself off",
            error_stats::list,
        ),
        read("/admin/circuit-breakers", "every circuit breaker", circuit_breakers::list),
        write(
            "/admin/circuit-breakers/{name}/{action}",
            Role::Killer,
            "force-open; reset, disable or shadow takes an operator",
            circuit_breakers::act,
        )
        .body::<circuit_breakers::Wish>(),
        read("/admin/audit", "who did what, when and why", audit::list).query::<audit::Asked>(),
        read("/admin/events", "what happens, as server-sent events", events::stream)
            .answers("text/event-stream"),
        read("/admin/instances", "the gateways that share the store", instances::list),
        read("/health/circuit-breakers", "every circuit breaker", circuit_breakers::list),
        read("/health/circuits", "which circuits are not healthy", circuit_breakers::circuits),
        read("/health/dependencies", "what each upstream says of itself", health::dependencies),
        read("/health", "the state of all", health::answer),
        read("/api/health", "the state of all", health::answer),
        read("/livez", "whether the process works", health::answer),
        read("/readyz", "whether it takes traffic", health::answer),
        read("/metrics", "figures, as Prometheus reads them", expose).answers("text/plain"),
        read("/openapi.json", "this API, as programs read it", openapi::show),
    ];
    if test_endpoints {
        let simulate = write(
            "/test/simulate-error/{feature}",
            Role::Killer,
            "counts errors that nobody made",
            error_stats::simulate,
        );
        all.push(simulate.query::<error_stats::Simulated>());
    }
    all
}

fn read<H: Handler<T, Arc<Admin>>, T: 'static>(
    path: &'static str,
    about: &'static str,
    handler: H,
) -> Served {
    Served::new(Method::GET, path, Role::Viewer, about, get(handler))
}

fn write<H: Handler<T, Arc<Admin>>, T: 'static>(
    path: &'static str,
    needs: Role,
    about: &'static str,
    handler: H,
) -> Served {
    Served::new(Method::POST, path, needs, about, on(MethodFilter::POST, handler))
}

impl Served {
    const fn new(
        method: Method,
        path: &'static str,
        needs: Role,
        about: &'static str,
        handler: MethodRouter<Arc<Admin>>,
    ) -> Self {
        let endpoint = Endpoint {
            method,
            path,
            about,
            needs,
            query: None,
            body: None,
            heeds_revision: false,
            answers: "application/json",
        };
        Self { endpoint, handler }
    }

    /// It flips, if nothing changed since what its caller has read.
    fn flips(mut self) -> Self {
        self.endpoint.heeds_revision = true;
        self.query::<killswitches::Asked>()
    }

    /// Its answer is no JSON.
    const fn answers(mut self, kind: &'static str) -> Self {
        self.endpoint.answers = kind;
        self
    }

    /// Its query is read as a `T`.
    fn query<T: JsonSchema>(mut self) -> Self {
        self.endpoint.query = Some(schema::<T>());
        self
    }

    /// Its body is read as a `T`.
    fn body<T: JsonSchema>(mut self) -> Self {
        self.endpoint.body = Some(schema::<T>());
        self
    }
}

fn schema<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

impl Endpoint {
    /// Whether it has a parameter of this name.
    pub(super) fn takes(&self, parameter: &str) -> bool {
        self.parameters().any(|name| name == parameter)
    }

    /// The names of the parameters of its query.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> + Clone {
        let members = self.query.as_ref().and_then(|query| query["properties"].as_object());
        members.into_iter().flat_map(|members| members.keys().map(String::as_str))
    }
}
