//! THE order of the layers, outermost first, with the reason why each stands where it does.
//!
//! Whoever wants to know what happens to a request reads [`front`] and then [`route`]. Everything here is composed
//! statically: one type for all routes (a layer that a route doesn't use passes through), and one box per request, around
//! the innermost future.

use std::{convert::Infallible, net::IpAddr, num::NonZeroUsize, sync::Arc};

use http::{Extensions, Request, Response};
use http_body::Body;
use portcullis::{
    auto_disable::{AutoDisableLayer, Meter},
    circuit_breaker::{Breaker, CircuitBreakerLayer, Place, place_of},
    concurrency::{ConcurrencyLayer, Limit},
    flag_headers::FlagHeadersLayer,
    killswitch::{KillswitchLayer, Stage},
    rate_limit::{Limiter, RateLimitLayer},
    refuse::AsError,
    subject::Subject,
    view::Subscriber,
};
use tower::ServiceBuilder;
use tower_service::Service;

use crate::{
    authentication::layer::{AuthenticationLayer, Authenticator},
    edits::EditsLayer,
    exchange::Exchange,
    failure::{Blame, Failure},
    fallback::{FallbackLayer, Plan},
    panics::{Contain, Contained},
    record::layer::{Arrival, Record, Recorded, Settings},
    respond::{Respond, Texts},
    router::{Own, Router, Table},
    sanitise::layer::{Rules, Sanitise},
    upload::Upload,
    upstream::forward::Forward,
    would_reject::WouldReject,
};

/// What stands around the router: every request passes here, whether a route is found or not.
pub struct Front {
    /// What is recorded.
    pub record: Arc<Settings>,
    /// What refusals say.
    pub texts: Arc<Texts>,
    /// What may pass.
    pub rules: Rules,
    /// Which route it takes.
    pub table: Arc<Table>,
    /// Where the switchboard is pinned from.
    pub switchboard: Subscriber,
    /// The gateway's own paths.
    pub own: Own,
}

/// The whole stack of one worker, over the stacks of its routes.
pub fn front<S, B>(
    front: Front,
    routes: Vec<S>,
) -> impl Service<Arrival, Response = Response<Recorded<Contained<B>>>, Error = Infallible, Future: Send>
+ Send
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Failure, Future: Send> + Send,
    B: Body<Data = bytes::Bytes, Error = Failure> + Send,
{
    let router = Router::new(front.table, routes, front.switchboard, front.own);
    // Sees every answer, and each refusal while it is still typed.
    let record = |inner| Record::new(inner, front.record);
    // From here outward a request always has an answer; the error type ends here.
    let respond = |inner| Respond::new(inner, front.texts);
    // A bug in here costs the one request that met it.
    let contain = |inner| Contain::new(inner);
    // From here inward a request can be read in only one way.
    let sanitise = |inner| Sanitise::new(inner, front.rules);
    record(respond(contain(sanitise(router))))
}

/// What one route needs; shared parts (limits, breakers, meters) are handles, so every worker has the same.
pub struct RouteParts {
    /// Requests of this route in flight.
    pub in_flight: Option<Limit>,
    /// Requests of this route by client address.
    pub rate_limit: Option<Limiter<IpAddr>>,
    /// The switchboard.
    pub switchboard: Subscriber,
    /// Its name.
    pub route: Arc<str>,
    /// Counts whom kills that aren't meant in earnest would have refused.
    pub would_reject: Arc<WouldReject>,
    /// Features without which the route refuses, its own among them.
    pub rejects: Vec<Arc<str>>,
    /// Features about which the upstream is told.
    pub informs: Vec<Arc<str>>,
    /// Who asks, where the route wants to know.
    pub authenticator: Option<Authenticator>,
    /// Flags about which the upstream is told.
    pub flags: Vec<Arc<str>>,
    /// What the operator does to headers.
    pub edits: EditsLayer,
    /// What it answers when its upstream can't.
    pub fallback: Option<Arc<Plan>>,
    /// The breaker.
    pub breaker: Option<Breaker>,
    /// How it judges.
    pub blame: Blame,
    /// Whether it lets traffic come back step by step.
    pub ramps: bool,
    /// Meters that may turn the route's features off.
    pub meters: Vec<Meter>,
    /// Meters of features whose errors only the upstream can tell.
    pub named_meters: Vec<Meter>,
    /// Calls to the upstream in flight.
    pub concurrency: Option<Limit>,
    /// The way to the upstream, with the deadlines of the request and of the attempt.
    pub forward: Forward,
}

/// The stack of one route.
pub fn route(
    parts: RouteParts,
) -> impl Service<
    Request<Upload>,
    Response = Response<impl Body<Data = bytes::Bytes, Error = Failure> + Send + use<>>,
    Error = Failure,
    Future: Send,
> + Send
+ use<> {
    let killswitch = killswitch(&parts);
    ServiceBuilder::new()
        // Admission: sheds before any work is done.
        .layer(ConcurrencyLayer::optional(parts.in_flight).refuse(AsError))
        .layer(
            RateLimitLayer::optional(parts.rate_limit, client as fn(&Extensions) -> Option<IpAddr>)
                .refuse(AsError),
        )
        // Killswitch: off means off. Nothing below runs, counts or connects.
        .layer(killswitch.clone().stage(Stage::BeforeAuthentication).refuse(AsError))
        // Authentication: the auth service decides; when it is away, a local check does, and says so.
        .layer(AuthenticationLayer::optional(parts.authenticator))
        // Killswitch again: what is off for some subjects and tenants only, and what the upstream is told.
        .layer(killswitch.informs(parts.informs).stage(Stage::BehindAuthentication).refuse(AsError))
        // Flag headers: need the identity.
        .layer(FlagHeadersLayer::new(parts.switchboard).flags(parts.flags))
        // Fallback: around all that can fail for its upstream, inside all that a client has to know.
        .layer(FallbackLayer::optional(parts.fallback))
        // Edits: below whoever reads what they take away, around whoever judges what they touch.
        .layer(parts.edits)
        // Breaker: fails fast when the upstream is known to be bad.
        .layer(
            CircuitBreakerLayer::optional(parts.breaker)
                .classify(parts.blame)
                .refuse(AsError)
                .place(Users { asked: parts.ramps }),
        )
        // Auto-disable: inside the breaker, because a refused call says nothing about the feature.
        .layer(
            AutoDisableLayer::new(parts.meters).named(parts.named_meters).classify(Blame::FEATURE),
        )
        // Concurrency: a slot of the upstream is held until the end of the body.
        .layer(ConcurrencyLayer::optional(parts.concurrency).refuse(AsError))
        // Deadlines and upstream: the attempt's innermost, so that the layers above see a slow call as a failed one; the
        // request's beside it, because all waiting is done here and only here is it known for whom.
        .service(parts.forward)
}

fn killswitch(parts: &RouteParts) -> KillswitchLayer {
    let figures = parts.would_reject.clone();
    KillswitchLayer::new(parts.switchboard.clone())
        .rejects(&parts.rejects)
        .route(parts.route.clone())
        .address(client)
        .watch(move |mode, rejected| figures.count(mode, rejected))
}

/// Whose request it is, for a breaker that lets users back step by step: the same users stay in while their share grows.
#[derive(Debug, Clone, Copy)]
struct Users {
    /// Elsewhere nobody needs to know.
    asked: bool,
}

impl<B> Place<Request<B>> for Users {
    fn place(&self, request: &Request<B>) -> Option<u64> {
        if !self.asked {
            return None;
        }
        let extensions = request.extensions();
        let subject =
            extensions.get::<Subject>().map(|subject| place_of(subject.as_str().as_bytes()));
        subject.or_else(|| {
            client(extensions).map(|address| match address {
                IpAddr::V4(address) => place_of(&address.octets()),
                IpAddr::V6(address) => place_of(&address.octets()),
            })
        })
    }
}

fn client(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Exchange>().map(|exchange| exchange.client)
}

/// The name under which a route can be killed without being declared.
pub fn route_feature(route: &str) -> Arc<str> {
    format!("route:{route}").into()
}

/// A limit of calls in flight, if one is configured.
pub fn limit(name: &Arc<str>, max: Option<NonZeroUsize>) -> Option<Limit> {
    max.map(|max| Limit::new(name.clone(), max))
}
