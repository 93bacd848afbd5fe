//! Circuit breaker on tonic, at both ends of a real connection. gRPC answers 200 at once and tells in its trailers how the call
//! went, so a breaker that looked at heads would see nothing but successes: here streams break in their trailers, and that
//! opens the client's breaker and the server's. Refusals travel as gRPC does it, as `UNAVAILABLE` with a pushback.

use std::{convert::Infallible, error::Error, num::NonZeroU32, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use http::{Response, uri::PathAndQuery};
use portcullis::{
    circuit_breaker::{Breaker, CircuitBreakerLayer, Settings, State},
    outcome::Grpc,
    rejected::Rejected,
};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    body::Body,
    client, codec,
    codec::{Codec, DecodeBuf, EncodeBuf},
    server,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{ServiceBuilder, service_fn};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let settings = Settings {
        consecutive_failures: NonZeroU32::new(3),
        open_wait: Duration::from_secs(30),
        ..Settings::default()
    };
    let breaker = |name| Breaker::new(name, settings);
    let (at_client, at_server) = (breaker("ledger at the client"), breaker("ledger"));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder()
        .layer(
            CircuitBreakerLayer::new(at_server.clone()).classify(Grpc::new()).refuse(unavailable),
        )
        .serve_with_incoming(service_fn(ledger), TcpIncoming::from(listener));
    tokio::spawn(server);
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let guarded = ServiceBuilder::new()
        .layer(
            CircuitBreakerLayer::new(at_client.clone()).classify(Grpc::new()).refuse(unavailable),
        )
        .service(channel.clone());
    let mut client = client::Grpc::new(guarded);
    let mut call = async |entry: &'static str| -> Result<(), Status> {
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path = PathAndQuery::from_static("/ledger/Read");
        let request = Request::new(Bytes::from_static(entry.as_bytes()));
        let mut entries = client.server_streaming(request, path, Text).await?.into_inner();
        assert_eq!(entries.message().await?.as_deref(), Some(entry.as_bytes()), "first a message");
        // The status comes behind the last message.
        entries.message().await.map(drop)
    };

    call("good").await?;
    for _ in 0..3 {
        assert_eq!(code(call("missing").await), Code::NotFound);
    }
    let counted = at_client.snapshot();
    assert_eq!((counted.success_count, counted.failures_total), (4, 0), "the caller's own faults");

    for _ in 0..3 {
        assert_eq!(at_client.state(), State::Closed);
        assert_eq!(code(call("broken").await), Code::Internal);
    }
    assert_eq!(at_client.state(), State::Open);
    assert_eq!(at_server.state(), State::Open);
    println!("{}: {:?}", at_client.name(), at_client.snapshot().why);

    let refused = call("good").await.expect_err("the circuit is open");
    println!("refused at the client: {refused}");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "circuit_open"));
    assert_eq!(at_server.snapshot().rejected_total, 0, "the refused call never left");

    let mut unguarded = client::Grpc::new(channel);
    unguarded.ready().await?;
    let path = PathAndQuery::from_static("/ledger/Read");
    let request = Request::new(Bytes::from_static(b"good"));
    let answer = unguarded.server_streaming(request, path, Text).await;
    let refused = answer.map(drop).expect_err("the server's circuit is open, too");
    println!("refused at the server: {refused}");
    assert_eq!(refused.code(), Code::Unavailable);
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").expect("it says when");
    assert!(pushback.to_str()?.parse::<u64>()? <= 30_000);
    Ok(())
}

fn code(answer: Result<(), Status>) -> Code {
    answer.expect_err("the ledger says no").code()
}

/// A refusal as gRPC tells it: the status, and in how many milliseconds to come back.
fn unavailable<B: Default, E>(rejected: Rejected) -> Result<Response<B>, E> {
    let mut status = Status::unavailable(rejected.reason());
    if let Some(wait) = rejected.retry_after() {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        status.metadata_mut().insert("grpc-retry-pushback-ms", wait.into());
    }
    let mut response = status.into_http();
    response.extensions_mut().insert(rejected);
    Ok(response)
}

/// The service: it streams the entry back, and then tells how that went.
async fn ledger(request: http::Request<Body>) -> Result<Response<Body>, Infallible> {
    let read = service_fn(async |request: Request<Bytes>| {
        let entry = request.into_inner();
        let end = match &*entry {
            b"missing" => Some(Err(Status::not_found("no such entry"))),
            b"broken" => Some(Err(Status::internal("the disk is gone"))),
            _ => None,
        };
        let entries = stream::iter([Ok(entry)].into_iter().chain(end));
        Ok::<_, Status>(tonic::Response::new(entries))
    });
    Ok(server::Grpc::new(Text).server_streaming(read, request).await)
}

/// Messages as they are, in the place of what `protoc` would make.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl codec::Encoder for Text {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl codec::Decoder for Text {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
