//! A worker: one thread, one runtime, its own connections, pools and stacks.
//!
//! Nothing is stolen and nothing is woken across cores. What workers share (breakers, limits, meters, the switchboard) comes
//! in as handles; what they don't is made here.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Response;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet};
use tower_service::Service;

use crate::{
    record::layer::Arrival,
    server::{accept::Accepted, connection::Protocols, drain::Signal, peer::Peer},
};

/// What a worker serves with.
pub struct Worker<S> {
    /// The stack, outermost layer first.
    pub stack: S,
    /// Both protocols with their bounds.
    pub protocols: Protocols,
    /// Whose forwarding headers are believed.
    pub trusted: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// When to finish.
    pub stop: Arc<Signal>,
    /// How long connections may take to finish.
    pub drain_timeout: Duration,
}

impl<S, B> Worker<S>
where
    S: Service<Arrival, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Send
        + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    /// Serves what arrives until there is nothing more to come and all is over.
    pub async fn run(self, mut arrivals: UnboundedReceiver<Accepted>) {
        let protocols = Arc::new(self.protocols);
        let stack = Arc::new(Mutex::new(self.stack));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                arrival = arrivals.recv() => {
                    let Some(Accepted { stream, address, held }) = arrival else { break };
                    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
                    let peer = Arc::new(Peer::new(address, &*self.trusted));
                    let (stack, asking) = (stack.clone(), peer.clone());
                    let answer = move |request| {
                        // Never contended (a worker is one thread) and held for the call alone, not for its future.
                        let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
                        stack.call(Arrival { peer: asking.clone(), request })
                    };
                    let (protocols, drain) = (protocols.clone(), self.stop.drain());
                    connections.spawn(async move {
                        protocols.serve(stream, peer, answer, drain).await;
                        drop(held);
                    });
                }
                // Keeps the set from growing; a panic costs its connection and nothing else.
                Some(_) = connections.join_next() => {}
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain_timeout, all).await.is_err() {
            connections.shutdown().await;
        }
    }
}
