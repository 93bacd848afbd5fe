//! How large a test is: the short form that every run of the suite has time for, or the long one that `cargo ci --full` asks
//! for. And the room that a large one needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// `long` where the long forms were asked for, else `short`.
pub fn in_full<T>(long: T, short: T) -> T {
    let full = std::env::var_os("PORTCULLIS_FULL").is_some_and(|full| full == "1");
    if full { long } else { short }
}

/// Allows this process, and each that it starts from now on, this many open files and sockets.
pub fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return;
    }
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= count),
        "this test opens {count} files and sockets, the machine allows {:?} (ulimit -Hn)",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })
        .expect("the soft limit may be raised to the hard one");
}
