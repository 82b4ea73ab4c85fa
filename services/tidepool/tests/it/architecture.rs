//! Which crate may depend on which. A rule that breaks is told with both ends and the way out.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crates from the bottom up. A crate depends only on layers below its own.
const LAYERS: [&[&str]; 9] = [
    &[
        "tidepool-core",
        "tidepool-policy",
        "tidepool-profile",
        "tidepool-datalog",
        "tidepool-testing",
    ],
    &[
        "tidepool-wire",
        "tidepool-telemetry",
        "tidepool-challenger",
        "tidepool-placement",
    ],
    &["tidepool-handler"],
    &["tidepool-store", "tidepool-link"],
    &["tidepool-feed", "tidepool-keda", "tidepool-cluster"],
    &[
        "tidepool-worker",
        "tidepool-handlers",
        "tidepool-supervisor",
        "tidepool-sim",
        "tidepool-console",
        "tidepool-provisioner",
    ],
    &["tidepool-balancer"],
    &["tidepool-loadtests", "tidepool-chaos", "xtask"],
    &["tidepool"],
];

/// Crates whose third-party dependencies are listed one by one: they do no IO and read no clock.
const PURE: [(&str, &[&str]); 5] = [
    (
        "tidepool-core",
        &[
            "serde",
            "serde_json",
            "thiserror",
            "hdrhistogram",
            "jiff",
            "uuid",
            "fastrand",
        ],
    ),
    ("tidepool-policy", &["serde", "thiserror"]),
    ("tidepool-profile", &["serde", "thiserror", "jiff"]),
    ("tidepool-datalog", &["thiserror"]),
    ("tidepool-placement", &["serde"]),
];

/// Third-party crates that only some of ours may name.
const CONFINED: [(&str, &[&str]); 8] = [
    ("redis", &["tidepool-store"]),
    ("rusqlite", &["tidepool-store"]),
    (
        "actix-web",
        &["tidepool-balancer", "tidepool-console", "tidepool"],
    ),
    ("config", &["tidepool"]),
    ("tonic", &["tidepool-keda"]),
    ("kube", &["tidepool-provisioner"]),
    ("bollard", &["tidepool-provisioner"]),
    ("opentelemetry", &["tidepool-telemetry"]),
];

/// The one crate that composes services and controllers.
const BINARY: &str = "tidepool";

/// A crate of the workspace.
struct Crate {
    name: String,
    /// Its folder at the top level: `shared`, `services`, `controller`, ...
    folder: String,
    dependencies: BTreeSet<String>,
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn faults(crates: &[Crate]) -> Vec<String> {
    crates
        .iter()
        .flat_map(|krate| {
            let rules = [misplaced, upward, across, impure, unconfined];
            rules.into_iter().flat_map(|rule| rule(krate, crates))
        })
        .collect()
}

fn ours<'a>(krate: &'a Crate, crates: &'a [Crate]) -> impl Iterator<Item = &'a Crate> {
    crates
        .iter()
        .filter(|other| krate.dependencies.contains(&other.name))
}

fn misplaced(krate: &Crate, _: &[Crate]) -> Vec<String> {
    let name = &krate.name;
    match layer(name) {
        Some(_) => vec![],
        None => vec![format!("{name} is in no layer: give it one in this test")],
    }
}

fn upward(krate: &Crate, crates: &[Crate]) -> Vec<String> {
    let name = &krate.name;
    let is_above = |other: &&Crate| layer(&other.name) >= layer(name);
    ours(krate, crates)
        .filter(is_above)
        .map(|other| format!("{name} depends on {}, which is not below it", other.name))
        .collect()
}

fn across(krate: &Crate, crates: &[Crate]) -> Vec<String> {
    let name = &krate.name;
    let sides = ["services", "controller"];
    let is_side = |folder: &str| sides.contains(&folder);
    ours(krate, crates)
        .filter(|other| name != BINARY && is_side(&krate.folder) && is_side(&other.folder))
        .filter(|other| other.folder != krate.folder)
        .map(|other| {
            format!(
                "{name} depends on {}: they meet in shared crates only",
                other.name
            )
        })
        .collect()
}

fn impure(krate: &Crate, crates: &[Crate]) -> Vec<String> {
    let name = &krate.name;
    let Some((_, allowed)) = PURE.iter().find(|(pure, _)| pure == name) else {
        return vec![];
    };
    let is_ours = |dependency: &str| crates.iter().any(|other| other.name == dependency);
    krate
        .dependencies
        .iter()
        .filter(|dependency| !is_ours(dependency) && !allowed.contains(&dependency.as_str()))
        .map(|dependency| format!("{name} is pure and must not depend on {dependency}"))
        .collect()
}

fn unconfined(krate: &Crate, _: &[Crate]) -> Vec<String> {
    let name = &krate.name;
    CONFINED
        .iter()
        .filter(|(confined, homes)| {
            krate.dependencies.contains(*confined) && !homes.contains(&name.as_str())
        })
        .map(|(confined, homes)| {
            format!(
                "{name} depends on {confined}, which only {} may",
                homes.join(", ")
            )
        })
        .collect()
}

/// The crates as they are. What only tests and benchmarks use is their own affair.
fn workspace() -> Vec<Crate> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let root = &metadata.workspace_root;
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Crate {
            name: package.name.to_string(),
            folder: package
                .manifest_path
                .strip_prefix(root)
                .ok()
                .and_then(|path| path.components().next())
                .map(|folder| folder.to_string())
                .unwrap_or_default(),
            dependencies: package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .map(|dependency| dependency.name.clone())
                .collect(),
        })
        .collect()
}

#[test]
fn dependencies_point_downwards_only() {
    let crates = workspace();
    assert!(crates.len() >= 10, "the workspace was not read");
    let faults = faults(&crates);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_layer_names_crates_that_exist() {
    let crates = workspace();
    for name in LAYERS.iter().copied().flatten() {
        let exists = crates.iter().any(|krate| krate.name == *name);
        assert!(exists, "{name} is in a layer but not in the workspace");
    }
}

/// A healthy graph of three crates, with one more dependency of `name`.
fn planted(name: &str, dependency: &str) -> Vec<String> {
    let krate = |name: &str, folder: &str, dependencies: &[&str]| Crate {
        name: name.to_owned(),
        folder: folder.to_owned(),
        dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
    };
    let mut crates = vec![
        krate("tidepool-core", "shared", &["serde"]),
        krate("tidepool-policy", "controller", &["serde"]),
        krate("tidepool-store", "shared", &["tidepool-core", "redis"]),
        krate("tidepool-worker", "services", &["tidepool-core"]),
        krate(
            "tidepool-balancer",
            "services",
            &["tidepool-worker", "actix-web"],
        ),
        krate(
            "tidepool-supervisor",
            "controller",
            &["tidepool-policy", "tidepool-store"],
        ),
        krate(
            "tidepool",
            "services",
            &["tidepool-balancer", "tidepool-supervisor", "config"],
        ),
    ];
    assert!(faults(&crates).is_empty(), "the graph is healthy before");
    match crates.iter_mut().find(|krate| krate.name == name) {
        Some(found) => drop(found.dependencies.insert(dependency.to_owned())),
        None => crates.push(krate(name, "shared", &[dependency])),
    }
    faults(&crates)
}

#[test]
fn planted_faults_are_found() {
    for (name, dependency, told) in [
        ("tidepool-core", "tidepool-store", "not below it"),
        ("tidepool-worker", "tidepool-balancer", "not below it"),
        (
            "tidepool-worker",
            "tidepool-supervisor",
            "meet in shared crates",
        ),
        (
            "tidepool-supervisor",
            "tidepool-worker",
            "meet in shared crates",
        ),
        ("tidepool-core", "tokio", "is pure"),
        ("tidepool-policy", "jiff", "is pure"),
        ("tidepool-worker", "redis", "only tidepool-store may"),
        ("tidepool-supervisor", "actix-web", "which only"),
        ("tidepool-store", "config", "only tidepool may"),
        ("tidepool-novelty", "serde", "in no layer"),
    ] {
        let faults = planted(name, dependency);
        let is_told = faults.iter().any(|fault| fault.contains(told));
        assert!(is_told, "{name} -> {dependency}: {faults:?}");
    }
}
