//! Brings file, environment and flags into one tree, and remembers where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};

/// File that is read when none is named.
pub(crate) const FILE_DEFAULT: &str = "tidepool.toml";
/// What the names of our environment variables begin with.
const PREFIX: &str = "TIDEPOOL_";
/// What separates the section from the key in their names.
const SEPARATOR: &str = "__";
/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Variables of other conventions that set a key of ours. Our own variable wins over them.
const CONVENTIONAL: [(&str, &str); 2] = [
    ("REDIS_URL", "store.redis_url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
];

/// A value that a flag of the command line sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// The flag as it was typed.
    pub(crate) flag: &'static str,
    /// The key that it sets.
    pub(crate) key: &'static str,
    /// Its value.
    pub(crate) value: String,
}

/// Everything that configures a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The file that was asked for; without one, `tidepool.toml` is read if it is there.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Flags of the command line.
    pub(crate) overrides: Vec<Override>,
}

/// The merged tree.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// Sections, keys and values; what nobody set is missing.
    pub(crate) tree: Value,
    /// Where each value was set, by the path of its key.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
}

impl Layers {
    /// Where a key was set; the first key of a section stands for the section.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key).or_else(|| {
            let inside = format!("{key}.");
            self.origins
                .iter()
                .find(|(path, _)| path.starts_with(&inside))
                .map(|(_, origin)| origin)
        })
    }
}

/// Reads and merges all layers.
///
/// # Errors
/// When the file cannot be read or is not TOML, or a variable is not text: nothing can be said of
/// single keys then.
pub(crate) fn merge(inputs: &Inputs) -> Result<Layers, Vec<Fault>> {
    let mut origins = BTreeMap::new();
    let mut builder = Config::builder();
    let file = read_file(inputs.file.as_deref()).map_err(|fault| vec![fault])?;
    if let Some((path, text)) = &file {
        locate(path, text, &mut origins).map_err(|fault| vec![fault])?;
        builder = builder.add_source(File::from_str(text, FileFormat::Toml));
    }
    let variables = our_variables(&inputs.variables)?;
    for (key, variable) in &variables {
        origins.insert(key.clone(), Origin::Variable(variable.name.clone()));
    }
    builder = builder.add_source(environment(&variables));
    for Override { flag, key, value } in &inputs.overrides {
        origins.insert((*key).to_owned(), Origin::Flag(flag));
        builder = builder
            .set_override(*key, value.as_str())
            .map_err(|error| vec![unmergeable(&error)])?;
    }
    let tree = builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| vec![unmergeable(&error)])?;
    Ok(Layers {
        tree,
        origins,
        file: file.map(|(path, _)| path),
    })
}

fn unmergeable(error: &config::ConfigError) -> Fault {
    Fault {
        key: String::new(),
        value: None,
        origin: None,
        problem: format!("the layers cannot be merged: {error}"),
    }
}

fn read_file(asked_for: Option<&Path>) -> Result<Option<(PathBuf, String)>, Fault> {
    let path = asked_for.unwrap_or_else(|| Path::new(FILE_DEFAULT));
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if asked_for.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(Fault {
            key: String::new(),
            value: None,
            origin: None,
            problem: format!("cannot read {}: {error}", path.display()),
        }),
    }
}

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(bytes_max + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(std::io::Error::other(format!(
            "it is larger than {bytes_max} bytes"
        )));
    }
    Ok(text)
}

/// Notes the line of every key of the file.
fn locate(path: &Path, text: &str, origins: &mut BTreeMap<String, Origin>) -> Result<(), Fault> {
    let line_of = |offset: usize| {
        1 + text
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|b| **b == b'\n')
            .count()
    };
    let at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(offset),
    };
    // Only the message: the rendered error repeats the line, and the line may hold a secret.
    let table = DeTable::parse(text).map_err(|error| Fault {
        key: String::new(),
        value: None,
        origin: Some(at(error.span().map_or(0, |span| span.start))),
        problem: format!("this is not TOML: {}", error.message()),
    })?;
    locate_in("", table.get_ref(), &at, origins);
    Ok(())
}

fn locate_in(
    prefix: &str,
    table: &DeTable<'_>,
    at: &impl Fn(usize) -> Origin,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => locate_in(&path, inner, at, origins),
            _ => {
                origins.insert(path, at(key.span().start));
            }
        }
    }
}

/// The path of a key within a section.
pub(crate) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

/// A variable that sets a key.
struct Variable {
    name: String,
    value: String,
}

/// The name of the variable that sets a key.
pub(crate) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// Variables that set keys, by key. An empty variable counts as unset.
fn our_variables(
    variables: &[(OsString, OsString)],
) -> Result<BTreeMap<String, Variable>, Vec<Fault>> {
    let mut found = BTreeMap::new();
    let mut faults = Vec::new();
    let is_set = |value: &OsString| !value.is_empty();
    for (name, value) in variables.iter().filter(|(_, value)| is_set(value)) {
        // A name that is not text cannot begin with our prefix and mean one of our keys.
        let Some(name) = name.to_str() else { continue };
        let Some(key) = key_of(name, &value.to_string_lossy()) else {
            continue;
        };
        let Some(value) = value.to_str() else {
            faults.push(Fault {
                key,
                value: None,
                origin: Some(Origin::Variable(name.to_owned())),
                problem: "the value is not UTF-8".to_owned(),
            });
            continue;
        };
        let variable = Variable {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let is_ours = name.starts_with(PREFIX);
        if is_ours || !found.contains_key(&key) {
            found.insert(key, variable);
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults)
    }
}

fn key_of(name: &str, value: &str) -> Option<String> {
    if let Some((_, key)) = CONVENTIONAL.iter().find(|(other, _)| *other == name) {
        return Some((*key).to_owned());
    }
    let rest = name.strip_prefix(PREFIX)?;
    let foreign = is_service_variable(rest, value);
    (!foreign).then(|| rest.to_lowercase().replace(SEPARATOR, "."))
}

/// Kubernetes describes every Service in variables of all containers; those of a Service whose
/// name begins with `tidepool` look like ours, and are not.
fn is_service_variable(rest: &str, value: &str) -> bool {
    let is_link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let of_port = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        ["", "_PROTO", "_PORT", "_ADDR"]
            .iter()
            .any(|part| rest.ends_with(&format!("{protocol}{part}")))
    });
    !rest.contains(SEPARATOR)
        && (rest.ends_with("SERVICE_HOST")
            || rest.contains("SERVICE_PORT")
            || (rest.ends_with("PORT") && is_link)
            || (rest.contains("PORT_") && of_port))
}

fn environment(variables: &BTreeMap<String, Variable>) -> Environment {
    let source = variables
        .iter()
        .map(|(key, variable)| (variable_name(key), variable.value.clone()))
        .collect();
    Environment::with_prefix(PREFIX.trim_end_matches('_'))
        .prefix_separator("_")
        .separator(SEPARATOR)
        .source(Some(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kubernetes_services_are_not_keys() {
        for (name, value) in [
            ("TIDEPOOL_SERVICE_HOST", "10.0.0.1"),
            ("TIDEPOOL_SERVICE_PORT", "8700"),
            ("TIDEPOOL_SERVICE_PORT_API", "8700"),
            ("TIDEPOOL_PORT", "tcp://10.0.0.1:8700"),
            ("TIDEPOOL_PORT_8700_TCP", "tcp://10.0.0.1:8700"),
            ("TIDEPOOL_PORT_8700_TCP_ADDR", "10.0.0.1"),
            ("TIDEPOOL_REDIS_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert_eq!(key_of(name, value), None, "{name}");
        }
        assert_eq!(key_of("TIDEPOOL_PORT", "8700").as_deref(), Some("port"));
        assert_eq!(key_of("HOME", "/"), None);
        assert_eq!(
            key_of("TIDEPOOL_HTTP__API_ADDR", "x").as_deref(),
            Some("http.api_addr")
        );
    }

    #[test]
    fn a_key_and_its_variable_name_each_other() {
        let name = variable_name("pools.echo.max");
        assert_eq!(name, "TIDEPOOL_POOLS__ECHO__MAX");
        assert_eq!(key_of(&name, "4").as_deref(), Some("pools.echo.max"));
    }
}
