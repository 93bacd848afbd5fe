//! The promise: a connection at rest costs little memory, and when a flood of them is gone, so is what it took.

use std::time::Duration;

use portcullis_tests::{Depot, Gateway, RawConnection, allow_descriptors, eventually, in_full};
use tokio::task::JoinSet;

/// Of a connection that rests. Kilobytes, as the promise is written.
const BYTES_EACH_MAX: u64 = 12_000;
/// How soon what they took is given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);

fn count() -> usize {
    in_full(10_000, 1_000)
}

/// How much of it. What a gateway keeps in any case weighs more beside a thousand connections than beside ten.
fn given_back_min() -> f64 {
    in_full(0.9, 0.6)
}

#[tokio::test]
async fn a_connection_that_rests_after_an_answer_costs_little_and_its_memory_is_given_back() {
    let flood = Flood::of(|address| async move {
        let mut connection = RawConnection::open(address).await;
        let head = "Host: x\r\nUser-Agent: a-browser/1.0\r\nAccept: */*\r\n\r\n";
        connection.write(format!("GET /item/195 HTTP/1.1\r\n{head}")).await;
        assert_eq!(connection.read_answer().await.body.len(), 195);
        connection
    })
    .await;
    flood.judge("after an answer").await;
}

#[tokio::test]
async fn a_connection_that_has_said_nothing_yet_costs_little_and_its_memory_is_given_back() {
    let flood = Flood::of(RawConnection::open).await;
    flood.judge("silent").await;
}

/// A gateway with so many connections, and its memory before they came.
struct Flood {
    gateway: Gateway,
    _depot: Depot,
    before: u64,
    connections: Vec<RawConnection>,
}

impl Flood {
    async fn of<F>(open: impl Fn(std::net::SocketAddr) -> F) -> Self
    where
        F: Future<Output = RawConnection> + Send + 'static,
    {
        allow_descriptors(count() as u64 + 1_000);
        let depot = Depot::open();
        let gateway = Gateway::in_front_of_depot(&depot)
            .keys("[server]", "connections_max = 20000\nfirst_byte_timeout_seconds = 300\nidle_timeout_seconds = 300")
            .keys("[log]", "access = false")
            .start()
            .await;
        // What the first connections bring about (buffers of the workers, pools, tables) is not theirs.
        drop(connect(&gateway, 50, &open).await);
        settled(&gateway).await;
        let before = gateway.memory().resident;
        let connections = connect(&gateway, count(), &open).await;
        Self { gateway, _depot: depot, before, connections }
    }

    async fn judge(self, what: &str) {
        let Self { gateway, before, connections, .. } = self;
        let with = settled(&gateway).await;
        let growth = with.saturating_sub(before);
        let each = growth * 1024 / connections.len() as u64;
        let descriptors = gateway.descriptors();
        println!("{} connections, {what}: {growth} KiB, {each} bytes each", connections.len());
        assert!(descriptors >= connections.len(), "some of them were closed");

        drop(connections);
        let aim = before + (growth as f64 * (1.0 - given_back_min())) as u64;
        eventually(GIVEN_BACK_WITHIN, "the memory is given back", async || {
            gateway.memory().resident <= aim
        })
        .await;
        let left = settled(&gateway).await.saturating_sub(before);
        let share = 100.0 * (1.0 - left as f64 / growth as f64);
        println!("{share:.1} % of it was given back");
        // A debug build has larger futures.
        assert!(
            cfg!(debug_assertions) || each <= BYTES_EACH_MAX,
            "a connection costs {each} bytes"
        );
    }
}

async fn connect<F>(
    gateway: &Gateway,
    count: usize,
    open: &impl Fn(std::net::SocketAddr) -> F,
) -> Vec<RawConnection>
where
    F: Future<Output = RawConnection> + Send + 'static,
{
    /// More at once would measure the flood's own peak: this is about what rests.
    const AT_ONCE: usize = 20;
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let next = AT_ONCE.min(count - connections.len());
        let opening: JoinSet<_> = (0..next).map(|_| open(gateway.address())).collect();
        connections.extend(opening.join_all().await);
    }
    connections
}

/// The resident memory, once the allocator has given back what it had no use for: when it no longer falls.
async fn settled(gateway: &Gateway) -> u64 {
    const STEADY_FOR: usize = 5;
    let (mut lowest, mut steady) = (u64::MAX, 0);
    while steady < STEADY_FOR {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = gateway.memory().resident;
        steady = if now < lowest { 0 } else { steady + 1 };
        lowest = lowest.min(now);
    }
    lowest
}
