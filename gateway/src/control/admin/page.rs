//! `/`: the state of the gate on one page, for whoever has only a browser. Real data, no scripts, nothing loaded from anywhere.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse};
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use portcullis::switchboard::feature::State as Switch;
use serde_json::Value;

use super::Admin;
use crate::control::breakers;
use crate::control::moment::rfc3339;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;\
background:#fff}table{border-collapse:collapse;width:100%;margin:0 0 2rem}th,td{text-align:left;padding:.35rem .75rem;\
border-bottom:1px solid #ddd;vertical-align:top}th{font-weight:600}.off{background:#fdecea}code{font-size:.95em}";

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers = [
        (CONTENT_SECURITY_POLICY, policy),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(render(&admin)))
}

fn render(admin: &Admin) -> String {
    let (_, report) = admin.health.report();
    let mut page = String::with_capacity(8 << 10);
    put(
        &mut page,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Portcullis</title>"
        ),
    );
    put(
        &mut page,
        format_args!(
            "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>"
        ),
    );
    put(&mut page, format_args!("<h1>Portcullis: {}</h1>", word(&report["status"])));
    let (revision, store) = (&report["revision"], &report["store"]);
    put(
        &mut page,
        format_args!(
            "<p>Revision {revision}, store {} ({}).</p>",
            word(&store["kind"]),
            word(&store["status"])
        ),
    );
    killswitches(&mut page, admin);
    let all = breakers::all_with_orders(&admin.breakers, &serde_json::Map::new());
    breaker_table(&mut page, &all);
    dependencies(&mut page, &report["dependencies"]);
    put(
        &mut page,
        format_args!(
            "<p>As JSON: <code>/admin/killswitches</code>, <code>/health</code>, <code>/metrics</code>.</p>"
        ),
    );
    page.push_str("</body></html>");
    page
}

fn killswitches(page: &mut String, admin: &Admin) {
    let view = admin.subscriber.pin();
    page.push_str(
        "<h2>Killswitches</h2><table><tr><th>Feature<th>State<th>Why<th>Who<th>Since<th>Until</tr>",
    );
    for (_, feature, state) in view.features() {
        let Switch { enabled, reason, updated_by, updated_at, expires_at, .. } = state;
        let (class, on) = if *enabled { ("on", "on") } else { ("off", "OFF") };
        let since = updated_at.and_then(rfc3339).unwrap_or_default();
        let until = expires_at.and_then(rfc3339).unwrap_or_default();
        put(page, format_args!("<tr class={class}><td><code>{}</code>", Escaped(&feature.name)));
        put(
            page,
            format_args!(
                "<td>{on}<td>{}<td>{}<td>{since}<td>{until}</tr>",
                Escaped(reason),
                Escaped(updated_by)
            ),
        );
    }
    page.push_str("</table>");
}

fn breaker_table(page: &mut String, breakers: &serde_json::Map<String, Value>) {
    page.push_str(
        "<h2>Circuit breakers</h2><table><tr><th>Name<th>State<th>Failures<th>Since<th>Why</tr>",
    );
    for (name, breaker) in breakers {
        let class = if breaker["state"] == "closed" { "on" } else { "off" };
        put(
            page,
            format_args!(
                "<tr class={class}><td><code>{}</code><td>{}",
                Escaped(name),
                word(&breaker["state"])
            ),
        );
        let (failures, since, why) =
            (&breaker["failure_count"], word(&breaker["since"]), word(&breaker["why"]));
        put(page, format_args!("<td>{failures}<td>{since}<td>{why}</tr>"));
    }
    page.push_str("</table>");
}

fn dependencies(page: &mut String, dependencies: &Value) {
    page.push_str("<h2>Upstreams</h2><table><tr><th>Name<th>What it says of itself</tr>");
    for (name, said) in dependencies.as_object().into_iter().flatten() {
        put(page, format_args!("<tr><td><code>{}</code><td>", Escaped(name)));
        for (member, value) in said.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            put(page, format_args!("{}: {}<br>", Escaped(member), Escaped(&value)));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn word(value: &Value) -> Escaped<'_> {
    Escaped(value.as_str().unwrap_or_default())
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a string can't fail");
}

/// Text that can't become markup.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
