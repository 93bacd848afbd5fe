//! The whole demo: the four services, and a gateway on `config/demo.toml` in front of them.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::gateway::Gateway;
use crate::ports::free_port;
use crate::service::Service;
use crate::upstream::Upstream;

/// Everything that `cargo demo` runs, on free ports.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is named after what it is")]
pub struct Fleet {
    pub gateway: Gateway,
    pub auth: Service,
    pub sensor: Service,
    pub kafka_producer: Service,
    pub orders: Service,
}

impl Fleet {
    /// Starts all five and waits until all take traffic.
    pub async fn start() -> Self {
        let (port, admin_port) = (free_port(), free_port());
        // The services call each other through the gateway, so its address comes first.
        let named = |name| {
            Service::named(name).env("GATEWAY_URL", format!("http://127.0.0.1:{port}")).start()
        };
        let (auth, sensor, kafka_producer, orders) =
            tokio::join!(named("auth"), named("sensor"), named("kafka-producer"), named("orders"));
        let gateway = [&auth, &sensor, &kafka_producer, &orders]
            .into_iter()
            .fold(Gateway::demo(), |launch, service| launch.service(service))
            .on_ports(port, admin_port)
            .start()
            .await;
        Self { gateway, auth, sensor, kafka_producer, orders }
    }

    /// Logs in as the demo's `admin`; whatever comes back.
    pub async fn login(&self) -> Answer {
        login(&self.gateway).await
    }

    /// A client with a fresh token.
    pub async fn signed_in(&self) -> Client {
        signed_in(&self.gateway).await
    }

    /// Orders a laptop; whatever comes back.
    pub async fn order(&self) -> Answer {
        order(&self.gateway).await
    }
}

/// Logs in as the demo's `admin` through this gateway; whatever comes back.
pub async fn login(gateway: &Gateway) -> Answer {
    let fields = [("username", "admin"), ("password", "admin123")];
    Client::new().post(gateway.url("/auth/token")).form(&fields).await
}

/// A client with a fresh token from the auth service behind this gateway.
pub async fn signed_in(gateway: &Gateway) -> Client {
    let login = login(gateway).await.ok();
    Client::new().bearer(login["access_token"].as_str().expect("a login answers a token"))
}

/// Orders a laptop through this gateway; whatever comes back.
pub async fn order(gateway: &Gateway) -> Answer {
    Client::new().post(gateway.url("/api/orders")).json(&laptop()).await
}

/// A demo gateway with a scripted upstream for orders and nobody behind the other routes.
pub async fn orders_behind(upstream: &Upstream) -> Gateway {
    Gateway::demo().in_place_of("orders", upstream).start().await
}

fn laptop() -> Value {
    json!({
        "user_id": "test_user",
        "items": [{ "product_id": "laptop", "quantity": 1, "price": 999.99 }],
        "payment_method": "credit_card",
        "total_amount": 999.99,
    })
}
