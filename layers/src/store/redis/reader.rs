//! The thread that follows Redis: what others commit, what is lost, and whether it is there at all.

use std::{
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    Shared,
    questions::{self, Logged},
    server::Line,
};
use crate::store::{News, StoreError};

/// Between two looks at the head, and two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Every so many beats everything is compared, and the server's settings are asked for.
const WHOLE_EVERY: u64 = 10;
/// Between two beats so many reads that make it compare everything are answered at once; a log that somebody floods is then
/// left alone until the next beat.
const SURPRISES_MAX: u32 = 3;
/// Before the first attempt to reach the server again; doubled each time.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait: a fleet is to agree again two seconds after the server is back, and a hundred gateways that knock twice a
/// second are less work for it than one client.
const WAIT_MAX: Duration = Duration::from_millis(500);

pub(super) fn run(shared: &Shared) {
    let mut line = Line::new(shared.server.clone());
    let mut told = None;
    let mut wait = WAIT_MIN;
    while !is_stopping(shared, Duration::ZERO) {
        let Err(error) = follow(shared, &mut line, &mut told, &mut wait) else { return };
        if told != Some(false) {
            told = Some(false);
            shared.outages.fetch_add(1, Relaxed);
            shared.reached.store(false, Relaxed);
            shared.tell(News::Away { why: error.to_string() });
        }
        // Half of it is chance, so that a fleet doesn't come back all at once.
        if is_stopping(shared, wait.mul_f64(0.5 + fastrand::f64() / 2.0)) {
            return;
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Until it is told to stop, or something fails.
fn follow(
    shared: &Shared,
    line: &mut Line,
    told: &mut Option<bool>,
    wait: &mut Duration,
) -> Result<(), StoreError> {
    shared.reconcile(line)?;
    if *told != Some(true) {
        *told = Some(true);
        shared.reached.store(true, Relaxed);
        shared.tell(News::Reached);
    }
    *wait = WAIT_MIN;
    let mut warnings = None;
    let mut beats = 0;
    let mut next_beat = Instant::now();
    let mut surprises = 0;
    while !is_stopping(shared, Duration::ZERO) {
        shared.write_copies(line);
        if next_beat <= Instant::now() {
            next_beat = Instant::now() + BEAT;
            beat(shared, line, beats, &mut warnings)?;
            beats += 1;
            surprises = 0;
        }
        let known = shared.known().saved.revision;
        let pause = next_beat.saturating_duration_since(Instant::now());
        if surprises == SURPRISES_MAX {
            is_stopping(shared, pause);
            continue;
        }
        if let Some(logged) = questions::read(line, &shared.keys, known, pause)?
            && !take(shared, logged)
        {
            surprises += 1;
            shared.reconcile(line)?;
        }
    }
    Ok(())
}

fn beat(
    shared: &Shared,
    line: &mut Line,
    beats: u64,
    warnings: &mut Option<Vec<String>>,
) -> Result<(), StoreError> {
    let name = &shared.settings.instance;
    questions::beat(line, &shared.keys, name, shared.served.load(Relaxed))?;
    if beats.is_multiple_of(WHOLE_EVERY) {
        let (now, replicas) = line.ask_now(questions::set_up)?;
        shared.replicas.store(replicas, Relaxed);
        // Nothing to say before the first word, and nothing to repeat after it.
        if warnings.as_ref() != Some(&now) && (warnings.is_some() || !now.is_empty()) {
            shared.tell(News::Warnings(now.clone()));
        }
        *warnings = Some(now);
        return shared.reconcile(line);
    }
    let revision = shared.known().saved.revision;
    let (found, clock) = questions::look(line, &shared.keys, revision, false)?;
    *shared.clock() = Some(clock);
    if found.token != shared.known().token() {
        shared.reconcile(line)?;
    }
    Ok(())
}

/// Takes over commits in their order, as long as each follows the one before. Whether they all did.
fn take(shared: &Shared, logged: Vec<Option<Logged>>) -> bool {
    let mut next = shared.known().clone();
    for entry in logged {
        let Some(Logged { revision, mark, before, changed }) = entry else { return false };
        // The writer of this process may be ahead of what its reader hears.
        if mark.life == next.saved.mark.life && revision < next.saved.revision
            || mark == next.saved.mark
        {
            continue;
        }
        if !next.step(mark, revision, &before, changed) {
            return false;
        }
    }
    shared.accept(next, std::collections::BTreeMap::new());
    true
}

/// Waits, unless it is told to stop.
fn is_stopping(shared: &Shared, wait: Duration) -> bool {
    let stopping = shared.stopping.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = shared.stopped.wait_timeout_while(stopping, wait, |stopping| !*stopping);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}
