//! What the processes of a candidate used: processor time and memory, from `/proc`, over the whole tree below one process.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) user_micros: f64,
    pub(crate) system_micros: f64,
}

impl Used {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_micros: self.user_micros - earlier.user_micros,
            system_micros: self.system_micros - earlier.system_micros,
        }
    }
}

/// In KiB. What is shared between processes is counted once in `proportional` and each time in `resident`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
}

/// Time of all threads so far. The kernel counts in ticks, of which one is nothing beside a measurement of seconds.
pub(crate) fn time(root: u32) -> Used {
    let stats = tree(root).into_iter().filter_map(|process| times(&stat(process)?));
    stats.fold(Used::default(), |sum, (user, system)| Used {
        user_micros: sum.user_micros + user * *TICK_MICROS,
        system_micros: sum.system_micros + system * *TICK_MICROS,
    })
}

pub(crate) fn memory(root: u32) -> Memory {
    let of = |process: u32, file: &str, key: &str| {
        kibibytes(&fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default(), key)
    };
    tree(root).into_iter().fold(Memory::default(), |sum, process| Memory {
        resident: sum.resident + of(process, "status", "VmRSS:"),
        proportional: sum.proportional + of(process, "smaps_rollup", "Pss:"),
    })
}

static TICK_MICROS: LazyLock<f64> = LazyLock::new(|| {
    let output = Command::new("getconf").arg("CLK_TCK").output().ok();
    let per_second = output
        .and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().ok());
    1_000_000.0 / per_second.unwrap_or(100.0)
});

fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> =
        all.filter_map(|process| Some((process, parent(&stat(process)?)?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(
            parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| *child),
        );
        next += 1;
    }
    found
}

/// What follows the name, which stands in brackets and may hold anything: state, parent, …
fn stat(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.to_owned())
}

fn parent(after_name: &str) -> Option<u32> {
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn times(after_name: &str) -> Option<(f64, f64)> {
    let mut fields = after_name.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_with_spaces_and_brackets() {
        let line = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 150 250 5 6 20 0 1 0 999 0";
        let after = line.rsplit_once(')').unwrap().1;
        assert_eq!(parent(after), Some(3));
        assert_eq!(times(after), Some((150.0, 250.0)));
    }

    #[test]
    fn our_own_process_uses_memory() {
        let memory = memory(std::process::id());
        assert!(memory.resident > 0 && memory.proportional > 0);
    }
}
