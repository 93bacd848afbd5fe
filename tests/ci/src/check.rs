//! What every check of text has in common: it gathers faults, each with its place, and ends with one line.

use crate::step::End;

/// One thing that is wrong, as `place: what, and what to do`.
pub(crate) type Fault = String;

/// Prints the faults and makes the closing line.
pub(crate) fn conclude(looked_at: &str, faults: &[Fault]) -> End {
    faults.iter().for_each(|fault| println!("{fault}"));
    match faults.len() {
        0 => End::Passed(format!("{looked_at}, nothing found")),
        1 => End::Failed(format!("{looked_at}, 1 fault")),
        count => End::Failed(format!("{looked_at}, {count} faults")),
    }
}

/// The rows of a data file: cells between `|`, without comments and empty lines.
pub(crate) fn rows(data: &'static str) -> Vec<Vec<&'static str>> {
    let lines =
        data.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('|').map(str::trim).collect()).collect()
}
