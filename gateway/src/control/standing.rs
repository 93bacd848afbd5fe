//! Operators' orders to breakers that outlive the process: who forced a circuit open at night wants it open when the gateway
//! comes back.
//!
//! A breaker belongs to its gateway, and so do its orders: they stand in a file of their own beside what the gateway keeps on
//! this machine, replaced as a whole. An order is in force before it is kept and whether or not it can be; the answer to the
//! operator says which. At the start, each order that is still due holds again, for what is left of its time. A name that no
//! breaker has any more is forgotten with the next order.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis::circuit_breaker::{Action, Breaker, Order};
use portcullis::switchboard::UnixMillis;
use serde::{Deserialize, Serialize};

use super::breakers::{NamedBreaker, word};
use crate::config::config::{Config, Store};

/// The orders that hold, on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Standing(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    file: PathBuf,
    /// Held while it is replaced, so that the last who writes has seen all that was ordered before.
    writing: Mutex<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    /// What is to be read so. Another number is another program's.
    format: u32,
    orders: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    breaker: String,
    action: String,
    #[serde(default)]
    actor: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    expires_at: Option<UnixMillis>,
}

const FORMAT: u32 = 1;
/// More than the orders of some ten thousand breakers take; a larger file isn't ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl Standing {
    /// No place for orders.
    pub const NOWHERE: Self = Self(None);

    /// Where this configuration keeps orders; a store in memory keeps none.
    pub fn of(config: &Config) -> Self {
        let file = match &config.store {
            Store::Embedded { directory } => directory.join("breaker-orders.json"),
            // Gateways that run from one file share the directory.
            Store::Redis(redis) => {
                let port = config.server.listen.port();
                redis.directory.join(format!("breaker-orders-{port}.json"))
            }
            Store::Memory => return Self::NOWHERE,
        };
        Self(Some(Arc::new(Kept { file, writing: Mutex::new(()) })))
    }

    /// Gives breakers the orders that held when the last process ended.
    pub fn restore(&self, breakers: &[NamedBreaker], now: UnixMillis) {
        let Some(kept) = &self.0 else { return };
        let lines = match read(&kept.file) {
            Ok(lines) => lines,
            Err(error) => {
                let file = kept.file.display();
                tracing::error!(target: "portcullis::change", "breakers act by themselves: the orders in {file} can't be read: {error}");
                return;
            }
        };
        for line in lines {
            let of_name = |named: &&NamedBreaker| **named.breaker.name() == *line.breaker;
            if let (Some(named), Some(order)) = (breakers.iter().find(of_name), line.order(now)) {
                tracing::info!(target: "portcullis::change", "Circuit breaker {}: still {order}", line.breaker);
                named.breaker.order(order);
            }
        }
    }

    /// Keeps the orders that hold now, and answers whether they are kept. It may wait for a disk.
    pub fn keep(&self, breakers: &[NamedBreaker], now: UnixMillis) -> bool {
        let Some(kept) = &self.0 else { return false };
        let _alone = kept.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = breakers.iter().filter_map(|named| Line::of(&named.breaker, now)).collect();
        let done = replace(&kept.file, &Page { format: FORMAT, orders });
        if let Err(error) = &done {
            let file = kept.file.display();
            tracing::error!(target: "portcullis::change", "an order to a breaker won't outlive the process: {file} can't be written: {error}");
        }
        done.is_ok()
    }
}

impl Line {
    fn of(breaker: &Breaker, now: UnixMillis) -> Option<Self> {
        let snapshot = breaker.snapshot();
        let order = snapshot.order?;
        let ends = |left: Duration| {
            UnixMillis(now.0.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
        };
        Some(Self {
            breaker: breaker.name().to_string(),
            action: word(order.action).to_owned(),
            actor: order.actor.as_deref().map(str::to_owned),
            reason: order.reason.as_deref().map(str::to_owned),
            expires_at: snapshot.order_expires_in.map(ends),
        })
    }

    /// The order, for what is left of its time; nothing when that is over.
    fn order(&self, now: UnixMillis) -> Option<Order> {
        let actions = [Action::ForceOpen, Action::Disable, Action::Shadow];
        let action = actions.into_iter().find(|action| word(*action) == self.action)?;
        let lasts = match self.expires_at {
            None => None,
            Some(end) if end <= now => return None,
            Some(end) => Some(Duration::from_millis(end.0 - now.0)),
        };
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        Some(Order { action, actor: text(&self.actor), reason: text(&self.reason), lasts })
    }
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    let size = match fs::metadata(file) {
        Ok(about) => about.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if size > FILE_BYTES_MAX {
        return Err(io::Error::other("it is far too large"));
    }
    let page: Page = serde_json::from_slice(&fs::read(file)?)?;
    if page.format == FORMAT { Ok(page.orders) } else { Err(io::Error::other("another format")) }
}

/// Written beside it, synced and renamed: a loss of power leaves the old page or the new one.
fn replace(file: &Path, page: &Page) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = file.with_extension("json.new");
    let mut new = File::create(&beside)?;
    new.write_all(&serde_json::to_vec_pretty(page)?)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use portcullis::circuit_breaker::{Settings, State};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const MINUTE: u64 = 60_000;

    fn breakers() -> Vec<NamedBreaker> {
        let named = |name: &str| NamedBreaker {
            breaker: Breaker::new(name, Settings::default()),
            upstream: "u".into(),
        };
        ["a", "b", "c"].map(named).into()
    }

    fn at(directory: &Path) -> Standing {
        let file = directory.join("deep/orders.json");
        Standing(Some(Arc::new(Kept { file, writing: Mutex::new(()) })))
    }

    #[test]
    fn an_order_holds_in_the_next_life_for_what_is_left_of_its_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = breakers();
        before[0].breaker.order(Order::new(Action::ForceOpen).by("ana").because("INC-42"));
        let half_an_hour = Duration::from_millis(30 * MINUTE);
        before[1].breaker.order(Order::new(Action::Shadow).lasting(half_an_hour));
        assert!(at(directory.path()).keep(&before, NOW));

        let after = breakers();
        at(directory.path()).restore(&after, UnixMillis(NOW.0 + 10 * MINUTE));
        let states = [0, 1, 2].map(|place: usize| after[place].breaker.state());
        assert_eq!(states, [State::ForcedOpen, State::Shadow, State::Closed]);
        let why = after[0].breaker.snapshot().why;
        assert_eq!(why.as_deref(), Some("forced open by ana: INC-42"));
        let left = after[1].breaker.snapshot().order_expires_in.expect("it ends");
        let twenty = Duration::from_millis(20 * MINUTE);
        assert!(left <= twenty && left + Duration::from_secs(60) > twenty, "{left:?}");
    }

    #[test]
    fn an_order_that_ended_meanwhile_or_was_reset_holds_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = breakers();
        let minute = Duration::from_millis(MINUTE);
        before[0].breaker.order(Order::new(Action::ForceOpen).lasting(minute));
        before[1].breaker.order(Order::new(Action::Disable));
        assert!(at(directory.path()).keep(&before, NOW));
        before[1].breaker.reset();
        assert!(at(directory.path()).keep(&before, NOW));

        let after = breakers();
        at(directory.path()).restore(&after, UnixMillis(NOW.0 + 2 * MINUTE));
        assert!(after.iter().all(|named| named.breaker.state() == State::Closed));
    }

    #[test]
    fn what_cant_be_read_or_kept_is_no_reason_not_to_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let breakers = breakers();
        at(directory.path()).restore(&breakers, NOW);
        for nonsense in ["", "{", r#"{"format": 2, "orders": []}"#] {
            let file = directory.path().join("deep/orders.json");
            fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
            fs::write(&file, nonsense).expect("it can be written");
            at(directory.path()).restore(&breakers, NOW);
        }
        assert!(breakers.iter().all(|named| named.breaker.state() == State::Closed));
        assert!(!Standing::NOWHERE.keep(&breakers, NOW), "a store in memory keeps nothing");
    }
}
