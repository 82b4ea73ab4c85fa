//! `config show`: the configuration in effect, with where each value came from, secrets masked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fault::Origin;
use super::layers::join;
use super::raw::RawSettings;

/// The configuration in effect as keys and values.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    raw: RawSettings,
    origins: BTreeMap<String, Origin>,
}

impl Effective {
    /// Values and where those that are no defaults came from.
    pub(crate) fn new(raw: RawSettings, origins: BTreeMap<String, Origin>) -> Self {
        Self { raw, origins }
    }

    fn tree(&self) -> Map<String, Value> {
        // Secrets mask themselves as they are serialized.
        match serde_json::to_value(&self.raw) {
            Ok(Value::Object(tree)) => tree,
            _ => Map::new(),
        }
    }

    /// The configuration as JSON, with a table `sources` from key to where it was set.
    pub(crate) fn to_json(&self) -> Value {
        let mut tree = self.tree();
        tree.insert("sources".to_owned(), json!(self.origins));
        Value::Object(tree)
    }

    /// The configuration as TOML that could be read again, apart from masked secrets. Keys that
    /// nobody set and that have no default are comments.
    pub(crate) fn to_toml(&self) -> String {
        let mut lines = Vec::new();
        self.section("", &self.tree(), &mut lines);
        let width = lines.iter().map(|line| line.width()).max().unwrap_or(0);
        lines.iter().map(|line| line.render(width)).collect()
    }

    fn section(&self, path: &str, table: &Map<String, Value>, lines: &mut Vec<Line>) {
        let is_leaf = |value: &Value| !value.is_object();
        let leaves: Vec<_> = table.iter().filter(|(_, value)| is_leaf(value)).collect();
        if !leaves.is_empty() {
            lines.push(Line::Header(path.to_owned()));
        }
        for (key, value) in leaves {
            let origin = self.origins.get(&join(path, key));
            lines.push(match to_toml_value(value) {
                Some(value) => Line::Key {
                    text: format!("{key} = {value}"),
                    origin: origin.map_or_else(|| "default".to_owned(), Origin::to_string),
                },
                None => Line::Key {
                    text: format!("# {key}"),
                    origin: "not set".to_owned(),
                },
            });
        }
        for (key, value) in table {
            if let Value::Object(inner) = value {
                self.section(&join(path, key), inner, lines);
            }
        }
    }
}

enum Line {
    Header(String),
    Key { text: String, origin: String },
}

impl Line {
    fn width(&self) -> usize {
        match self {
            Self::Header(_) => 0,
            Self::Key { text, .. } => text.chars().count(),
        }
    }

    fn render(&self, width: usize) -> String {
        match self {
            Self::Header(path) => format!("\n[{path}]\n"),
            Self::Key { text, origin } => format!("{text:width$}  # {origin}\n"),
        }
    }
}

/// A value as TOML; nothing for what is not set.
fn to_toml_value(value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    toml::Value::try_from(value)
        .ok()
        .map(|value| value.to_string())
}
