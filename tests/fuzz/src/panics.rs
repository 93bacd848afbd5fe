//! Hears of every panic, on whichever thread and whoever contains it: the gateway would make a 500 of it and go on.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

static HEARD: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics are kept instead of printed.
pub(crate) fn listen() {
    panic::set_hook(Box::new(|info| {
        heard().get_or_insert_with(|| info.to_string().replace('\n', " "));
    }));
}

fn heard() -> std::sync::MutexGuard<'static, Option<String>> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work`; a panic on its way, contained or not, is why it failed.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    heard().take();
    // What panicked is not looked at again: a target makes anew what it hands its inputs to.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    match (heard().take(), result) {
        (Some(panic), _) => Err(panic),
        (None, Ok(result)) => result,
        (None, Err(_)) => Err("a panic that nobody heard".to_owned()),
    }
}
