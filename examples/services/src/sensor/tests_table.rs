//! The tests and their events in SQLite. A result and its event are stored in one transaction, so that there is never
//! one without the other.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::OwnedPermit;
use uuid::Uuid;

use super::kind::{Kind, Reading};
use crate::database::{Database, Limits, Unavailable};

/// A handle; clones share the database.
#[derive(Clone)]
pub(super) struct TestsTable(Database);

/// A test as it comes in.
pub(super) struct NewTest {
    pub(super) id: Uuid,
    pub(super) kind: &'static Kind,
    pub(super) subject: Option<String>,
    pub(super) auth_mode: Option<String>,
    pub(super) traceparent: Option<String>,
}

/// A test that waits to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) kind: &'static Kind,
}

/// A test as it is looked up.
#[derive(Debug, Serialize)]
pub(super) struct Test {
    test_id: String,
    sensor: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_mode: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
}

/// An event that kafka-producer doesn't have yet.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) test_id: String,
    pub(super) body: String,
    pub(super) traceparent: Option<String>,
}

impl TestsTable {
    pub(super) fn open(data_dir: &Path, limits: Limits) -> Self {
        TestsTable(Database::open(data_dir.join("sensor.db"), limits, prepare))
    }

    /// Stores a test and, in the same uninterrupted step, gives it its place among those to be measured: a caller that
    /// goes away can't leave a test that nobody measures.
    pub(super) async fn insert(
        &self,
        test: NewTest,
        place: OwnedPermit<Job>,
    ) -> Result<(), Unavailable> {
        let insert = "INSERT INTO tests (id, sensor, subject, auth_mode, traceparent, created_at)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.0
            .run(move |connection| {
                let now = Timestamp::now().to_string();
                let (id, sensor) = (test.id.to_string(), test.kind.name);
                connection.execute(
                    insert,
                    params![id, sensor, test.subject, test.auth_mode, test.traceparent, now],
                )?;
                place.send(Job { id: test.id, kind: test.kind });
                Ok(())
            })
            .await
    }

    pub(super) async fn find(&self, id: Uuid) -> Result<Option<Test>, Unavailable> {
        let query = "SELECT id, sensor, result, subject, auth_mode, created_at, completed_at FROM tests WHERE id = ?1";
        self.0
            .run(move |connection| {
                connection.query_row(query, [id.to_string()], read_test).optional()
            })
            .await
    }

    /// The oldest tests that were accepted and never measured.
    pub(super) async fn unmeasured(&self, count_max: usize) -> Result<Vec<Job>, Unavailable> {
        let query =
            "SELECT id, sensor FROM tests WHERE result IS NULL ORDER BY created_at LIMIT ?1";
        let rows = self.0.run(move |connection| {
            let mut statement = connection.prepare(query)?;
            let rows =
                statement.query_map([count_max as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        });
        let job = |(id, sensor): (String, String)| {
            Some(Job { id: Uuid::parse_str(&id).ok()?, kind: Kind::named(&sensor)? })
        };
        Ok(rows.await?.into_iter().filter_map(job).collect())
    }

    /// Stores a result together with the event that tells of it. A test that has its result keeps it.
    pub(super) async fn complete(&self, job: Job, reading: Reading) -> Result<(), Unavailable> {
        self.0
            .run(move |connection| {
                let (id, now) = (job.id.to_string(), Timestamp::now().to_string());
                let result = json!(reading);
                let event = json!({
                    "type": "sensor.test.completed", "test_id": id, "sensor": job.kind.name, "result": result,
                    "completed_at": now,
                });
                let transaction = connection.transaction()?;
                let completed = transaction.execute(
                    "UPDATE tests SET result = ?2, completed_at = ?3 WHERE id = ?1 AND result IS NULL",
                    [&id, &result.to_string(), &now],
                )?;
                if completed == 1 {
                    transaction.execute(
                        "INSERT INTO unsent (test_id, body) VALUES (?1, ?2)",
                        [&id, &event.to_string()],
                    )?;
                }
                transaction.commit()
            })
            .await
    }

    /// At most `count_max` events to send: those that failed least often first, so that one that never works can't hold up the rest.
    pub(super) async fn unsent(&self, count_max: u32) -> Result<Vec<Unsent>, Unavailable> {
        let query = "SELECT unsent.test_id, unsent.body, tests.traceparent FROM unsent
                     JOIN tests ON tests.id = unsent.test_id ORDER BY unsent.failures, unsent.position LIMIT ?1";
        self.0
            .run(move |connection| {
                let mut statement = connection.prepare(query)?;
                let rows = statement.query_map([count_max], |row| {
                    Ok(Unsent { test_id: row.get(0)?, body: row.get(1)?, traceparent: row.get(2)? })
                })?;
                rows.collect()
            })
            .await
    }

    /// Forgets the events that were sent and counts a failure for those that were not.
    pub(super) async fn note(&self, tried: Vec<(String, bool)>) -> Result<(), Unavailable> {
        self.0
            .run(move |connection| {
                let transaction = connection.transaction()?;
                for (test_id, sent) in tried {
                    let note = match sent {
                        true => "DELETE FROM unsent WHERE test_id = ?1",
                        false => "UPDATE unsent SET failures = failures + 1 WHERE test_id = ?1",
                    };
                    transaction.execute(note, [test_id])?;
                }
                transaction.commit()
            })
            .await
    }

    pub(super) async fn unsent_count(&self) -> Result<u32, Unavailable> {
        self.0
            .run(|connection| {
                connection.query_row("SELECT count(*) FROM unsent", [], |row| row.get(0))
            })
            .await
    }

    pub(super) async fn health(&self) -> &'static str {
        self.0.health().await
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS tests (
             id TEXT PRIMARY KEY, sensor TEXT NOT NULL, result TEXT, subject TEXT, auth_mode TEXT, traceparent TEXT,
             created_at TEXT NOT NULL, completed_at TEXT
         ) STRICT;
         CREATE INDEX IF NOT EXISTS unmeasured ON tests (created_at) WHERE result IS NULL;
         CREATE TABLE IF NOT EXISTS unsent (
             position INTEGER PRIMARY KEY, test_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
             failures INTEGER NOT NULL DEFAULT 0
         ) STRICT;",
    )
}

fn read_test(row: &Row<'_>) -> rusqlite::Result<Test> {
    let result: Option<String> = row.get(2)?;
    Ok(Test {
        test_id: row.get(0)?,
        sensor: row.get(1)?,
        status: if result.is_some() { "completed" } else { "processing" },
        result: result.and_then(|text| serde_json::from_str(&text).ok()),
        requested_by: row.get(3)?,
        auth_mode: row.get(4)?,
        created_at: row.get(5)?,
        completed_at: row.get(6)?,
    })
}
