//! `docs/COMPLIANCE.md` holds: each requirement is proved by tests that exist, and each test of a section proves a
//! requirement.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/COMPLIANCE.md");
    fs::read_to_string(path).expect("docs/COMPLIANCE.md")
}

/// The rows of the tables, each as its cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells[0] != "section" && !cells[0].starts_with("---")).collect()
}

/// The tests that a cell names, as file and function.
fn named(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect()
}

/// The names of the functions in a file that are tests.
fn tests_in(file: &Path) -> BTreeSet<String> {
    let Ok(text) = fs::read_to_string(file) else { return BTreeSet::new() };
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if is_test {
                tests.insert(rest.split('(').next().unwrap_or_default().to_owned());
            }
            is_test = false;
        }
    }
    tests
}

#[test]
fn every_test_that_is_named_exists() {
    let document = document();
    let mut missing = Vec::new();
    for (file, function) in rows(&document).iter().flat_map(|cells| named(cells.last().expect("a cell"))) {
        if !tests_in(&tests_folder().join(file)).contains(function) {
            missing.push(format!("{file}::{function}"));
        }
    }
    assert!(missing.is_empty(), "named in docs/COMPLIANCE.md and not there: {missing:#?}");
}

#[test]
fn every_requirement_has_a_proof() {
    let document = document();
    let rows = rows(&document);
    assert!(rows.len() > 100, "only {} requirements were found", rows.len());
    for cells in rows {
        assert_eq!(cells.len(), 4, "{cells:?}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
        assert!(!named(cells[3]).is_empty(), "nothing proves {cells:?}");
    }
}

#[test]
fn every_test_of_a_section_proves_a_requirement() {
    let document = document();
    let named: BTreeSet<(&str, &str)> =
        rows(&document).iter().flat_map(|cells| named(cells.last().expect("a cell"))).collect();
    let mut idle = Vec::new();
    for folder in ["rfc9112", "rfc9110"] {
        for entry in fs::read_dir(tests_folder().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let file = format!("{folder}/{name}");
            for test in tests_in(&path) {
                if !named.contains(&(file.as_str(), test.as_str())) {
                    idle.push(format!("{file}::{test}"));
                }
            }
        }
    }
    assert!(idle.is_empty(), "in no row of docs/COMPLIANCE.md: {idle:#?}");
}

#[test]
fn every_test_of_a_section_begins_with_its_number() {
    for folder in ["rfc9112", "rfc9110"] {
        for entry in fs::read_dir(tests_folder().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let Some(section) = name.strip_prefix("section_") else { continue };
            let prefix = format!("s{section}_");
            for test in tests_in(&path) {
                assert!(test.starts_with(&prefix), "{test} in {}", path.display());
            }
        }
    }
}
