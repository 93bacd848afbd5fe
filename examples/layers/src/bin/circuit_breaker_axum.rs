//! Circuit breaker on axum, behind a real listener: ten failures over ten connections open it, and a client that goes away
//! early says nothing. axum calls `Layer::layer` for each connection; a breaker whose state were made there would never open.

use std::{
    error::Error,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::StatusCode;
use portcullis::circuit_breaker::{Breaker, CircuitBreakerLayer, Settings, State};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let settings = Settings { consecutive_failures: NonZeroU32::new(10), ..Settings::default() };
    let breaker = Breaker::new("orders", settings);
    let (calls, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (counted, left) = (calls.clone(), gone.clone());
    let broken = async move || {
        counted.fetch_add(1, SeqCst);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let hanging = async move || {
        let _gone = Gone(left.clone());
        left.notify_one();
        std::future::pending::<()>().await;
    };
    let app = Router::new()
        .route("/broken", get(broken))
        .route("/hanging", get(hanging))
        .layer(CircuitBreakerLayer::new(breaker.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });

    give_up(address, &gone).await?;
    assert_eq!(breaker.snapshot().calls_total, 0, "a client's abort says nothing");

    for connection in 1..=10 {
        assert_eq!(breaker.state(), State::Closed, "before connection {connection}");
        assert!(get_on_a_new_connection(address, "/broken").await?.starts_with("HTTP/1.1 500"));
    }
    assert_eq!(breaker.state(), State::Open);
    println!("{}: {:?}", breaker.name(), breaker.snapshot().why);

    let refused = get_on_a_new_connection(address, "/broken").await?;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 60"),
        "{refused}"
    );
    assert_eq!(calls.load(SeqCst), 10, "the refused call reached no handler");
    Ok(())
}

/// Tells when the handler was dropped, because the client is gone.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn connect(address: SocketAddr, path: &str) -> Result<TcpStream, BoxError> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    Ok(connection)
}

async fn get_on_a_new_connection(address: SocketAddr, path: &str) -> Result<String, BoxError> {
    let mut answer = String::new();
    connect(address, path).await?.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Calls a handler that hangs, and goes away once it has begun.
async fn give_up(address: SocketAddr, gone: &Notify) -> Result<(), BoxError> {
    let connection = connect(address, "/hanging").await?;
    tokio::time::timeout(Duration::from_secs(30), gone.notified()).await?;
    drop(connection);
    tokio::time::timeout(Duration::from_secs(30), gone.notified()).await?;
    Ok(())
}
