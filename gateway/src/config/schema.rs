//! The JSON Schema of `file`, made of its types, and how to read it.
//!
//! Only what schemars writes for our types is understood here: references, alternatives, lists of words, bounds. A type that
//! needs more of JSON Schema is better written another way.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;
use toml::de::DeValue;

use super::fault::listed;
use super::file::File;

/// The JSON Schema of the configuration, for editors.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<File>()
        .to_value()
}

/// TOML has no null: what may be absent is an optional key, and has no null among its types.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(alternatives)) = object.get_mut("anyOf") {
        alternatives.retain(|alternative| alternative["type"] != "null");
        if let [Value::Object(only)] = alternatives.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
}

/// A schema behind its `$ref`.
pub(super) fn resolve<'s>(schema: &'s Value, whole: &'s Value) -> &'s Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| whole.pointer(pointer)).unwrap_or(schema)
}

/// The keys that a table of this schema takes.
pub(super) fn properties(schema: &Value) -> Vec<&str> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(key, _)| key.as_str()).collect()
}

/// The schema of one key: a named one, else what any key of this table takes.
pub(super) fn property<'s>(schema: &'s Value, key: &str) -> &'s Value {
    schema["properties"].get(key).unwrap_or(&schema["additionalProperties"])
}

/// The words that a string may be; empty when it is free.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let described = described.flat_map(|alternative| {
        let several = alternative["enum"].as_array().into_iter().flatten();
        several.chain(alternative.get("const"))
    });
    plain.chain(described).filter_map(Value::as_str).collect()
}

/// Whether a value has the type that the schema asks for; what is inside it is looked at later.
pub(super) fn fits(value: &DeValue<'_>, schema: &Value, whole: &Value) -> bool {
    if let Some(alternatives) = schema["anyOf"].as_array() {
        return alternatives.iter().any(|schema| fits(value, resolve(schema, whole), whole));
    }
    if let Some(Value::Bool(only)) = schema.get("const") {
        return value.as_bool() == Some(*only);
    }
    match type_of(schema) {
        "string" => value.is_str(),
        "integer" => value.is_integer(),
        "number" => value.is_integer() || value.is_float(),
        "boolean" => value.is_bool(),
        "array" => value.is_array(),
        "object" => value.is_table(),
        _ => true,
    }
}

fn type_of(schema: &Value) -> &str {
    match schema["type"].as_str() {
        Some(name) => name,
        None if !words(schema).is_empty() => "string",
        None => "",
    }
}

/// Whether the schema asks for a table.
pub(super) fn is_table(schema: &Value) -> bool {
    type_of(schema) == "object"
}

/// What the schema asks for, in words.
pub(super) fn wanted(schema: &Value, whole: &Value) -> String {
    if let Some(alternatives) = schema["anyOf"].as_array() {
        let all: Vec<_> =
            alternatives.iter().map(|schema| wanted(resolve(schema, whole), whole)).collect();
        return listed(&all, "or");
    }
    if let Some(only) = schema.get("const") {
        return only.to_string();
    }
    match type_of(schema) {
        "string" => "a string".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "object" => "a table".to_owned(),
        "array" => match type_of(resolve(&schema["items"], whole)) {
            "object" => "an array of tables".to_owned(),
            _ => "an array of strings".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// What the file has, in words.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
