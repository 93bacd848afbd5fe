//! Notices an input that takes for ever: it is written down, and the process ends, because a thread that spins can't be stopped.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Far more than any input takes, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is being tried, and since when.
type Trial = Option<(Instant, &'static str, Vec<u8>)>;

/// Watches the trials of one campaign.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Trial>>);

impl Watchdog {
    /// A watchdog that hands an input which takes too long to `tell`.
    pub(crate) fn start(tell: fn(&str, &[u8]) -> PathBuf) -> Self {
        let watchdog = Self::default();
        let trial = watchdog.0.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1));
                let trial = trial.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((since, target, input)) = &*trial
                    && since.elapsed() > PATIENCE
                {
                    let file = tell(target, input);
                    println!("{target}: FAILED, an input takes more than {PATIENCE:?}");
                    println!("  cargo fuzz-gateway --replay {target} {}", file.display());
                    std::process::exit(1);
                }
            }
        });
        watchdog
    }

    /// Watches `work` on this input.
    pub(crate) fn watch<T>(
        &self,
        target: &'static str,
        input: &[u8],
        work: impl FnOnce() -> T,
    ) -> T {
        self.set(Some((Instant::now(), target, input.to_vec())));
        let done = work();
        self.set(None);
        done
    }

    fn set(&self, trial: Trial) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trial;
    }
}
