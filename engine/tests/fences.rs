//! The fences between the rooms: imports point one way, and unsafe code stays where it is allowed.

use std::fs;
use std::path::{Path, PathBuf};

/// A room and the rooms that it may import from.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("sys", &[]),
    ("driver", &["sys"]),
    ("tls", &["driver", "sys"]),
    ("runtime", &["driver", "sys"]),
    ("proto", &[]),
    ("telemetry", &[]),
    ("conn", &["driver", "proto", "runtime", "sys", "telemetry", "tls"]),
    ("http", &["conn", "proto", "runtime", "tls"]),
    ("app", &["conn", "http", "proto", "runtime", "tls"]),
    ("tower", &["app", "conn", "proto"]),
    ("host", &["app", "conn", "driver", "http", "proto", "runtime", "sys", "telemetry", "tls", "tower"]),
];

/// The files that may hold unsafe code; those of `sys` inherit it from its `mod.rs`.
const MAY_BE_UNSAFE: [&str; 10] = [
    "engine/src/sys/",
    "engine/src/driver/uring.rs",
    "engine/src/driver/bufring.rs",
    "parser/src/simd/",
    "pool/src/block.rs",
    "pool/src/region.rs",
    "pool/src/slab.rs",
    "pool/src/slots.rs",
    "engine/src/app/item.rs",
    "bench/src/bin/floor/",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn imports_point_one_way() {
    let source = workspace().join("engine/src");
    let rooms: Vec<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).collect();
    let mut breaches = Vec::new();
    for (room, allowed) in MAY_IMPORT {
        for file in rust_files(&source.join(room)) {
            let text = fs::read_to_string(&file).expect("a readable file");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for imported in code.split("crate::").skip(1) {
                    let imported =
                        imported.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
                    let fine = imported == room || allowed.contains(&imported) || !rooms.contains(&imported);
                    if !fine {
                        breaches.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert!(breaches.is_empty(), "imports against the direction:\n{}", breaches.join("\n"));
}

#[test]
fn every_room_is_in_the_list() {
    for entry in fs::read_dir(workspace().join("engine/src")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            assert!(MAY_IMPORT.iter().any(|(room, _)| *room == name), "{name} has no fence");
        }
    }
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let root = workspace();
    for member in ["parser", "pool", "engine", "server", "bench"] {
        for file in rust_files(&root.join(member).join("src")) {
            let name = file.strip_prefix(&root).expect("inside").to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).expect("a readable file");
            let has_unsafe =
                text.lines().map(|line| line.split("//").next().unwrap_or_default()).any(|code| {
                    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
                        .iter()
                        .any(|form| code.contains(form))
                });
            let allowed = MAY_BE_UNSAFE.iter().any(|place| name.starts_with(place));
            assert!(!has_unsafe || allowed, "{name} holds unsafe code outside the rooms for it");
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    let root = workspace();
    for member in ["parser", "pool", "engine", "server", "bench"] {
        for file in rust_files(&root.join(member).join("src")) {
            let text = fs::read_to_string(&file).expect("a readable file");
            assert!(text.starts_with("//!"), "{} does not open with its purpose", file.display());
        }
    }
}
