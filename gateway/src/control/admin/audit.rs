//! `/admin/audit`: who did what, when and why, the newest last; as a page of JSON, or as a whole for other programs.
//!
//! A page that is not the last has `next`, a cursor: asked with it, the API answers with what came before.

mod csv;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use portcullis::store::{AuditEntry, Ordered};
use portcullis::switchboard::UnixMillis;
use portcullis::switchboard::feature::State as Switch;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::problem::Problem;
use crate::control::moment::rfc3339;

const LIMIT_DEFAULT: usize = 100;
/// Entries of a page.
const LIMIT_MAX: usize = 1_000;
/// The newest entries, which are all that is searched, and that an export may have. They are read on the writer's thread,
/// where a flip waits meanwhile. The file of the store has all.
const SEARCHED_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// Only of this feature, or of `breaker:NAME`.
    feature: Option<String>,
    /// Only by those whose name has this in it.
    actor: Option<String>,
    /// Only what came this way: `api`, `cli`, `auto`, …
    source: Option<String>,
    /// Not before this moment (RFC 3339).
    since: Option<String>,
    /// Before this moment (RFC 3339).
    until: Option<String>,
    /// Entries at most: 1 to 1,000, by default 100; of an export 10,000, which is the default there.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// `json` (a page), `jsonl` (one entry per line) or `csv`.
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Page,
    Lines,
    Csv,
}

/// What is looked for.
#[derive(Debug)]
struct Search {
    feature: Option<String>,
    actor: Option<String>,
    source: Option<String>,
    since: Option<UnixMillis>,
    until: Option<UnixMillis>,
    after: Option<Cursor>,
    limit: usize,
    format: Format,
}

/// The place of an entry: its moment, and which it is of those at the same one, counted from the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    at: UnixMillis,
    nth: usize,
}

/// Entries, the oldest of them first, and where to go on.
#[derive(Debug, PartialEq, Eq)]
struct Found<'e> {
    entries: Vec<&'e AuditEntry>,
    next: Option<Cursor>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let search = Search::of(asked)?;
    let read = read(&admin, search.reads()).await?;
    let found = search.find(&read)?;
    let entries = found.entries.iter().copied();
    Ok(match search.format {
        Format::Page => Json(json!({
            "entries": entries.map(shown).collect::<Vec<_>>(),
            "next": found.next.map(Cursor::word),
        }))
        .into_response(),
        Format::Lines => {
            let lines: String = entries.map(|entry| format!("{}\n", shown(entry))).collect();
            exported("application/x-ndjson", "audit.jsonl", lines)
        }
        Format::Csv => exported("text/csv; charset=utf-8", "audit.csv", csv::table(entries)),
    })
}

/// The newest entries. Of searches there is one at a time, so that readers never queue up before a flip; and it has its turn
/// until the writer is done with it, even if its caller hangs up.
async fn read(admin: &Admin, last: usize) -> Result<Vec<AuditEntry>, Problem> {
    if last <= LIMIT_MAX + 1 {
        return Ok(admin.writer.audit(last).await?);
    }
    let turn = admin.searching.clone().try_acquire_owned().map_err(|_| {
        let detail = "the audit is being searched for somebody else";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .retry_after(Duration::from_secs(1))
    })?;
    let writer = admin.writer.clone();
    let reading = tokio::spawn(async move {
        let read = writer.audit(last).await;
        drop(turn);
        read
    });
    Ok(reading.await.map_err(|_| Problem::failed())??)
}

fn exported(kind: &'static str, file: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{file}\"");
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition)], text).into_response()
}

impl Search {
    fn of(asked: Asked) -> Result<Self, Problem> {
        let format = match asked.format.as_deref() {
            None | Some("json") => Format::Page,
            Some("jsonl") => Format::Lines,
            Some("csv") => Format::Csv,
            Some(other) => {
                return Err(Problem::bad_request(format_args!(
                    "`format` is json, jsonl or csv, not {other:?}"
                )));
            }
        };
        let (usual, most) = match format {
            Format::Page => (LIMIT_DEFAULT, LIMIT_MAX),
            Format::Lines | Format::Csv => (SEARCHED_MAX, SEARCHED_MAX),
        };
        let limit = asked.limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(Problem::bad_request(format_args!(
                "`limit` must be from 1 to {most}, not {limit}"
            )));
        }
        Ok(Self {
            feature: asked.feature,
            actor: asked.actor,
            source: asked.source,
            since: moment("since", asked.since.as_deref())?,
            until: moment("until", asked.until.as_deref())?,
            after: asked.cursor.as_deref().map(Cursor::read).transpose()?,
            limit,
            format,
        })
    }

    /// How many entries have to be read to find what is looked for.
    fn reads(&self) -> usize {
        let plain = self.feature.is_none()
            && self.actor.is_none()
            && self.source.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.after.is_none();
        // One more, to know whether there is more.
        if plain { (self.limit + 1).min(SEARCHED_MAX) } else { SEARCHED_MAX }
    }

    /// What of the entries, the oldest of which comes first, is meant.
    fn find<'e>(&self, entries: &'e [AuditEntry]) -> Result<Found<'e>, Problem> {
        let from = match self.after {
            None => entries.len(),
            Some(cursor) => cursor.place(entries).ok_or_else(|| {
                Problem::bad_request("`cursor` is of no entry that is still searched")
            })?,
        };
        let mut meant =
            entries[..from].iter().enumerate().rev().filter(|(_, entry)| self.means(entry));
        let mut page: Vec<(usize, &AuditEntry)> = meant.by_ref().take(self.limit).collect();
        let more = meant.next().is_some();
        page.reverse();
        let next = page.first().filter(|_| more).map(|(index, _)| Cursor::of(entries, *index));
        Ok(Found { entries: page.into_iter().map(|(_, entry)| entry).collect(), next })
    }

    fn means(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, word: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == word)
        };
        is(&self.feature, &entry.feature)
            && is(&self.source, entry.source.as_str())
            && self.actor.as_deref().is_none_or(|actor| entry.actor.contains(actor))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

impl Cursor {
    fn of(entries: &[AuditEntry], index: usize) -> Self {
        let at = entries[index].at;
        Self { at, nth: entries[index..].iter().filter(|entry| entry.at == at).count() }
    }

    /// The index of its entry: what comes before that one hasn't been given yet.
    fn place(self, entries: &[AuditEntry]) -> Option<usize> {
        let same = entries.iter().enumerate().rev().filter(|(_, entry)| entry.at == self.at);
        same.map(|(index, _)| index).nth(self.nth.checked_sub(1)?)
    }

    fn word(self) -> String {
        format!("{}-{}", self.at.0, self.nth)
    }

    fn read(word: &str) -> Result<Self, Problem> {
        let read = || {
            let (at, nth) = word.split_once('-')?;
            Some(Self { at: UnixMillis(at.parse().ok()?), nth: nth.parse().ok()? })
        };
        read().ok_or_else(|| Problem::bad_request("`cursor` must be the `next` of a page"))
    }
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<UnixMillis>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let moment: Option<jiff::Timestamp> = text.parse().ok();
    let millis = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    millis.map(|millis| Some(UnixMillis(millis))).ok_or_else(|| {
        Problem::bad_request(format_args!(
            "`{name}` must be a moment such as 2026-11-20T15:04:05Z, not {text:?}"
        ))
    })
}

fn shown(entry: &AuditEntry) -> Value {
    let mut shown = json!({
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "feature": entry.feature,
        "reason": entry.reason,
        "source": entry.source.as_str(),
        "before": entry.before.as_ref().map(state),
        "after": state(&entry.after),
        "revision": entry.revision,
        "request_id": entry.request_id,
    });
    if let Some(Ordered { before, after, expires_at }) = &entry.breaker {
        shown["before"] = json!({ "state": before });
        shown["after"] = json!({ "state": after, "expires_at": expires_at.and_then(rfc3339) });
        shown["breaker"] = json!(entry.feature.strip_prefix("breaker:"));
    }
    shown
}

fn state(state: &Switch) -> Value {
    json!({
        "enabled": state.enabled,
        "reason": state.reason,
        "updated_by": state.updated_by,
        "updated_at": state.updated_at.and_then(rfc3339),
        "expires_at": state.expires_at.and_then(rfc3339),
        "source": state.source.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use portcullis::switchboard::feature::Source;
    use proptest::prelude::*;

    use super::*;

    pub(super) fn entry(at: u64, feature: &str, actor: &str) -> AuditEntry {
        AuditEntry {
            at: UnixMillis(at),
            actor: actor.to_owned(),
            action: "kill".to_owned(),
            feature: feature.to_owned(),
            reason: "r".to_owned(),
            source: Source::Api,
            before: None,
            after: Switch::default(),
            revision: at,
            request_id: None,
            breaker: None,
        }
    }

    fn search(asked: Asked) -> Search {
        Search::of(asked).unwrap()
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_criterion_narrows_the_search() {
        let entries =
            [entry(1_000, "a", "ada"), entry(2_000, "b", "bob (ada)"), entry(3_000, "a", "auto")];
        let found = |asked: Asked| -> Vec<u64> {
            let search = search(asked);
            let found = search.find(&entries).unwrap();
            found.entries.iter().map(|entry| entry.at.0 / 1_000).collect()
        };
        assert_eq!(found(Asked::default()), [1, 2, 3]);
        assert_eq!(found(Asked { feature: text("a"), ..Asked::default() }), [1, 3]);
        assert_eq!(found(Asked { actor: text("ada"), ..Asked::default() }), [1, 2]);
        assert!(found(Asked { source: text("cli"), ..Asked::default() }).is_empty());
        let since = text("1970-01-01T00:00:02Z");
        assert_eq!(found(Asked { since: since.clone(), ..Asked::default() }), [2, 3]);
        assert_eq!(found(Asked { until: since, ..Asked::default() }), [1]);
        assert_eq!(found(Asked { limit: Some(2), ..Asked::default() }), [2, 3], "the newest");
    }

    #[test]
    fn an_unclear_search_is_refused() {
        let refused = |asked: Asked| Search::of(asked).is_err();
        assert!(refused(Asked { since: text("yesterday"), ..Asked::default() }));
        assert!(refused(Asked { cursor: text("7"), ..Asked::default() }));
        assert!(refused(Asked { format: text("xml"), ..Asked::default() }));
        assert!(refused(Asked { limit: Some(1_001), ..Asked::default() }));
        assert!(!refused(Asked { limit: Some(1_001), format: text("csv"), ..Asked::default() }));
        let unknown = search(Asked { cursor: text("7-1"), ..Asked::default() });
        assert!(unknown.find(&[entry(1, "a", "ada")]).is_err());
    }

    proptest! {
        #[test]
        fn pages_give_each_entry_once_even_at_one_moment_and_while_more_come(
            moments in proptest::collection::vec(0_u64..5, 0..40),
            limit in 1_usize..7,
        ) {
            let mut entries: Vec<_> =
                moments.iter().zip(0..).map(|(at, n)| AuditEntry { revision: n, ..entry(*at, "a", "ada") }).collect();
            let (mut given, mut cursor) = (Vec::new(), None);
            loop {
                let search = search(Asked { limit: Some(limit), cursor, ..Asked::default() });
                let found = search.find(&entries).unwrap();
                let page: Vec<u64> = found.entries.iter().map(|entry| entry.revision).collect();
                given.splice(0..0, page);
                cursor = found.next.map(Cursor::word);
                if cursor.is_none() {
                    break;
                }
                entries.push(AuditEntry { revision: 1_000, ..entry(9, "a", "ada") });
            }
            prop_assert_eq!(given, (0..moments.len() as u64).collect::<Vec<_>>());
        }
    }
}
