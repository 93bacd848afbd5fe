//! One measurement: start the candidate, see that it answers rightly, warm it up, load it, and account for what it used.

use crate::accounting::{self, Memory};
use crate::candidates::Candidate;
use crate::load::{Load, Sending};
use crate::options::Options;
use crate::probe;
use crate::process::{PROXY_CORE, Running};
use crate::workplace::Workplace;
use std::thread;
use std::time::Duration;

const WARM_UP_SECONDS: u64 = 1;
/// How long before the end of the load the memory is read, while all connections are still open.
const BEFORE_THE_END: Duration = Duration::from_millis(400);

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Per request.
    pub(crate) user_micros: f64,
    pub(crate) system_micros: f64,
    pub(crate) memory: Memory,
    pub(crate) load: Load,
}

pub(crate) fn run(
    candidate: &Candidate,
    place: &Workplace,
    options: &Options,
) -> Result<Measured, String> {
    let mut running = Running::start(candidate, place, PROXY_CORE)?;
    probe::until_it_answers(&mut running, candidate)?;
    let url = format!("http://127.0.0.1:{}{}", candidate.port, candidate.path);
    Sending::start(&url, WARM_UP_SECONDS, options, place)?.finish()?;
    let before = accounting::time(running.id());
    let seconds = options.seconds.get();
    let sending = Sending::start(&url, seconds, options, place)?;
    thread::sleep(Duration::from_secs(seconds).saturating_sub(BEFORE_THE_END));
    let memory = accounting::memory(running.id());
    let load = sending.finish()?;
    let used = accounting::time(running.id()).since(before);
    let requests = load.requests;
    Ok(Measured {
        user_micros: used.user_micros / requests,
        system_micros: used.system_micros / requests,
        memory,
        load,
    })
}
