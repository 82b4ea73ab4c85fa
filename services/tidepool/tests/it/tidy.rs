//! Rules that every source file keeps: short, introduced, finished.

use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const LINES_MAX: usize = 500;
/// Folders that hold no sources of ours.
const SKIPPED: [&str; 3] = ["target", ".git", ".tidepool"];
/// Folders that are read at most; there are far fewer.
const FOLDERS_MAX: usize = 10_000;
/// Macros that stand for unfinished work.
const UNFINISHED: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];

fn faults(path: &str, source: &str) -> Vec<String> {
    let lines = source.lines().count();
    let long = (lines > LINES_MAX)
        .then(|| format!("{path} has {lines} lines: split it, {LINES_MAX} are allowed"));
    // What a file of tests is for, its name and its place say.
    let is_of_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    let silent = (!is_of_tests && !source.starts_with("//!"))
        .then(|| format!("{path} does not begin with `//!` and why it exists"));
    let unfinished = UNFINISHED
        .iter()
        .filter(|unfinished| source.contains(**unfinished))
        .map(|unfinished| format!("{path} holds `{unfinished}`"));
    long.into_iter().chain(silent).chain(unfinished).collect()
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut sources = Vec::new();
    for _ in 0..FOLDERS_MAX {
        let Some(folder) = folders.pop() else {
            return sources;
        };
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let name = entry.file_name();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !SKIPPED.iter().any(|skipped| name == *skipped) {
                folders.push(entry.path());
            } else if !is_folder && entry.path().extension().is_some_and(|ext| ext == "rs") {
                sources.push(entry.path());
            }
        }
    }
    panic!("more than {FOLDERS_MAX} folders")
}

#[test]
fn every_source_file_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = sources(&root);
    assert!(sources.len() >= 20, "the sources were not found");
    let faults: Vec<_> = sources
        .iter()
        .flat_map(|path| {
            let source = std::fs::read_to_string(path).expect("a readable source");
            let shown = path.strip_prefix(&root).unwrap_or(path);
            faults(&shown.display().to_string(), &source)
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn planted_faults_are_found() {
    assert!(faults("good.rs", "//! Why.\nfn main() {}\n").is_empty());
    assert_eq!(faults("silent.rs", "fn main() {}\n").len(), 1);
    assert!(faults("crate/src/queue/tests.rs", "fn main() {}\n").is_empty());
    assert_eq!(
        faults("long.rs", &format!("//! Why.\n{}", "\n".repeat(LINES_MAX))).len(),
        1
    );
    let unfinished = format!("//! Why.\nfn main() {{ {}) }}\n", UNFINISHED[0]);
    assert_eq!(faults("unfinished.rs", &unfinished).len(), 1);
}
