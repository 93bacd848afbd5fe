//! What the gateway knows of one request, beside the request itself.
//!
//! `record` puts one [`Exchange`] into the request's extensions at the start, so that the clock is read once and the layers
//! below agree on who asks and under which id.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{HeaderValue, Uri};

use crate::{server::peer::Peer, trailers::Allowed};

/// The facts of one request.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When its head had been read.
    pub started: Instant,
    /// The id under which upstreams, logs and refusals name it.
    pub id: HeaderValue,
    /// Who sent it.
    pub peer: Arc<Peer>,
    /// Who asks: the peer, or who a trusted peer says.
    pub client: IpAddr,
    /// Fields behind the answer's body that its client may get.
    pub trailers: Allowed,
    /// The server span, when this request is sampled.
    pub span: Option<tracing::Span>,
    /// Where the access log learns how the request was understood, when it is written.
    pub understood: Option<Arc<OnceLock<Understood>>>,
}

/// What a request turned out to be once there was one way left to read it.
#[derive(Debug)]
pub struct Understood {
    /// Who asks: the peer, or who a trusted peer says.
    pub client: IpAddr,
    /// The path as it is matched, before a route rewrites it.
    pub path: String,
}

/// The target that a client asked for, where its route has the upstream see another one, and somebody below wants to know.
#[derive(Debug, Clone)]
pub struct AsAsked(pub Uri);
