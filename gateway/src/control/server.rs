//! The admin listener: few connections, each under time limits, all ended with the process.
//!
//! It is not the data plane's server: operators come by dozens, and what they need is that one of them can always get in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::stall::Unstalled;

/// Connections at once. An operator, a few dashboards and a scraper need a handful.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte (or the last answer) to the end of a request's head. It also ends idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Until connections that don't end by themselves are cut at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed accept: most often the process is out of file descriptors, and trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request's connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    mut shutdown: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            // A sender that is gone can't ask any more; whoever held it has ended.
            _ = shutdown.wait_for(|down| *down) => break,
            stream = accept(&listener) => stream,
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(
                "the admin listener has {CONNECTIONS_MAX} connections; one more is closed"
            );
            continue;
        };
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let stream = TokioIo::new(Unstalled::new(stream));
        let connection = builder.serve_connection(stream, TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What went wrong with a connection is the client's to know; the next one starts afresh.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections of the admin listener were cut after {DRAIN_TIMEOUT:?}");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                return (stream, peer.ip().to_canonical());
            }
            Err(error) => {
                tracing::warn!("the admin listener can't accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
