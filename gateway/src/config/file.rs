//! The TOML letter for letter: one field per key, with what it means, its unit, its default and its bound.
//!
//! These types are the one source of truth. serde reads them, schemars makes the JSON Schema of them, and `compare` holds
//! each file against it, so that a key, a type or a bound is written here and nowhere else. Nothing is resolved or
//! related here: that is for `check`. A key is a noun with its unit last, and never repeats the name of its table. Whoever
//! adds one adds it to `config/gateway.toml` too; a test compares the two.
//!
//! What has no default is an `Option`, also where it must be written: a faulty key is reported and left out, and the rest of
//! the file is still read.

mod breaker;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

pub use self::breaker::{
    Backoff, Breaker, BreakerChoice, Count, HalfOpenMax, InitialState, Judges, LateResults,
    LostProbe, Objective, OrOff, Percent, ProbeRate, Probes, Ramp, Reach, Slow, Then, Window,
};

/// The configuration of a Portcullis gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The listener that clients reach.
    pub server: Server,
    /// The listener of the admin API, the operator page and the metrics.
    pub admin: Admin,
    /// Where the switchboard and the audit are kept.
    pub store: Store,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub telemetry: Telemetry,
    /// How a request's identity is found; without this table no route can ask for one.
    pub authentication: Option<Authentication>,
    /// What a killswitch can turn off, by name (lower-case letters, digits, `_`, `.`, `-`; 63 at most).
    pub features: BTreeMap<String, Feature>,
    /// Values that upstreams are told in a header, by key (written like a feature's name).
    pub flags: BTreeMap<String, Flag>,
    /// Profiles that upstreams and routes name as their `breaker`. `default`, `critical` and `optional` are always there.
    pub breakers: BTreeMap<String, Breaker>,
    /// What routes call, by name (written like a feature's name).
    pub upstreams: BTreeMap<String, Upstream>,
    /// What the gateway serves. Without any it starts, warns and answers 404.
    pub routes: Vec<Route>,
    /// Paths that have moved.
    pub redirects: Vec<Redirect>,
    /// Another program that is told what happens to circuits. Default: none.
    pub webhook: Option<Webhook>,
}

/// The listener that clients reach, and its bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port, such as `0.0.0.0:8000` or `[::]:8000`.
    pub listen: String,
    /// Threads that serve requests. Default: one per core.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<NonZeroUsize>,
    /// Connections of clients at once; one more is closed at once. Each idle one costs about 12 kB.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_max: usize,
    /// From accepting a connection to its first byte.
    pub first_byte_timeout_seconds: Seconds,
    /// From the first byte of a request to the end of its head.
    pub header_timeout_seconds: Seconds,
    /// How long a connection may stay open between two requests.
    pub idle_timeout_seconds: Seconds,
    /// Between two pieces of a request's body, and while a client takes nothing of its answer.
    pub body_idle_timeout_seconds: Seconds,
    /// A whole request, retries included, unless its route says otherwise.
    pub request_timeout_seconds: Seconds,
    /// From the signal to stop until what still runs is cut.
    pub drain_timeout_seconds: Seconds,
    /// All header lines of one request together.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub header_bytes_max: usize,
    /// Header lines of one request.
    #[schemars(range(min = 8, max = 1000))]
    pub headers_max: usize,
    /// A request's body, unless its route says otherwise. Bodies stream: this costs no memory.
    #[schemars(range(max = 1_099_511_627_776u64))]
    pub body_bytes_max: u64,
    /// Addresses or blocks (`10.0.0.0/8`) whose forwarding headers are believed.
    pub trusted_proxies: Vec<String>,
    /// What to do with `//` in a path.
    pub double_slash: DoubleSlash,
    /// What to do with `%2F` in a path.
    pub encoded_slash: EncodedSlash,
    /// Fields behind a request's body in chunks that its upstream gets; all others are dropped.
    pub request_trailers: Vec<String>,
    /// Fields behind an answer's body that a client gets that takes them; all others are dropped.
    pub response_trailers: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".to_owned(),
            workers: None,
            connections_max: 10_000,
            first_byte_timeout_seconds: Seconds(8.0),
            header_timeout_seconds: Seconds(10.0),
            idle_timeout_seconds: Seconds(60.0),
            body_idle_timeout_seconds: Seconds(30.0),
            request_timeout_seconds: Seconds(60.0),
            drain_timeout_seconds: Seconds(30.0),
            header_bytes_max: 16_384,
            headers_max: 100,
            body_bytes_max: 104_857_600,
            trusted_proxies: Vec::new(),
            double_slash: DoubleSlash::Merge,
            encoded_slash: EncodedSlash::Reject,
            request_trailers: Vec::new(),
            response_trailers: Vec::new(),
        }
    }
}

/// What to do with `//` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DoubleSlash {
    /// Read it as one slash.
    Merge,
    /// Refuse the request.
    Reject,
    /// Leave it as it is.
    Keep,
}

/// What to do with `%2F` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodedSlash {
    /// Refuse the request.
    Reject,
    /// Leave it as it is; it never separates segments.
    Keep,
}

/// The listener of the admin API, the operator page and the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port. Anything but loopback needs a key.
    pub listen: String,
    /// Whether `/test/…` is served, which lets anyone simulate errors. Always off with `ENVIRONMENT=production`.
    pub test_endpoints: bool,
    /// Names that a `Host` header may carry besides the listener's own address.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may read and write here, such as `https://ops.example.com`; they still need a key. The variable
    /// `ALLOWED_ORIGINS` adds to them.
    pub allowed_origins: Vec<String>,
    /// Requests per second, and at once, of one address, and as many of one key.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: NonZeroU32,
    /// Who may do what. From the first key on every write needs one.
    pub keys: Vec<AdminKey>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8001".to_owned(),
            test_endpoints: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            requests_per_second: nonzero(1_000),
            keys: Vec::new(),
        }
    }
}

/// One key of the admin API; `portcullis keygen` prints these lines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "role", "sha256"]))]
pub struct AdminKey {
    /// Who holds it; the audit shows this name.
    pub name: Option<String>,
    /// What it may do.
    pub role: Option<Role>,
    /// The SHA-256 of the secret in 64 hexadecimal digits. The secret itself is kept nowhere.
    pub sha256: Option<String>,
    /// From when on it is refused: a date and time with its zone, such as `2027-01-31T00:00:00Z`. Absent: never.
    pub expires: Option<String>,
}

/// What a key may do; each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// What keeps them.
    pub kind: StoreKind,
    /// The directory of an embedded store, and of the mirror of one in Redis; made when it is missing.
    pub directory: String,
    /// The Redis that a fleet shares: `redis://user:password@host:port/database`, or `rediss://…` for TLS.
    pub url: Option<String>,
    /// For `rediss://`: whom to believe, and who we are.
    pub tls: Option<StoreTls>,
    /// The part in braces of all keys in Redis.
    pub namespace: String,
    /// The name of this gateway among those that share the store.
    pub instance: Option<String>,
    /// URLs of Sentinels, which know the server's address.
    pub sentinels: Vec<String>,
    /// The name that the Sentinels have for the server.
    pub sentinel_master: Option<String>,
    /// URLs of further nodes, if `url` names a node of a cluster.
    pub cluster_nodes: Option<Vec<String>>,
    /// The longest that one question to Redis may take, and to connect.
    #[schemars(range(min = 10, max = 60_000))]
    pub timeout_ms: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            directory: "var".to_owned(),
            url: None,
            tls: None,
            namespace: "portcullis".to_owned(),
            instance: None,
            sentinels: Vec::new(),
            sentinel_master: None,
            cluster_nodes: None,
            timeout_ms: 250,
        }
    }
}

/// Whom to believe over TLS, and who we are there. The files are read again for each connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreTls {
    /// A file (PEM) with those who may vouch for a server. Default: whom this machine trusts.
    pub ca: Option<String>,
    /// A file (PEM) with the certificate that a server is shown which asks who comes.
    pub certificate: Option<String>,
    /// The file (PEM) with its private key.
    pub key: Option<String>,
    /// The name that each server has to prove. Default: the host of its address.
    pub server_name: Option<String>,
}

/// What keeps the switchboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One directory of this machine; survives a restart.
    Embedded,
    /// Nothing: all is gone with the process.
    Memory,
    /// A Redis that a fleet shares.
    Redis,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also per module: `info,portcullis=debug`.
    pub level: String,
    /// A file that gets each line besides stdout; reopened on SIGHUP. Default: none.
    pub file: Option<String>,
    /// One line per request.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), file: None, access: true }
    }
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where spans go, as OTLP over HTTP. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere.
    pub otlp_endpoint: Option<String>,
    /// The name of this gateway in traces. Default: `OTEL_SERVICE_NAME`, else `portcullis`.
    pub service_name: Option<String>,
    /// The share of requests traced, from 0 to 1, when their caller has not decided.
    #[schemars(range(min = 0, max = 1))]
    pub sample_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, service_name: None, sample_ratio: 1.0 }
    }
}

/// How a request's identity is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["upstream", "issuer", "audience"]))]
pub struct Authentication {
    /// The upstream that decides.
    pub upstream: Option<String>,
    /// Its path that answers whether a token is good.
    pub verify_path: String,
    /// Its path that publishes the public keys, for the times when it is away.
    pub jwks_path: String,
    /// Until the service counts as away.
    pub timeout_seconds: Seconds,
    /// The `iss` that a token must carry when it is checked locally.
    pub issuer: Option<String>,
    /// The `aud` that a token must carry when it is checked locally.
    pub audience: Option<String>,
    /// Signature algorithms that a local check accepts.
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Algorithm>,
    /// How often the public keys are fetched.
    pub jwks_refresh_seconds: Seconds,
    /// The age at which fetched keys are no longer believed.
    pub jwks_stale_max_seconds: Seconds,
    /// A longer token is refused unread.
    #[schemars(range(min = 256, max = 65_536))]
    pub token_bytes_max: usize,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            upstream: None,
            verify_path: "/verify".to_owned(),
            jwks_path: "/.well-known/jwks.json".to_owned(),
            timeout_seconds: Seconds(0.3),
            issuer: None,
            audience: None,
            algorithms: vec![Algorithm::EdDSA],
            jwks_refresh_seconds: Seconds(300.0),
            jwks_stale_max_seconds: Seconds(86_400.0),
            token_bytes_max: 8192,
        }
    }
}

/// Signature algorithms of a JWT; only those whose public half cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Feature {
    /// For the operator page.
    pub description: Option<String>,
    /// Whether the gateway is degraded while it is off.
    pub critical: bool,
    /// What a refused client may know about why. An operator's reason is never shown to clients.
    pub public_message: Option<String>,
    /// The `error` member of the refusal. Default: a general sentence.
    pub error: Option<String>,
    /// When it turns itself off. Default: only people turn it off.
    pub auto_disable: Option<AutoDisable>,
}

/// When a feature turns itself off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutoDisable {
    /// Errors within the window.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub errors: NonZeroU32,
    /// The window, which slides.
    pub window_seconds: Seconds,
}

impl Default for AutoDisable {
    fn default() -> Self {
        Self { errors: nonzero(10), window_seconds: Seconds(300.0) }
    }
}

/// A value that upstreams are told in a header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Flag {
    /// For the operator page.
    pub description: Option<String>,
    /// Off: nobody gets it, whatever the percentage.
    pub enabled: bool,
    /// The share of users who get it, from 0 to 100; the same users each time.
    #[schemars(range(min = 0, max = 100))]
    pub rollout_percentage: f64,
}

impl Default for Flag {
    fn default() -> Self {
        Self { description: None, enabled: false, rollout_percentage: 100.0 }
    }
}

/// What routes call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct Upstream {
    /// Where it is: `http://host:port`, without a path.
    pub url: Option<String>,
    /// Until a connection stands.
    pub connect_timeout_seconds: Seconds,
    /// From the end of the request, its body included, to the response's head. Default: `call_timeout_seconds` of its breaker,
    /// else 30.
    pub response_timeout_seconds: Option<Seconds>,
    /// Between two pieces of a response's body.
    pub body_idle_timeout_seconds: Seconds,
    /// How long an unused connection is kept. Shorter than the upstream keeps it.
    pub idle_timeout_seconds: Seconds,
    /// Unused connections kept, per worker.
    #[schemars(range(max = 100_000))]
    pub idle_connections_max: usize,
    /// Calls at once; a slot is held until the end of the body. Default: no bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrency_max: Option<NonZeroUsize>,
    /// Its breaker: the name of a profile, or a table. Default: none.
    pub breaker: Option<BreakerChoice>,
    /// The name of its breaker in metrics, logs and the admin API. Default: the upstream's.
    pub breaker_name: Option<String>,
    /// The `error` member of a refusal while it is away or its circuit is open. Default: a general sentence.
    pub error: Option<String>,
    /// The status of the answer while no connection to it stands or none of its answers is usable: 502, or 503 with `Retry-After`.
    /// What comes too late is 504.
    #[schemars(range(min = 502, max = 503))]
    pub unreachable_status: u16,
    /// Its path that tells its health, read every `health_interval_seconds`. Default: none.
    pub health_path: Option<String>,
    /// How often its health is read.
    pub health_interval_seconds: Seconds,
    /// A word for people and dashboards, such as `payment` or `email`; it stands beside the upstream in `/health`.
    pub kind: Option<String>,
    /// Header fields of each request to it, set in the place of the client's: `{ X-Api-Key = "${KEY}" }`. Values are never
    /// logged or shown.
    pub set_headers: BTreeMap<String, Hidden>,
    /// Header fields that no request to it carries.
    pub remove_headers: Vec<String>,
    /// Header fields of each of its answers, set in the place of its own.
    pub set_response_headers: BTreeMap<String, Hidden>,
    /// Header fields that none of its answers carries.
    pub remove_response_headers: Vec<String>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: None,
            connect_timeout_seconds: Seconds(2.0),
            response_timeout_seconds: None,
            body_idle_timeout_seconds: Seconds(30.0),
            idle_timeout_seconds: Seconds(30.0),
            idle_connections_max: 256,
            concurrency_max: None,
            breaker: None,
            breaker_name: None,
            error: None,
            unreachable_status: 502,
            health_path: None,
            health_interval_seconds: Seconds(5.0),
            kind: None,
            set_headers: BTreeMap::new(),
            remove_headers: Vec::new(),
            set_response_headers: BTreeMap::new(),
            remove_response_headers: Vec::new(),
        }
    }
}

/// A method, host and path pattern with a stack of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "path", "upstream"]))]
pub struct Route {
    /// Its name in metrics, logs and the admin API; `route:<name>` kills it. Written like a feature's name.
    pub name: Option<String>,
    /// Methods in capitals. Default: any.
    pub methods: Vec<String>,
    /// `shop.example.com`, or `*.example.com` for every name below. Default: any.
    pub host: Option<String>,
    /// `/api/orders/{id}`; a last segment `{*}` or `{*rest}` is all that is left.
    pub path: Option<String>,
    /// What it calls.
    pub upstream: Option<String>,
    /// The path that the upstream sees, with the parameters of `path`: `/test/{type}`. Default: the path as it came.
    pub rewrite: Option<String>,
    /// Whether it asks who calls.
    pub authentication: Authenticate,
    /// Whether a token may be checked locally while the auth service is away.
    pub jwt_fallback: bool,
    /// Features without which it refuses.
    pub rejects: Vec<String>,
    /// Features whose absence its upstream is told in the `Killswitches` header.
    pub informs: Vec<String>,
    /// Features for which its errors count. Default: those it `rejects` that turn themselves off.
    pub auto_disable: Option<Vec<String>>,
    /// Flags that its upstream is told in the `Feature-Flags` header.
    pub flags: Vec<String>,
    /// The whole request, retries included. Default: `request_timeout_seconds` of `[server]`.
    pub timeout_seconds: Option<Seconds>,
    /// One attempt. Default: the upstream's own bounds only.
    pub attempt_timeout_seconds: Option<Seconds>,
    /// The request's body. Default: `body_bytes_max` of `[server]`.
    #[schemars(range(max = 1_099_511_627_776u64))]
    pub body_bytes_max: Option<u64>,
    /// How often one client address may call it. Default: no bound.
    pub rate_limit: Option<RateLimit>,
    /// Requests in it at once. Default: no bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight_max: Option<NonZeroUsize>,
    /// A breaker of its own: the name of a profile, a table over what its upstream has, or false for none. Default: its
    /// upstream's breaker.
    pub breaker: Option<BreakerChoice>,
    /// The name of its own breaker. Default: its upstream's name.
    pub breaker_name: Option<String>,
    /// What it answers when its breaker refuses or its upstream fails. Default: a refusal.
    pub fallback: Option<Fallback>,
    /// Whether it has series of its own in the metrics.
    pub metrics: bool,
    /// Header fields that its upstream gets, in the place of the client's and of those that the upstream sets for all. Values
    /// are never logged or shown.
    pub set_headers: BTreeMap<String, Hidden>,
    /// Header fields that its upstream doesn't get.
    pub remove_headers: Vec<String>,
    /// Header fields of its answers, in the place of the upstream's own and of those set for the whole upstream.
    pub set_response_headers: BTreeMap<String, Hidden>,
    /// Header fields that its answers don't carry.
    pub remove_response_headers: Vec<String>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: None,
            methods: Vec::new(),
            host: None,
            path: None,
            upstream: None,
            rewrite: None,
            authentication: Authenticate::None,
            jwt_fallback: false,
            rejects: Vec::new(),
            informs: Vec::new(),
            auto_disable: None,
            flags: Vec::new(),
            timeout_seconds: None,
            attempt_timeout_seconds: None,
            body_bytes_max: None,
            rate_limit: None,
            in_flight_max: None,
            breaker: None,
            breaker_name: None,
            fallback: None,
            metrics: true,
            set_headers: BTreeMap::new(),
            remove_headers: Vec::new(),
            set_response_headers: BTreeMap::new(),
            remove_response_headers: Vec::new(),
        }
    }
}

/// What a route answers in the place of its upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fallback {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Its body; a parameter of the route's path, such as `{id}`, stands for what the client asked for, and `{retry_after}` for
    /// the seconds after which the upstream is tried again.
    pub body: String,
    /// The type of the body.
    pub content_type: String,
    /// Its other header fields.
    pub headers: BTreeMap<String, String>,
    /// Whether it also stands in for a 5xx of the upstream.
    pub on_server_errors: bool,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            status: 200,
            body: String::new(),
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            on_server_errors: false,
        }
    }
}

/// Another program that is told what happens to circuits, by a signed `POST` for each event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "secret"]))]
pub struct Webhook {
    /// Where it listens, over http or https.
    pub url: Option<String>,
    /// Over https: a file of the authorities that are believed, in PEM, instead of the machine's.
    pub ca_file: Option<String>,
    /// What signs each message; only as `${NAME}`.
    pub secret: Option<Hidden>,
    /// What it is told.
    #[schemars(length(min = 1))]
    pub events: Vec<WebhookEvent>,
    /// Until one attempt is given up.
    pub timeout_seconds: Seconds,
    /// Attempts until an event is given up, each after a longer pause.
    #[schemars(range(min = 1, max = 20))]
    pub attempts_max: NonZeroU32,
    /// Addresses or blocks that it may be sent to although they are refused by default.
    pub allowed_networks: Vec<String>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            secret: None,
            events: vec![WebhookEvent::Opened, WebhookEvent::Closed, WebhookEvent::Forced],
            timeout_seconds: Seconds(5.0),
            attempts_max: nonzero(6),
            allowed_networks: Vec::new(),
        }
    }
}

/// What the webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookEvent {
    /// A circuit opened by itself.
    Opened,
    /// A circuit closed, by itself or by hand.
    Closed,
    /// A circuit was forced open, disabled, or put into shadow.
    Forced,
}

/// A path that has moved: the client is told where to, and no upstream is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "to"]))]
pub struct Redirect {
    /// Methods in capitals. Default: any.
    pub methods: Vec<String>,
    /// Written like the host of a route. Default: any.
    pub host: Option<String>,
    /// Written like the path of a route.
    pub path: Option<String>,
    /// Where to: a path (`/orders/{id}`) or a URL (`https://shop.example.com/{*}`), with the parameters of `path`. The query goes
    /// along.
    pub to: Option<String>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(range(min = 301, max = 308))]
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { methods: Vec::new(), host: None, path: None, to: None, status: 307 }
    }
}

/// Text that may be a secret: it is read, and never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// Whether a route asks who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Authenticate {
    /// Anyone may call it.
    None,
    /// Only with a good token.
    Required,
}

/// How often one client address may call a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["requests"]))]
pub struct RateLimit {
    /// Requests within `per_seconds`, evenly spread.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<NonZeroU32>,
    /// The time that `requests` counts for.
    pub per_seconds: Seconds,
    /// Requests that may come at once after a pause. Default: `requests`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<NonZeroU32>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: None, per_seconds: Seconds(1.0), burst: None }
    }
}

/// A length of time in seconds; fractions are welcome, and every duration of the file is written so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// The same length of time. Seconds that the schema let pass are within its bounds.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A millisecond is the finest that timers keep; a month is longer than anything here should last.
        json_schema!({ "type": "number", "minimum": 0.001, "maximum": 2_592_000 })
    }
}

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a default that is written as a literal above zero")
}
