//! What a process holds of the machine, as the kernel counts it.

use std::fs;

/// The memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it has now.
    pub resident: u64,
    /// The most it had, since its start or since [`forget_peak`](crate::Gateway::forget_peak).
    pub peak: u64,
}

pub(crate) fn of(process: u32) -> Memory {
    let status =
        fs::read_to_string(format!("/proc/{process}/status")).expect("the process is running");
    Memory { resident: kibibytes(&status, "VmRSS:"), peak: kibibytes(&status, "VmHWM:") }
}

/// From now on the peak is that of what follows.
pub(crate) fn forget_peak(process: u32) {
    // "5" is the kernel's word for it. Where it may not be written, the peak is that of the whole life, which can only be more.
    let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
}

/// Files and sockets that it has open.
pub(crate) fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("the process is running").count()
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("every process has a resident size")
}
