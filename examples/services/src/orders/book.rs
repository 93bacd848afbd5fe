//! Where orders are kept: SQLite, and in front of it a bounded queue for the time in which writes are off.
//!
//! What is queued is found like what is stored. Every write is a whole order, so writing one twice does no harm; that
//! is what makes flushing simple: write all, then forget what was written.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{info, warn};
use uuid::Uuid;

use super::order::{Notification, Order};
use crate::database::{Database, Limits, Unavailable};

const QUEUE_MAX: usize = 1000;
const LIST_MAX: usize = 100;

pub(super) struct Book {
    database: Database,
    // Held for a few instructions only, never across an await.
    queue: Mutex<VecDeque<Order>>,
    /// Whoever flushes holds this, so that two never drop each other's entries.
    flushing: tokio::sync::Mutex<()>,
    /// Whether mails may be waiting; saves asking the database with every request.
    emails_may_wait: AtomicBool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Persisted {
    Stored,
    Queued,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    QueueFull,
    Database(Unavailable),
}

impl Book {
    pub(super) fn open(data_dir: &Path, limits: Limits) -> Self {
        let database = Database::open(data_dir.join("orders.db"), limits, prepare);
        // An earlier process may have left some, so the first request looks.
        let emails_may_wait = AtomicBool::new(true);
        Book {
            database,
            queue: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            emails_may_wait,
        }
    }

    /// Stores an order, or queues it while writes are off.
    pub(super) async fn write(
        &self,
        order: Order,
        writes_are_on: bool,
    ) -> Result<Persisted, WriteError> {
        if writes_are_on {
            self.store(vec![order]).await.map_err(WriteError::Database)?;
            return Ok(Persisted::Stored);
        }
        let mut queue = self.queue();
        if queue.len() >= QUEUE_MAX {
            return Err(WriteError::QueueFull);
        }
        queue.push_back(order);
        Ok(Persisted::Queued)
    }

    /// Stores what was queued; what can't be stored now stays queued.
    pub(super) async fn flush(&self) {
        if self.queue().is_empty() {
            return;
        }
        let _flushing = self.flushing.lock().await;
        let queued: Vec<Order> = self.queue().iter().cloned().collect();
        let count = queued.len();
        if count == 0 {
            return;
        }
        match self.store(queued).await {
            Ok(()) => {
                self.queue().drain(..count);
                info!(count, "queued writes were stored");
            }
            Err(_) => warn!(count, "queued writes could not be stored yet"),
        }
    }

    pub(super) async fn find(&self, id: Uuid) -> Result<Option<Order>, Unavailable> {
        if let Some(order) = self.queue().iter().rfind(|order| order.order_id == id) {
            return Ok(Some(order.clone()));
        }
        let query = "SELECT body FROM orders WHERE id = ?1";
        let read = move |connection: &mut Connection| {
            connection.query_row(query, [id.to_string()], read_order).optional()
        };
        self.database.run(read).await
    }

    /// The newest orders of one user, or of all.
    pub(super) async fn of_user(&self, user_id: Option<String>) -> Result<Vec<Order>, Unavailable> {
        let query =
            "SELECT body FROM orders WHERE ?1 IS NULL OR user_id = ?1 ORDER BY id DESC LIMIT ?2";
        let wanted = user_id.clone();
        let stored: Vec<Order> = self
            .database
            .run(move |connection| {
                let mut statement = connection.prepare(query)?;
                let rows = statement.query_map(params![wanted, LIST_MAX as i64], read_order)?;
                rows.collect()
            })
            .await?;
        let mut orders: BTreeMap<Uuid, Order> =
            stored.into_iter().map(|order| (order.order_id, order)).collect();
        for order in self
            .queue()
            .iter()
            .filter(|order| user_id.as_ref().is_none_or(|user| *user == order.user_id))
        {
            orders.insert(order.order_id, order.clone());
        }
        // Ids begin with their time, so the last is the newest.
        Ok(orders.into_values().rev().take(LIST_MAX).collect())
    }

    pub(super) async fn report(&self, simplified: bool) -> Result<Value, Unavailable> {
        self.database
            .run(
                move |connection| {
                    if simplified { count(connection) } else { full_report(connection) }
                },
            )
            .await
    }

    /// Marks the mails as sent that waited for their feature.
    pub(super) async fn send_queued_emails(&self) {
        let send = "UPDATE orders SET email = 'sent', body = json_set(body, '$.notifications.email', 'sent')
                    WHERE email = 'queued'";
        if !self.emails_may_wait.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.database.run(move |connection| connection.execute(send, [])).await {
            Ok(0) => {}
            Err(_) => self.emails_may_wait.store(true, Ordering::Relaxed),
            Ok(count) => info!(count, "queued mails were sent"),
        }
    }

    pub(super) fn is_queued(&self, id: Uuid) -> bool {
        self.queue().iter().any(|order| order.order_id == id)
    }

    pub(super) fn queued_count(&self) -> usize {
        self.queue().len()
    }

    pub(super) async fn health(&self) -> &'static str {
        self.database.health().await
    }

    async fn store(&self, orders: Vec<Order>) -> Result<(), Unavailable> {
        let write = "INSERT INTO orders (id, user_id, status, total_amount, email, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (id) DO UPDATE SET status = excluded.status, email = excluded.email, body = excluded.body";
        let leaves_email =
            orders.iter().any(|order| order.notifications.email == Notification::Queued);
        let stored = self
            .database
            .run(move |connection| {
                let transaction = connection.transaction()?;
                for order in orders {
                    let (id, body) = (order.order_id.to_string(), json!(order));
                    let (status, email) =
                        (body["status"].as_str(), body["notifications"]["email"].as_str());
                    let row = params![
                        id,
                        order.user_id,
                        status,
                        order.total_amount,
                        email,
                        body.to_string()
                    ];
                    transaction.execute(write, row)?;
                }
                transaction.commit()
            })
            .await;
        // Only after the row is there, so that whoever sees the mark finds the mail.
        self.emails_may_wait.fetch_or(leaves_email, Ordering::Relaxed);
        stored
    }

    /// The queue is whole between any two calls on it, so a poisoned lock is still good.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS orders (
             id TEXT PRIMARY KEY, user_id TEXT NOT NULL, status TEXT NOT NULL, total_amount REAL NOT NULL,
             email TEXT NOT NULL, body TEXT NOT NULL
         ) STRICT;
         CREATE INDEX IF NOT EXISTS orders_of_user ON orders (user_id, id);
         CREATE INDEX IF NOT EXISTS orders_with_queued_email ON orders (email) WHERE email = 'queued';",
    )
}

fn read_order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let body: String = row.get(0)?;
    serde_json::from_str(&body).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn count(connection: &mut Connection) -> rusqlite::Result<Value> {
    let orders: i64 = connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    Ok(json!({ "orders": orders }))
}

/// The expensive one: it opens every order and counts every item in it.
fn full_report(connection: &mut Connection) -> rusqlite::Result<Value> {
    let mut report = count(connection)?;
    report["revenue"] = connection.query_row(
        "SELECT coalesce(sum(total_amount), 0.0) FROM orders WHERE status = 'confirmed'",
        [],
        |row| Ok(json!(row.get::<_, f64>(0)?)),
    )?;
    report["orders_by_status"] =
        grouped(connection, "SELECT status, count(*) FROM orders GROUP BY status")?;
    report["top_products"] = grouped(
        connection,
        "SELECT json_extract(item.value, '$.product_id'), sum(json_extract(item.value, '$.quantity')) AS quantity
         FROM orders, json_each(orders.body, '$.items') AS item GROUP BY 1 ORDER BY quantity DESC, 1 LIMIT 5",
    )?;
    Ok(report)
}

fn grouped(connection: &Connection, query: &str) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare(query)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, json!(row.get::<_, i64>(1)?))))?;
    Ok(Value::Object(rows.collect::<rusqlite::Result<_>>()?))
}
