//! The comparison of a file with the schema.
//!
//! It reports everything that the types alone can tell: unknown and missing keys, wrong types, words outside a list, numbers
//! outside a range. It leaves what is faulty out of the tree, and reads a misspelt key as what it was meant to be, so that
//! `check` can look at the rest of the file and one slip is one fault, not ten.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fault::{Faults, Wrong, listed, nearest};
use super::schema::{fits, found, is_table, properties, property, resolve, schema, wanted, words};

/// Compares the tree with the schema; what is left of it afterwards fits the types of `file`.
pub(super) fn compare(root: &mut Spanned<DeTable<'_>>, faults: &mut Faults<'_>) {
    let schema = schema();
    let start = root.span().start;
    Comparison { whole: &schema, faults }.table(root.get_mut(), start, &schema, &Table::root());
}

struct Comparison<'c, 't> {
    whole: &'c Value,
    faults: &'c mut Faults<'t>,
}

impl<'c> Comparison<'c, '_> {
    fn table(&mut self, table: &mut DeTable<'_>, offset: usize, schema: &'c Value, name: &Table) {
        if schema.get("properties").is_some() {
            self.unknown_keys(table, schema, name);
            self.missing_keys(table, offset, schema, name);
        }
        let keys: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
        for key in keys {
            let Some(value) = table.get_mut(key.as_str()) else { continue };
            let inner = property(schema, &key);
            if self.value(value, inner, &key, &name.below(&key)) {
                continue;
            }
            let named = schema.get("properties").is_none() && is_table(self.resolve(inner));
            match named {
                // A faulty feature is still a feature: what refers to it is not a second fault.
                true => *value.get_mut() = DeValue::Table(DeTable::new()),
                false => drop(table.remove(key.as_str())),
            }
        }
    }

    fn unknown_keys(&mut self, table: &mut DeTable<'_>, schema: &'c Value, name: &Table) {
        let known = properties(schema);
        let unknown: Vec<_> =
            table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).cloned().collect();
        for key in unknown {
            let meant = nearest(key.get_ref(), known.iter().copied());
            let suggestion = meant.clone().or_else(|| self.elsewhere(key.get_ref()));
            let wrong = Wrong::from(match &suggestion {
                Some(_) => format!("unknown key `{}` in {name}", key.get_ref()),
                None => {
                    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
                    let known = listed(&known, "and");
                    format!("unknown key `{}` in {name}, which takes {known}", key.get_ref())
                }
            });
            self.faults.report(key.span().start, wrong.or(suggestion));
            let Some(value) = table.remove(key.get_ref().as_ref()) else { continue };
            let Some(meant) = meant else { continue };
            let inner = self.resolve(property(schema, &meant));
            if !table.contains_key(meant.as_str()) && fits(value.get_ref(), inner, self.whole) {
                table.insert(Spanned::new(key.span(), meant.into()), value);
            }
        }
    }

    /// The table of the file that has a key of this name: a header was forgotten, or stands too early.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let tables = self.whole["properties"].as_object()?;
        let (table, _) = tables.iter().find(|(_, table)| {
            self.resolve(table).get("properties").is_some_and(|keys| keys.get(key).is_some())
        })?;
        Some(format!("[{table}] {key}"))
    }

    fn missing_keys(&mut self, table: &DeTable<'_>, offset: usize, schema: &Value, name: &Table) {
        let required = schema["required"].as_array().into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if !table.contains_key(key) {
                self.faults.report(offset, format!("{name} has no `{key}`"));
            }
        }
    }

    /// Whether the value can stay.
    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &'c Value,
        key: &str,
        name: &Table,
    ) -> bool {
        let span = value.span();
        let schema = self.resolve(schema);
        if !fits(value.get_ref(), schema, self.whole) {
            let (wanted, found) = (wanted(schema, self.whole), found(value.get_ref()));
            self.faults.report(span.start, format!("`{key}` must be {wanted}, not {found}"));
            return false;
        }
        let schema = self.alternative(value.get_ref(), schema);
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, span.start, schema, name),
            DeValue::Array(values) if values.is_empty() => {
                return self.long_enough(span.start, schema, key);
            }
            DeValue::Array(values) => self.elements(values, &schema["items"], key, name),
            // A variable that is not set has been reported already.
            DeValue::String(_) if self.faults.any_in(&span) => return false,
            DeValue::String(text) => return self.word(text, span.start, schema, key),
            number @ (DeValue::Integer(_) | DeValue::Float(_)) => {
                return self.range(number, span.start, schema, key);
            }
            _ => {}
        }
        true
    }

    fn elements(&mut self, values: &mut DeArray<'_>, schema: &'c Value, key: &str, name: &Table) {
        let name = name.element();
        *values = std::mem::replace(values, DeArray::new())
            .into_iter()
            .filter_map(|mut value| self.value(&mut value, schema, key, &name).then_some(value))
            .collect();
    }

    fn long_enough(&mut self, offset: usize, schema: &Value, key: &str) -> bool {
        let enough = schema.get("minItems").is_none_or(|least| least == 0);
        if !enough {
            self.faults.report(offset, format!("`{key}` can't be empty"));
        }
        enough
    }

    fn word(&mut self, text: &str, offset: usize, schema: &Value, key: &str) -> bool {
        let words = words(schema);
        if words.is_empty() || words.contains(&text) {
            return true;
        }
        let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let taken = listed(&quoted, "or");
        let wrong = Wrong::from(format!("`{key}` takes {taken}, not \"{text}\""));
        self.faults.report(offset, wrong.or(nearest(text, words)));
        false
    }

    fn range(&mut self, number: &DeValue<'_>, offset: usize, schema: &Value, key: &str) -> bool {
        let (least, most) = (&schema["minimum"], &schema["maximum"]);
        // Bounds are small enough to be exact in a float, and so is every integer between them.
        let inside = as_float(number).is_some_and(|number| {
            least.as_f64().is_none_or(|least| number >= least)
                && most.as_f64().is_none_or(|most| number <= most)
        });
        if !inside {
            let bounds = match (least, most) {
                (Value::Null, most) => format!("at most {most}"),
                (least, Value::Null) => format!("at least {least}"),
                (least, most) => format!("from {least} to {most}"),
            };
            self.faults.report(offset, format!("`{key}` must be {bounds}"));
        }
        inside
    }

    /// Of several that a value may be, the one that it is.
    fn alternative(&self, value: &DeValue<'_>, schema: &'c Value) -> &'c Value {
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        let mut alternatives = alternatives.map(|schema| self.resolve(schema));
        alternatives.find(|schema| fits(value, schema, self.whole)).unwrap_or(schema)
    }

    fn resolve(&self, schema: &'c Value) -> &'c Value {
        resolve(schema, self.whole)
    }
}

/// The name of a table as its header writes it.
struct Table {
    path: String,
    repeats: bool,
}

impl Table {
    fn root() -> Self {
        Self { path: String::new(), repeats: false }
    }

    fn below(&self, key: &str) -> Self {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Self { path, repeats: false }
    }

    fn element(&self) -> Self {
        Self { path: self.path.clone(), repeats: true }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.path.as_str(), self.repeats) {
            ("", _) => f.write_str("the file"),
            (path, true) => write!(f, "[[{path}]]"),
            (path, false) => write!(f, "[{path}]"),
        }
    }
}

fn as_float(number: &DeValue<'_>) -> Option<f64> {
    match number {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64)
        }
        _ => None,
    }
}
