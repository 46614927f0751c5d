//! The inputs that fuzzing collected, and every recorded exchange, through the fuzz targets. `make fuzz` looks for more.
#![allow(clippy::tests_outside_test_module, reason = "all of this is test code")]
use std::{fs, path::PathBuf};

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "shared with the fuzzer's own package")]
mod targets;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder.
fn files(folder: PathBuf) -> Vec<Vec<u8>> {
    let mut told = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            told.extend(files(path));
        } else {
            told.push(fs::read(path).expect("readable"));
        }
    }
    told
}

fn run(name: &str, target: fn(&[u8])) {
    let collected = files(root().join("fuzz/corpus").join(name));
    assert!(!collected.is_empty(), "fuzz/corpus/{name} is empty");
    for input in collected {
        target(&input);
    }
}

#[test]
fn frames_hold() {
    run("frames", targets::frames);
}

#[test]
fn binary_holds() {
    run("binary", targets::binary);
}

#[test]
fn requests_hold() {
    run("requests", targets::requests);
}

#[test]
fn answers_hold() {
    run("answers", targets::answers);
}

#[test]
fn streams_hold() {
    run("streams", targets::streams);
}

/// Each recorded file is read as if every dialect had sent it.
#[test]
fn recorded_files_hold_in_every_dialect() {
    let recorded = files(root().join("tests/fixtures"));
    assert!(recorded.len() > 200, "{} files", recorded.len());
    for file in recorded.iter().filter(|file| file.len() < 20_000) {
        for pick in 0..8 {
            let input = [&[pick, 64][..], file].concat();
            targets::streams(&input);
            let input = [&[pick][..], file].concat();
            targets::requests(&input);
            targets::answers(&input);
        }
    }
}
