//! `config/gateway.toml` is the reference: it has every key, and what it says of defaults is so.

use std::collections::BTreeSet;

use portcullis_gateway::config::schema;
use serde_json::Value;
use toml::Table;

use super::{folder, sound, text, update};

/// The reference with its examples switched on: `#key` is an example, `# words` is prose.
fn with_examples() -> String {
    let text = text("gateway.toml");
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.is_empty() && !example.starts_with([' ', '#']) => example,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Calls `visit` with the path, the schema and the value of every key of `table`.
fn walk<'v>(
    schema: &'v Value,
    table: &'v Table,
    path: &str,
    visit: &mut impl FnMut(&str, &Value, &toml::Value),
) {
    for (key, value) in table {
        let inner = &schema["properties"][key];
        let (inner, path) = match inner {
            Value::Null => (resolved(&schema["additionalProperties"]), format!("{path}.*")),
            _ => (resolved(inner), format!("{path}.{key}")),
        };
        visit(&path, &schema["properties"][key], value);
        match value {
            toml::Value::Table(table) => walk(inner, table, &path, visit),
            toml::Value::Array(values) => {
                for table in values.iter().filter_map(toml::Value::as_table) {
                    walk(resolved(&inner["items"]), table, &path, visit);
                }
            }
            _ => {}
        }
    }
}

/// Every path that the schema knows.
fn known(schema: &Value, path: &str, paths: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        paths.insert(path.clone());
        known(resolved(inner), &path, paths);
    }
    for (key, suffix) in [("additionalProperties", ".*"), ("items", "")] {
        if schema[key].is_object() {
            known(resolved(&schema[key]), &format!("{path}{suffix}"), paths);
        }
    }
}

fn whole() -> &'static Value {
    static WHOLE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(schema);
    &WHOLE
}

fn resolved(schema: &Value) -> &Value {
    // Of what may be a table or something else, the table, unless it is shown as one of [breakers] already.
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    let mut tables = alternatives.filter(|schema| resolved(schema)["properties"].is_object());
    if let Some(table) = tables.next() {
        return if table["$ref"] == "#/$defs/Breaker" { &Value::Null } else { resolved(table) };
    }
    let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| whole().pointer(pointer)).unwrap_or(schema)
}

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

#[test]
fn the_reference_does_what_an_empty_file_does() {
    assert_eq!(sound(&text("gateway.toml")), sound(""));
}

#[test]
fn the_examples_of_the_reference_are_sound() {
    let secret = |name: &str| (name == "PORTCULLIS_WEBHOOK_SECRET").then(|| "s".repeat(32));
    let config = portcullis_gateway::config::parse("reference", &with_examples(), &secret)
        .unwrap_or_else(|faults| panic!("{}", portcullis_gateway::config::render_faults(&faults)));

    assert_eq!(config.routes.len(), 1);
    assert!(config.authentication.is_some() && config.webhook.is_some());
}

#[test]
fn the_reference_has_every_key() {
    let mut missing = BTreeSet::new();
    known(whole(), "", &mut missing);
    walk(whole(), &table(&with_examples()), "", &mut |path, _, _| {
        missing.remove(path);
    });

    assert_eq!(missing, BTreeSet::new(), "keys that config/gateway.toml does not show");
}

#[test]
fn a_value_that_the_reference_writes_out_without_an_example_mark_is_its_default() {
    walk(whole(), &table(&text("gateway.toml")), "", &mut |path, schema, value| {
        // Where the types have no default, an empty file's doing the same shows that it is the one.
        let has_default = schema.get("default").is_some();
        if value.is_table()
            || !has_default
            || value.as_str().is_some_and(|text| text.contains("${"))
        {
            return;
        }
        assert_eq!(
            &serde_json::to_value(value).unwrap(),
            &as_written(&schema["default"], value),
            "{path}"
        );
    });
}

#[test]
fn a_number_or_a_switch_of_an_example_is_its_default() {
    walk(whole(), &table(&with_examples()), "", &mut |path, schema, value| {
        let plain = value.is_bool() || value.is_integer() || value.is_float();
        if plain && schema.get("default").is_some() {
            let written = serde_json::to_value(value).unwrap();
            assert_eq!(written, as_written(&schema["default"], value), "{path}");
        }
    });
}

/// A default as a whole number where the file writes one: `30.0` is `30`.
fn as_written(default: &Value, written: &toml::Value) -> Value {
    match default.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "defaults are small")]
        Some(default) if written.is_integer() && default.fract() == 0.0 => (default as i64).into(),
        _ => default.clone(),
    }
}

#[test]
fn every_key_of_the_reference_is_explained() {
    for paragraph in text("gateway.toml").split("\n\n") {
        let first = paragraph.trim_start().lines().next().unwrap_or_default();
        let key = first.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(first);
        let is_key = key.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '[']));

        assert!(!is_key, "nothing is said about `{key}`");
    }
}

#[test]
fn every_key_of_the_schema_is_described_and_bounded() {
    fn described(schema: &Value, path: &str) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(inner["description"].is_string(), "{path} says nothing");
            let numeric = matches!(inner["type"].as_str(), Some("integer" | "number"));
            assert!(!numeric || inner["maximum"].is_number(), "{path} has no upper bound");
            described(resolved(inner), &path);
        }
        for key in ["additionalProperties", "items"] {
            if schema[key].is_object() {
                described(resolved(&schema[key]), path);
            }
        }
    }
    described(whole(), "");
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_types() {
    let path = folder().join("schema.json");
    let mut generated = serde_json::to_string_pretty(whole()).unwrap();
    generated.push('\n');
    if update() {
        std::fs::write(&path, &generated).unwrap();
    }

    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(&kept, whole(), "UPDATE=1 writes config/schema.json anew");
}
