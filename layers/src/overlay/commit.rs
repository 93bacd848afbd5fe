//! The steps of a commit in their order, with the store in between. The overlay is locked for a step, never for the store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Overlay, Proposal, States};
use crate::store::{Store, StoreError};

/// How often something is proposed anew because somebody else was quicker. Each time one of them has got through, so only a
/// fleet that flips without a pause gets here.
const RACES_MAX: usize = 32;

/// The overlay, for a few additions.
pub fn locked(overlay: &Mutex<Overlay>) -> MutexGuard<'_, Overlay> {
    overlay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gets what is proposed kept, on top of whatever others make meanwhile, of which `heard` is told. Answers whether there was
/// anything to keep.
///
/// # Errors
/// If nothing may be proposed, or the store can't keep it. What is pending still is.
pub fn commit<E: From<StoreError>>(
    overlay: &Mutex<Overlay>,
    store: &mut dyn Store,
    mut propose: impl FnMut(&Overlay) -> Result<Option<Proposal>, E>,
    mut heard: impl FnMut(States),
) -> Result<bool, E> {
    for _ in 0..RACES_MAX {
        let proposed = propose(&locked(overlay))?;
        let Some(proposal) = proposed else { return Ok(false) };
        match store.save(proposal.over, &proposal.saved) {
            Ok(()) => {
                locked(overlay).kept(proposal);
                tell_what_is_served(overlay, store);
                return Ok(true);
            }
            Err(StoreError::Moved { newest }) if newest.revision > proposal.over => {
                let changed = locked(overlay).adopt(&newest);
                tell_what_is_served(overlay, store);
                heard(changed);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable { what: "it changes too fast".to_owned() }.into())
}

/// Gets what is pending kept.
///
/// # Errors
/// If the store can't keep it.
pub fn keep(
    overlay: &Mutex<Overlay>,
    store: &mut dyn Store,
    heard: impl FnMut(States),
) -> Result<bool, StoreError> {
    commit(overlay, store, |overlay| Ok(overlay.proposal()), heard)
}

/// Writes the audit in order, as far as the store takes it.
///
/// # Errors
/// If it doesn't take all.
pub fn write_audit(overlay: &Mutex<Overlay>, store: &mut dyn Store) -> Result<(), StoreError> {
    let mut entries = locked(overlay).backlog.take();
    while let Some(entry) = entries.front() {
        if let Err(error) = store.append_audit(entry) {
            locked(overlay).backlog.put_back(entries);
            return Err(error);
        }
        entries.pop_front();
    }
    Ok(())
}

fn tell_what_is_served(overlay: &Mutex<Overlay>, store: &mut dyn Store) {
    let revision = locked(overlay).revision();
    store.serves(revision);
}
