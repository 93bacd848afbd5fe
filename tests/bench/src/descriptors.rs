//! Room for many connections: the soft limit on open files is raised to the hard one, here and so in every child.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) fn allow(count: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < count) {
        return Err(format!(
            "{count} open files are needed, the machine allows {:?} (ulimit -Hn)",
            limit.maximum
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|fault| format!("the limit on open files can't be raised: {fault}"))
}
