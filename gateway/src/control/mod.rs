//! The control plane: everything that is not a request passing through.
//!
//! `opening` makes the first switchboard, `writer` changes it, `health` and `metrics` tell how things are, `events` tells what
//! has happened, `webhook` and `publish` carry that on, and `admin` lets operators ask and act. It runs on a runtime of its own, so that a flood of requests doesn't keep an operator out, and no
//! request ever waits for it: the data plane reads a pinned view and a few atomics.

pub mod admin;
pub mod breakers;
mod chain;
pub mod events;
pub mod fleet;
mod flips;
pub mod health;
pub mod ledger;
pub mod metrics;
mod moment;
pub mod opening;
mod probe;
mod publish;
mod server;
mod stall;
pub mod standing;
pub mod webhook;
pub mod writer;

pub(crate) use chain::Chain;

use std::io;
use std::sync::Arc;

use portcullis::auto_disable::{Meter, Settings};
use portcullis::store::Outlet;
use portcullis::view::Subscriber;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::breakers::NamedBreaker;
use self::events::Events;
use self::fleet::Fleet;
use self::health::Health;
use self::metrics::Exposition;
use self::standing::Standing;
use self::webhook::Courier;
use self::writer::Writer;
use crate::config::config::Config;

/// What the control plane works with.
pub struct Parts {
    pub config: Arc<Config>,
    pub subscriber: Subscriber,
    pub writer: Writer,
    pub fleet: Fleet,
    pub breakers: Vec<NamedBreaker>,
    /// Where the orders to them are kept.
    pub standing: Standing,
    pub meters: Vec<Meter>,
    pub health: Health,
    pub events: Events,
    /// Where a fleet reads the events, if there is one.
    pub outlet: Option<Box<dyn Outlet>>,
    /// Who tells the webhook of them, if there is one.
    pub courier: Option<Courier>,
    /// Whoever has figures for `/metrics` besides the control plane itself.
    pub exposition: Vec<Arc<dyn Exposition>>,
}

/// A meter for each feature that turns itself off; a trip is proposed to the writer.
pub fn meters(config: &Config, writer: &Writer) -> Vec<Meter> {
    let meter = |name: &Arc<str>, settings| {
        let writer = writer.clone();
        Meter::new(name.clone(), settings, move |trip| writer.propose_trip(trip))
    };
    let settings = |rule: &crate::config::config::AutoDisable| Settings {
        errors: rule.errors,
        window: rule.window,
    };
    let rules = config
        .features
        .iter()
        .filter_map(|feature| Some((&feature.name, feature.auto_disable.as_ref()?)));
    rules.map(|(name, rule)| meter(name, settings(rule))).collect()
}

/// Serves the admin listener and asks the upstreams how they are, until `shutdown` turns true (or its sender is gone); then
/// finishes what runs.
///
/// # Errors
/// None today: a listener that fails to accept is tried again.
pub async fn serve(
    mut parts: Parts,
    listener: TcpListener,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut tasks = probe::spawn(&parts.config, &parts.health, &parts.breakers);
    tasks.spawn(breakers::watch(parts.breakers.clone()));
    let events = parts.events.clone();
    tasks.spawn(flips::watch(parts.subscriber.clone(), events.clone()));
    if let Some(courier) = parts.courier.take() {
        let figures = Arc::<webhook::Figures>::default();
        parts.exposition.push(figures.clone());
        tasks.spawn(webhook::tell(courier, events.clone(), figures));
    }
    if let Some(outlet) = parts.outlet.take() {
        let figures = Arc::<publish::Figures>::default();
        parts.exposition.push(figures.clone());
        tasks.spawn(publish::publish(outlet, events.clone(), figures));
    }
    let mut over = shutdown.clone();
    tasks.spawn(async move {
        // A sender that is gone can't ask any more, as in `server`. Streams of events have no end of their own.
        let _ = over.wait_for(|over| *over).await;
        events.close();
    });
    server::serve(admin::router(parts), listener, shutdown).await;
    drop(tasks);
    Ok(())
}
