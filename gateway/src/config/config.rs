//! The checked configuration: what the gateway runs on.
//!
//! Values of these types were checked by `check` and cannot be wrong: indices point into the vectors beside them, durations
//! are not zero, patterns match. Nothing here reads text; a new setting of the gateway starts as a field here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis::circuit_breaker::Settings;

/// A whole configuration, free of faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub store: Store,
    pub log: Log,
    pub telemetry: Telemetry,
    /// Absent: no route asks who calls.
    pub authentication: Option<Authentication>,
    /// In the order of their names.
    pub features: Vec<Feature>,
    /// In the order of their keys.
    pub flags: Vec<Flag>,
    /// In the order of their names.
    pub upstreams: Vec<Upstream>,
    /// The profiles in the order of their names; routes and upstreams carry theirs resolved.
    pub breakers: Vec<Breaker>,
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// In the order of the file.
    pub redirects: Vec<Redirect>,
    /// Absent: nobody is told.
    pub webhook: Option<Webhook>,
}

/// Who is told what happens to circuits.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub authority: Authority,
    pub path: PathAndQuery,
    /// Over https; plain http without.
    pub tls: Option<WebhookTls>,
    pub secret: Secret,
    pub events: Vec<WebhookEvent>,
    /// Of one attempt.
    pub timeout: Duration,
    pub attempts_max: NonZeroU32,
    /// Blocks that it may go to although they are refused by default.
    pub allowed_networks: Vec<Cidr>,
}

/// How a webhook over https is believed to be who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTls {
    /// The authorities; those of the machine without.
    pub ca_file: Option<PathBuf>,
}

/// What a webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    Opened,
    Closed,
    /// Forced open, disabled, or put into shadow.
    Forced,
}

/// Text that is used and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The listener that clients reach, and its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    /// One per core unless configured.
    pub workers: NonZeroUsize,
    pub connections_max: usize,
    /// From accepting a connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// Between two pieces of a request's body, and while a client takes nothing of its answer.
    pub body_idle_timeout: Duration,
    /// The default bound of a whole request; a route may set its own.
    pub request_timeout: Duration,
    pub drain_timeout: Duration,
    pub header_bytes_max: usize,
    pub headers_max: usize,
    /// The default bound of a request's body; a route may set its own.
    pub body_bytes_max: u64,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    pub double_slash: DoubleSlash,
    pub encoded_slash: EncodedSlash,
    /// Fields behind a request's body that its upstream gets.
    pub request_trailers: Vec<HeaderName>,
    /// Fields behind an answer's body that its client gets.
    pub response_trailers: Vec<HeaderName>,
}

/// What to do with `//` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubleSlash {
    /// Read it as one slash.
    Merge,
    /// Refuse the request.
    Reject,
    /// Leave it as it is.
    Keep,
}

/// What to do with `%2F` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodedSlash {
    /// Refuse the request.
    Reject,
    /// Leave it as it is: it never separates segments.
    Keep,
}

/// A block of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    /// Whether `address` lies in the block. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4, because that
    /// is how a dual-stack socket reports it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                u64::from(block.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let difference = block.to_bits() ^ address.to_bits();
                difference.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The listener of the admin API, the operator page and the metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Whether `/test/…` is served; never in production.
    pub test_endpoints: bool,
    /// `ENVIRONMENT=production`.
    pub production: bool,
    /// Empty: a loopback listener takes reads and writes from anyone.
    pub keys: Vec<AdminKey>,
    /// Names that a `Host` header may carry besides the listener's own address.
    pub allowed_hosts: Vec<String>,
    /// Whose pages may read and write here, written as browsers write an `Origin`.
    pub allowed_origins: Vec<String>,
    /// Per second, and at once: of one address, and as many of one key.
    pub requests_per_second: NonZeroU32,
}

/// A key of the admin API, known by the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminKey {
    pub name: String,
    pub role: Role,
    pub sha256: [u8; 32],
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

/// What a key may do; each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Turns things off, never on.
    Killer,
    /// Turns things off and on.
    Operator,
    /// All.
    Admin,
}

/// Where the switchboard and the audit are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In one directory; survives a restart.
    Embedded { directory: PathBuf },
    /// Nowhere: gone with the process.
    Memory,
    /// In a Redis that a fleet shares, and mirrored in a directory.
    Redis(Box<Redis>),
}

/// The Redis that a fleet shares.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// With the password, where it has one: never shown.
    pub url: String,
    pub tls: RedisTls,
    pub topology: RedisTopology,
    pub namespace: String,
    /// Absent: the host's name and the port of the listener.
    pub instance: Option<String>,
    pub directory: PathBuf,
    /// Of one question, and to connect.
    pub timeout: Duration,
}

/// Whom to believe over TLS, and who we are there: files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    pub ca: Option<PathBuf>,
    /// The certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub server_name: Option<String>,
}

/// How the server is found.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisTopology {
    Single,
    Sentinel { sentinels: Vec<String>, master: String },
    Cluster { nodes: Vec<String> },
}

/// URLs have passwords in them.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, namespace, instance, directory, timeout, .. } = self;
        f.debug_struct("Redis")
            .field("tls", tls)
            .field("namespace", namespace)
            .field("instance", instance)
            .field("directory", directory)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// Where log lines go, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A directive of `tracing`'s filter, such as `info` or `portcullis=debug`.
    pub level: String,
    /// Written besides stdout, and reopened on SIGHUP.
    pub file: Option<PathBuf>,
    /// One line per request.
    pub access: bool,
}

/// Traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Absent: nothing is exported.
    pub otlp_endpoint: Option<String>,
    pub service_name: String,
    /// From 0 to 1, for requests that arrive without a decision of their caller.
    pub sample_ratio: f64,
}

/// How a request's identity is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Authentication {
    /// The service that decides.
    pub upstream: UpstreamId,
    pub verify_path: String,
    /// Where its public keys are, for the times when it is away.
    pub jwks_path: String,
    /// Until the service counts as away.
    pub timeout: Duration,
    pub issuer: String,
    pub audience: String,
    /// Algorithms that a local check accepts; never empty.
    pub algorithms: Vec<Algorithm>,
    pub jwks_refresh: Duration,
    /// The age at which cached keys are no longer believed.
    pub jwks_stale_max: Duration,
    pub token_bytes_max: usize,
}

/// Signature algorithms of a JWT; only asymmetric ones, because a gateway should hold no secret that can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    EdDSA,
    ES256,
    ES384,
    PS256,
    PS384,
    PS512,
    RS256,
    RS384,
    RS512,
}

/// Something that a killswitch can turn off.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    pub name: Arc<str>,
    pub description: String,
    /// Whether the gateway is degraded while it is off.
    pub critical: bool,
    /// What a client may know about why it is refused.
    pub public_message: Option<Arc<str>>,
    /// The `error` member of the refusal.
    pub error: Option<Arc<str>>,
    /// Absent: only people turn it off.
    pub auto_disable: Option<AutoDisable>,
    pub place: Place,
}

/// When a feature turns itself off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoDisable {
    pub errors: NonZeroU32,
    pub window: Duration,
}

/// A named value that upstreams are told in a header.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    pub key: Arc<str>,
    pub description: String,
    pub enabled: bool,
    /// From 0 to 100.
    pub rollout_percentage: f64,
    pub place: Place,
}

/// When a circuit opens, and how it closes again.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// The name of the profile.
    pub name: Arc<str>,
    pub settings: Settings,
    /// How long a call may take where nothing else says so.
    pub call_timeout: Duration,
    /// Whether a 503 with `Retry-After` asks for less.
    pub busy_is_overload: bool,
    /// How often the upstream's health path is called through it.
    pub health_check: Option<Duration>,
}

/// What a route calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    pub name: Arc<str>,
    /// Host and port; spoken to in plain HTTP/1.1.
    pub address: Authority,
    pub connect_timeout: Duration,
    /// From the end of the request, its body included, to the end of the response's head.
    pub response_timeout: Duration,
    /// Between two pieces of a response's body.
    pub body_idle_timeout: Duration,
    /// How long a pooled connection is kept unused.
    pub idle_timeout: Duration,
    /// Per worker.
    pub idle_connections_max: usize,
    pub concurrency_max: Option<NonZeroUsize>,
    pub breaker: Option<BreakerOf>,
    /// The `error` member of the refusal while it is away or its circuit is open.
    pub error: Option<Arc<str>>,
    /// 502 or 503: the status of the refusal while it can't be reached or gives no usable answer.
    pub unreachable_status: StatusCode,
    pub health_path: Option<String>,
    pub health_interval: Duration,
    /// A word for people and dashboards, such as `payment` or `email`.
    pub kind: Option<String>,
    /// For all of its routes, which carry them merged with their own.
    pub edits: Edits,
    pub place: Place,
}

/// One breaker: its own name, and the profile that it follows, with what was said beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerOf {
    /// Breakers of one name are one breaker.
    pub name: Arc<str>,
    pub profile: Breaker,
}

/// An index into [`Config::upstreams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub usize);

/// An index into [`Config::features`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureIndex(pub usize);

/// An index into [`Config::flags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlagIndex(pub usize);

/// A method, host and path pattern with a stack of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub name: Arc<str>,
    /// Empty: any.
    pub methods: Vec<Method>,
    /// Absent: any.
    pub host: Option<HostPattern>,
    pub path: PathPattern,
    pub upstream: UpstreamId,
    /// Absent: the path goes to the upstream as it came.
    pub rewrite: Option<Rewrite>,
    pub authentication: RouteAuthentication,
    /// While one of these is off, the route refuses.
    pub rejects: Vec<FeatureIndex>,
    /// While one of these is off, the upstream is told.
    pub informs: Vec<FeatureIndex>,
    /// Errors of this route count for these; each has an [`AutoDisable`].
    pub auto_disable: Vec<FeatureIndex>,
    pub flags: Vec<FlagIndex>,
    pub timeout: Duration,
    pub attempt_timeout: Option<Duration>,
    /// From the end of the request, its body included, to the end of the response's head.
    pub response_timeout: Duration,
    pub body_bytes_max: u64,
    pub rate_limit: Option<RateLimit>,
    pub in_flight_max: Option<NonZeroUsize>,
    /// The route's own, else its upstream's, else none.
    pub breaker: Option<BreakerOf>,
    /// What it answers when its upstream can't; absent: a refusal.
    pub fallback: Option<Fallback>,
    pub metrics: bool,
    /// Its own, and those of its upstream.
    pub edits: Edits,
    pub place: Place,
}

/// What is done to the header fields of messages on their way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
}

/// Header fields that are taken away, and then those that are put in the place of all of their name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    /// Each value is marked as sensitive, so that nothing prints it.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }
}

/// What a route answers in the place of its upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    pub status: StatusCode,
    /// The type of the body among them.
    pub headers: HeaderMap,
    pub body: Vec<BodyPart>,
    /// Whether the body is JSON, into whose strings parameters go.
    pub is_json: bool,
    /// Whether it also stands in for a 5xx of the upstream.
    pub on_server_errors: bool,
}

/// A piece of the body of a [`Fallback`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPart {
    Text(String),
    /// The seconds after which the upstream is tried again.
    RetryAfter,
    /// The name of a parameter of the route's path, without braces and star.
    Parameter(String),
}

/// A path that has moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// Empty: any.
    pub methods: Vec<Method>,
    /// Absent: any.
    pub host: Option<HostPattern>,
    pub path: PathPattern,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Scheme and authority; absent: where the client is already.
    pub origin: Option<String>,
    pub to: Rewrite,
    pub place: Place,
}

/// Whether a route asks who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAuthentication {
    None,
    Required {
        /// Whether a token may be checked locally while the auth service is away.
        jwt_fallback: bool,
    },
}

/// How often one client address may call one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: NonZeroU32,
    pub per: Duration,
    pub burst: NonZeroU32,
}

/// Which hosts a route serves; always lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: any name that ends so.
    Suffix(String),
}

/// A path such as `/api/orders/{id}`; a last segment `{*rest}` is all that is left. Proven to be one that matchit takes; a
/// bare `{*}` is kept as `{*rest}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(pub String);

/// The path that the upstream sees, such as `/test/{type}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub parts: Vec<RewritePart>,
}

/// A piece of a [`Rewrite`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewritePart {
    Literal(String),
    /// The name of a parameter of the route's path, without braces and star.
    Parameter(String),
}

/// Where in the configuration something is declared. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

impl Default for Place {
    /// The place of what no file declares.
    fn default() -> Self {
        Self { file: "(default)".into(), line: 1, column: 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
