//! The gateways that share the store: which revision each of them serves, and who lags behind.
//!
//! A gateway tells the store which revision its requests see, at each change and once a second; it counts from before its
//! ports open until it ends, or until ten seconds after it was last heard of. Who was counted last still counts while the
//! store can't be asked: a fleet doesn't become one gateway because Redis is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis::store::{Instance, Instances, StoreError};
use portcullis::switchboard::UnixMillis;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::chain::Chain;
use super::moment::rfc3339;
use crate::config::config::Config;

/// Between two looks at who has applied a flip: a fraction of what the way through Redis takes.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The same while the store can't be asked: those who wait must not hammer one that is in trouble.
const LOOK_EVERY_IN_TROUBLE: Duration = Duration::from_millis(250);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Roll>);

#[derive(Debug)]
struct Roll {
    own_name: String,
    instances: Option<Arc<dyn Instances>>,
    /// Who was there when the store was last asked.
    last: Mutex<Vec<Instance>>,
}

impl Fleet {
    /// Without `instances` this gateway is alone.
    pub fn new(config: &Config, instances: Option<Arc<dyn Instances>>) -> Self {
        let own_name = instances
            .as_ref()
            .map_or_else(|| config.server.listen.to_string(), |instances| instances.own_name());
        Self(Arc::new(Roll { own_name, instances, last: Mutex::default() }))
    }

    /// Waits until every gateway serves the revision, but not for longer than `patience`; then who does and who doesn't.
    pub(super) async fn applied(&self, revision: u64, patience: Duration) -> Value {
        let end = Instant::now() + patience;
        loop {
            let (all, fault) = self.list(revision).await;
            let (applied, behind): (Vec<_>, Vec<_>) =
                all.iter().partition(|instance| instance.revision >= revision);
            if behind.is_empty() && fault.is_none() || Instant::now() >= end {
                let laggards: Vec<_> = behind.iter().map(|instance| &instance.name).collect();
                let mut answer =
                    json!({ "applied": applied.len(), "of": all.len(), "laggards": laggards });
                if let Some(fault) = fault {
                    answer["unknown"] = fault.into();
                }
                return answer;
            }
            sleep(if fault.is_some() { LOOK_EVERY_IN_TROUBLE } else { LOOK_EVERY }).await;
        }
    }

    /// All gateways, for people.
    pub(super) async fn shown(&self, revision: u64) -> Value {
        let (all, fault) = self.list(revision).await;
        let shown = |instance: &Instance| {
            json!({
                "name": instance.name,
                "revision": instance.revision,
                "seen_at": rfc3339(instance.seen_at),
                "silent_ms": instance.silent_ms,
                "this": instance.name == self.0.own_name,
                "applied": instance.revision >= revision,
            })
        };
        let instances: Vec<_> = all.iter().map(shown).collect();
        json!({ "revision": revision, "of": all.len(), "instances": instances, "unknown": fault })
    }

    /// Who is there, this gateway always among them; and why that may be out of date.
    async fn list(&self, own_revision: u64) -> (Vec<Instance>, Option<String>) {
        let own = Instance {
            name: self.0.own_name.clone(),
            revision: own_revision,
            seen_at: UnixMillis::now(),
            silent_ms: 0,
        };
        let (mut all, fault) = match self.asked().await {
            None => (Vec::new(), None),
            Some(Ok(all)) => (all, None),
            Some(Err(error)) => (self.last().clone(), Some(Chain(&error).to_string())),
        };
        if fault.is_none() {
            self.last().clone_from(&all);
        }
        // What this gateway serves it knows without asking.
        all.retain(|instance| instance.name != own.name);
        all.push(own);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        (all, fault)
    }

    async fn asked(&self) -> Option<Result<Vec<Instance>, StoreError>> {
        let instances = self.0.instances.clone()?;
        let asked = tokio::task::spawn_blocking(move || instances.list()).await;
        Some(asked.unwrap_or_else(|panic| Err(StoreError::Unavailable { what: panic.to_string() })))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// A store that can't be asked, and how often it was.
    #[derive(Debug, Default)]
    struct Away(AtomicUsize);

    impl Instances for Away {
        fn own_name(&self) -> String {
            "this".to_owned()
        }

        fn list(&self) -> Result<Vec<Instance>, StoreError> {
            self.0.fetch_add(1, SeqCst);
            Err(StoreError::Unavailable { what: "away".to_owned() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_in_trouble_is_asked_four_times_a_second() {
        let away = Arc::new(Away::default());
        let roll = Roll {
            own_name: "this".to_owned(),
            instances: Some(away.clone()),
            last: Mutex::default(),
        };
        let answer = Fleet(Arc::new(roll)).applied(1, Duration::from_secs(1)).await;
        assert!(answer["unknown"].is_string(), "{answer}");
        let asked = away.0.load(SeqCst);
        assert!((4..=5).contains(&asked), "{asked} times");
    }
}
