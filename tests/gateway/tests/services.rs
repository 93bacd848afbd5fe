//! The demo's services alone, as the harness drives them: each starts, tells its health, and comes back after its death.

use portcullis_tests::{Client, Service};

#[tokio::test]
async fn each_service_starts_dies_and_comes_back_on_its_port() {
    for name in ["auth", "sensor", "kafka-producer", "orders", "control"] {
        let mut service = Service::named(name).start().await;
        assert_eq!(Client::new().get(service.url("/health")).await.status, 200, "{name}");
        service.kill_9();
        assert!(Client::new().get(service.url("/health")).attempt().await.is_err(), "{name}");
        service.restart().await;
        assert_eq!(Client::new().get(service.url("/health")).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_is_asked_to_end_ends_well() {
    for name in ["auth", "sensor", "kafka-producer", "orders", "control"] {
        let mut service = Service::named(name).start().await;
        assert_eq!(service.process().terminate().await.code(), Some(0), "{name}");
    }
}
