//! `/openapi.json`: the admin API as programs read it (OpenAPI 3.1), made from the table that the router is made from and from
//! the types that requests are read as. There is nothing in it to keep in step by hand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::Admin;
use super::endpoints::Endpoint;
use super::keys;

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(document(&admin.endpoints))
}

pub(super) fn document(endpoints: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Portcullis, admin API", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/" }],
        "security": [{}, { "key": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
            "schemas": { "Problem": problem() },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let parameters: Vec<Value> =
        in_path(endpoint.path).chain(in_query(endpoint)).chain(in_headers(endpoint)).collect();
    let mut operation = json!({
        "summary": endpoint.about,
        "operationId": operation_id(endpoint),
        "x-role": keys::word(endpoint.needs),
        "parameters": parameters,
        "responses": {
            "200": { "description": "done", "content": { endpoint.answers: { "schema": {} } } },
            "default": {
                "description": "refused",
                "content": { "application/problem+json": {
                    "schema": { "$ref": "#/components/schemas/Problem" },
                } },
            },
        },
    });
    if let Some(schema) = &endpoint.body {
        // Where nothing has to be said, the body may be left out.
        let required = schema["required"].as_array().is_some_and(|members| !members.is_empty());
        let content = json!({ "application/json": { "schema": plain(schema) } });
        operation["requestBody"] = json!({ "required": required, "content": content });
    }
    operation
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(|sign: char| !sign.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(endpoint.method.as_str().to_ascii_lowercase().as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn in_path(path: &'static str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    })
}

fn in_query(endpoint: &Endpoint) -> impl Iterator<Item = Value> {
    let schema = endpoint.query.as_ref();
    endpoint.parameters().map(move |name| {
        let member = schema.map(|schema| schema["properties"][name].clone()).unwrap_or_default();
        json!({
            "name": name,
            "in": "query",
            "description": member["description"],
            "schema": plain(&member),
        })
    })
}

fn in_headers(endpoint: &Endpoint) -> impl Iterator<Item = Value> {
    let of_writes = [
        (
            "Idempotency-Key",
            "sent again with the same request, the same answer comes back, from the same process",
            !endpoint.method.is_safe(),
        ),
        (
            "If-Match",
            "the ETag of what was read: done only if nothing changed since",
            endpoint.heeds_revision,
        ),
    ];
    of_writes.into_iter().filter(|(.., taken)| *taken).map(|(name, about, _)| {
        json!({
            "name": name,
            "in": "header",
            "description": about,
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        })
    })
}

/// A schema without what only a document of its own has. What may be left out isn't sent as null in a query.
fn plain(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        members.remove("title");
        members.remove("description");
        if let Some(Value::Array(kinds)) = members.get("type")
            && let Some(kind) = kinds.iter().find(|kind| *kind != "null").cloned()
        {
            members.insert("type".to_owned(), kind);
        }
    }
    schema
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "error", "reason", "request_id"],
        "properties": {
            "type": text, "title": text, "detail": text, "error": text, "request_id": text,
            "reason": { "type": "string", "description": "a stable word" },
            "status": { "type": "integer" },
            "retry_after": { "type": "integer", "description": "seconds" },
        },
    })
}
