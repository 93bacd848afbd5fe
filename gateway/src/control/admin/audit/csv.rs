//! The audit as a table for a spreadsheet (RFC 4180).
//!
//! A cell that begins like a formula would be run as one by the program that opens it, and the texts are those of callers: it
//! gets an apostrophe in front.

use portcullis::store::AuditEntry;
use portcullis::switchboard::feature::State;

use crate::control::moment::rfc3339;

const HEAD: &str =
    "at,revision,action,feature,actor,source,reason,before,after,expires_at,request_id\r\n";

pub(super) fn table<'e>(entries: impl Iterator<Item = &'e AuditEntry>) -> String {
    let mut table = HEAD.to_owned();
    for entry in entries {
        let cells = cells(entry).map(|text| cell(&text));
        table += &cells.join(",");
        table += "\r\n";
    }
    table
}

fn cells(entry: &AuditEntry) -> [String; 11] {
    let (before, after, expires_at) = match &entry.breaker {
        Some(order) => (order.before.clone(), order.after.clone(), order.expires_at),
        None => (
            entry.before.as_ref().map(word).unwrap_or_default().to_owned(),
            word(&entry.after).to_owned(),
            entry.after.expires_at,
        ),
    };
    [
        rfc3339(entry.at).unwrap_or_default(),
        entry.revision.to_string(),
        entry.action.clone(),
        entry.feature.clone(),
        entry.actor.clone(),
        entry.source.as_str().to_owned(),
        entry.reason.clone(),
        before,
        after,
        expires_at.and_then(rfc3339).unwrap_or_default(),
        entry.request_id.clone().unwrap_or_default(),
    ]
}

const fn word(state: &State) -> &'static str {
    if state.enabled { "on" } else { "off" }
}

fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_a_cell_and_is_never_a_formula() {
        assert_eq!(cell("plain, with \"quotes\""), "\"plain, with \"\"quotes\"\"\"");
        assert_eq!(cell("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        for sign in ["+1", "-1", "@x", "\tx"] {
            assert!(cell(sign).starts_with("\"'"), "{sign:?}");
        }
    }

    #[test]
    fn a_row_has_as_many_cells_as_the_head() {
        let entry = super::super::tests::entry(1_000, "a", "ada");
        let table = table([&entry].into_iter());
        let mut rows = table.lines();
        let cells = |row: &str| row.split(',').count();
        assert_eq!(rows.next().map(cells), rows.next().map(cells));
    }
}
