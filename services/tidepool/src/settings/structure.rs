//! Checks the shape of a configuration against its JSON Schema: unknown keys, wrong types, values
//! out of bounds. Reports everything at once, where a deserializer stops at the first fault.

use std::ops::RangeInclusive;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Number, Value};

use super::fault::{Fault, Origin, abridge};
use super::layers::{Layers, join, variable_name};
use super::raw::RawSettings;

/// Stands for the name of a pool in the paths of known keys.
const ANY_NAME: &str = "NAME";

/// The JSON Schema of the configuration.
pub(crate) fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<RawSettings>()
        .to_value()
}

/// The part of the tree that fits the schema, with texts read as numbers and lists where they
/// came from the environment or a flag. The rest becomes faults.
pub(crate) fn conform(layers: &Layers, faults: &mut Vec<Fault>) -> Value {
    let schema = schema();
    let mut conformer = Conformer {
        layers,
        known: known_keys(&schema, ""),
        faults,
    };
    conformer
        .value("", &layers.tree, &schema)
        .unwrap_or_else(|| Value::Object(Map::new()))
}

/// Paths of all sections and keys that a schema knows.
fn known_keys(schema: &Value, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let properties = schema["properties"].as_object();
    for (key, inner) in properties.into_iter().flatten() {
        let path = join(prefix, key);
        keys.extend(known_keys(inner, &path));
        keys.push(path);
    }
    if schema["additionalProperties"].is_object() {
        keys.extend(known_keys(
            &schema["additionalProperties"],
            &join(prefix, ANY_NAME),
        ));
    }
    keys
}

/// What a schema allows of a single value.
enum Allowed {
    Table,
    List,
    Text(Option<Vec<String>>),
    Whole(RangeInclusive<i64>),
    Real(RangeInclusive<f64>),
    Flag,
}

impl Allowed {
    fn of(schema: &Value) -> Self {
        if let Some(names) = names(schema) {
            return Self::Text(Some(names));
        }
        let bound = |key: &str| schema[key].as_f64();
        match kind(schema) {
            "object" => Self::Table,
            "array" => Self::List,
            "boolean" => Self::Flag,
            "integer" => {
                let bound = |key: &str| schema[key].as_i64();
                Self::Whole(
                    bound("minimum").unwrap_or(i64::MIN)..=bound("maximum").unwrap_or(i64::MAX),
                )
            }
            "number" => Self::Real(
                bound("minimum").unwrap_or(f64::MIN)..=bound("maximum").unwrap_or(f64::MAX),
            ),
            _ => Self::Text(None),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Table => "a table".to_owned(),
            Self::List => "a list of texts".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Text(None) => "a text".to_owned(),
            Self::Text(Some(names)) => format!("one of {}", names.join(", ")),
            Self::Whole(range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Self::Real(range) => format!("a number from {} to {}", range.start(), range.end()),
        }
    }

    /// The value of a text that came from the environment or a flag.
    fn read(&self, text: &str) -> Value {
        let text = text.trim();
        let number = match self {
            Self::Whole(_) => text.parse().ok().map(Value::Number),
            Self::Real(_) => text
                .parse()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number),
            Self::List => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                Some(items.map(Value::from).collect())
            }
            Self::Flag => text.parse().ok().map(Value::Bool),
            Self::Text(_) | Self::Table => None,
        };
        number.unwrap_or_else(|| Value::from(text))
    }

    fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Table, Value::Object(_))
            | (Self::List, Value::Array(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Text(None), Value::String(_)) => true,
            (Self::Text(Some(names)), Value::String(name)) => names.contains(name),
            (Self::Whole(range), Value::Number(n)) => {
                n.as_i64().is_some_and(|n| range.contains(&n))
            }
            (Self::Real(range), Value::Number(n)) => n.as_f64().is_some_and(|n| range.contains(&n)),
            _ => false,
        }
    }
}

/// The type that a schema names, besides null.
fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or_default(),
        _ => "",
    }
}

/// The names that an enumeration allows.
fn names(schema: &Value) -> Option<Vec<String>> {
    let listed = schema["enum"]
        .as_array()
        .map(|names| names.iter().collect());
    let described = || {
        let variants = schema["oneOf"].as_array()?;
        Some(variants.iter().map(|variant| &variant["const"]).collect())
    };
    let names: Vec<&Value> = listed.or_else(described)?;
    Some(
        names
            .into_iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

struct Conformer<'a> {
    layers: &'a Layers,
    known: Vec<String>,
    faults: &'a mut Vec<Fault>,
}

impl Conformer<'_> {
    fn value(&mut self, path: &str, value: &Value, schema: &Value) -> Option<Value> {
        let allowed = Allowed::of(schema);
        let textual = self.layers.origin(path).is_some_and(Origin::is_textual);
        let read = match value {
            Value::String(text) if textual => allowed.read(text),
            other => other.clone(),
        };
        if !allowed.admits(&read) {
            self.refuse(
                path,
                value,
                schema,
                format!("must be {}", allowed.in_words()),
            );
            return None;
        }
        match read {
            Value::Object(table) => Some(self.table(path, &table, schema)),
            Value::Array(items) => self.list(path, value, &items, schema),
            Value::String(text) if text.is_empty() && schema["minLength"].as_u64() >= Some(1) => {
                self.refuse(path, value, schema, "must not be empty".to_owned());
                None
            }
            plain => Some(plain),
        }
    }

    fn table(&mut self, path: &str, table: &Map<String, Value>, schema: &Value) -> Value {
        let mut fitting = Map::new();
        for (key, value) in table {
            let inner_path = join(path, key);
            let inner_schema = match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Null | Value::Bool(_)) => {
                    self.unknown(&inner_path);
                    continue;
                }
                (Value::Null, any) => any,
                (known, _) => known,
            };
            if let Some(value) = self.value(&inner_path, value, inner_schema) {
                fitting.insert(key.clone(), value);
            }
        }
        Value::Object(fitting)
    }

    fn list(
        &mut self,
        path: &str,
        given: &Value,
        items: &[Value],
        schema: &Value,
    ) -> Option<Value> {
        let allowed = Allowed::of(&schema["items"]);
        if items.iter().all(|item| allowed.admits(item)) {
            return Some(items.iter().cloned().collect());
        }
        self.refuse(
            path,
            given,
            schema,
            format!("must be {}", Allowed::List.in_words()),
        );
        None
    }

    fn refuse(&mut self, path: &str, value: &Value, schema: &Value, problem: String) {
        let is_secret = schema["writeOnly"].as_bool() == Some(true);
        let shown = match value {
            Value::Object(_) => "a table".to_owned(),
            other => abridge(&other.to_string()),
        };
        self.faults.push(Fault {
            key: path.to_owned(),
            value: (!is_secret).then_some(shown),
            origin: self.layers.origin(path).cloned(),
            problem,
        });
    }

    /// The value is not repeated: a mistyped `api_token` holds a token.
    fn unknown(&mut self, path: &str) {
        let origin = self.layers.origin(path).cloned();
        let suggestion = nearest(path, &self.known).map_or_else(String::new, |key| {
            let name = match &origin {
                Some(Origin::Variable(_)) => variable_name(&key),
                _ => key,
            };
            format!("; the nearest is `{name}`")
        });
        self.faults.push(Fault {
            key: path.to_owned(),
            value: None,
            origin,
            problem: format!("there is no such key{suggestion}"),
        });
    }
}

/// The known key that looks most like a path. A known key of pools is taken to mean the very pool
/// that the path names; dots and underscores count as equal, because a variable with a single
/// underscore between section and key is the likeliest slip of all.
pub(crate) fn nearest(path: &str, known: &[String]) -> Option<String> {
    let pool = path
        .strip_prefix("pools.")
        .and_then(|rest| rest.split('.').next());
    known
        .iter()
        .map(|key| key.replace(ANY_NAME, pool.unwrap_or(ANY_NAME)))
        .map(|key| (likeness(path, &key), key))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

/// How likely it is that `key` was meant by `path`.
fn likeness(path: &str, key: &str) -> f64 {
    let flat = |key: &str| key.replace('.', "_").to_lowercase();
    let parent = |key: &str| key.rsplit_once('.').map(|(parent, _)| parent.to_owned());
    let spelling = strsim::normalized_damerau_levenshtein(&flat(path), &flat(key));
    let same_section = if parent(path) == parent(key) {
        0.1
    } else {
        0.0
    };
    let unit_forgotten = if key.starts_with(&format!("{path}_")) {
        0.1
    } else {
        0.0
    };
    spelling + same_section + unit_forgotten
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known() -> Vec<String> {
        known_keys(&schema(), "")
    }

    #[test]
    fn every_key_has_a_description_and_a_type() {
        fn walk(path: &str, schema: &Value) {
            assert!(
                schema["description"].is_string(),
                "{path} is not described: {schema}"
            );
            let has_type = !kind(schema).is_empty() || names(schema).is_some();
            assert!(has_type, "{path} has no type: {schema}");
            for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
                walk(&join(path, key), inner);
            }
        }
        let schema = schema();
        walk("", &schema);
        walk(
            "pools.NAME",
            &schema["properties"]["pools"]["additionalProperties"],
        );
    }

    #[test]
    fn names_the_nearest_key() {
        for (typed, meant) in [
            ("http.api_adr", "http.api_addr"),
            ("htpp", "http"),
            ("http_api_addr", "http.api_addr"),
            ("telemetry.otlp_endpont", "telemetry.otlp_endpoint"),
            ("pools.echo.mx", "pools.echo.max"),
            ("pools.echo.cooldown", "pools.echo.cooldown_s"),
            ("pools.echo.slo", "pools.echo.slo_ms"),
            ("store.url", "store.redis_url"),
            ("api_addr", "http.api_addr"),
            ("HTTP", "http"),
        ] {
            assert_eq!(nearest(typed, &known()).as_deref(), Some(meant), "{typed}");
        }
    }

    proptest! {
        #[test]
        fn one_slip_of_the_finger_is_understood(index: prop::sample::Index, place: prop::sample::Index) {
            let known: Vec<String> = known().into_iter().filter(|key| key.len() > 9).collect();
            let meant = index.get(&known).clone();
            let (section, key) = meant.rsplit_once('.').unwrap_or(("", &meant));
            let at = place.index(key.len());
            let mistyped = join(section, &format!("{}{}", &key[..at], &key[at + 1..]));
            prop_assume!(!known.contains(&mistyped) && !key.is_empty() && mistyped.len() > 6);
            let found = nearest(&mistyped, &known);
            // Dropping a letter may reach another key just as well, as from `min` to `max`.
            let best = |k: &str| strsim::damerau_levenshtein(k, &mistyped);
            prop_assert!(found.as_deref().is_some_and(|f| best(f) <= best(&meant)), "{mistyped}: {found:?}");
        }
    }
}
