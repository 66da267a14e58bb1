//! NIST's vectors (ACVP's for FIPS 203) and those of C2SP's CCTV that random tests do not reach: matrices
//! with many rejections, and ciphertexts that differ behind a zero byte. The package fips203 carries
//! both for its own tests; nothing else of it is used.

#![cfg(target_arch = "x86_64")]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use serde_json::Value;
use spinlane_mlkem::{LANES, Lanes};

/// Where that package's tests lie.
fn vectors() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1"])
        // Packages for other platforms need not be here.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages
        .find(|package| package["name"] == "fips203")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().join("tests")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn of(value: &Value) -> Vec<u8> {
    bytes(value.as_str().unwrap())
}

/// Each test of a file of NIST's, with its group, of one parameter set and function.
fn nist(file: &str, set: &str, function: Option<&str>) -> Vec<(Value, Value)> {
    let path = vectors()
        .join("nist_vectors")
        .join(file)
        .join("internalProjection.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut found = Vec::new();
    for group in all["testGroups"].as_array().unwrap() {
        if group["parameterSet"] == set && group["function"].as_str() == function {
            let tests = group["tests"].as_array().unwrap();
            found.extend(tests.iter().map(|test| (group.clone(), test.clone())));
        }
    }
    assert!(found.len() >= 10, "{file} has vectors of {set}");
    found
}

fn nist_vectors<const K: usize>(set: &str) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    for batch in nist("ML-KEM-keyGen-FIPS203", set, None).chunks(LANES) {
        let seeds: Vec<[u8; 64]> = batch
            .iter()
            .map(|(_, test)| {
                [of(&test["d"]), of(&test["z"])]
                    .concat()
                    .try_into()
                    .unwrap()
            })
            .collect();
        for (pair, (_, test)) in our_pairs(&mut lanes, &seeds).iter().zip(batch) {
            assert_eq!(pair.encapsulation_key, of(&test["ek"]), "{}", test["tcId"]);
            assert_eq!(pair.decapsulation_key, of(&test["dk"]), "{}", test["tcId"]);
        }
    }
    let file = "ML-KEM-encapDecap-FIPS203";
    for batch in nist(file, set, Some("encapsulation")).chunks(LANES) {
        let keys: Vec<_> = batch.iter().map(|(_, test)| of(&test["ek"])).collect();
        let inputs: Vec<_> = keys
            .iter()
            .zip(batch)
            .map(|(key, (_, test))| (key.as_slice(), of(&test["m"]).try_into().unwrap()))
            .collect();
        for (sealed, (_, test)) in our_encapsulations(&mut lanes, &inputs).iter().zip(batch) {
            let sealed = sealed.as_ref().unwrap();
            assert_eq!(sealed.ciphertext, of(&test["c"]), "{}", test["tcId"]);
            assert_eq!(sealed.shared_secret, *of(&test["k"]), "{}", test["tcId"]);
        }
    }
    for batch in nist(file, set, Some("decapsulation")).chunks(LANES) {
        let given: Vec<_> = batch
            .iter()
            .map(|(group, test)| (of(&group["dk"]), of(&test["c"])))
            .collect();
        let inputs: Vec<_> = given
            .iter()
            .map(|(key, ciphertext)| (key.as_slice(), ciphertext.as_slice()))
            .collect();
        for (secret, (_, test)) in our_decapsulations(&mut lanes, &inputs).iter().zip(batch) {
            assert_eq!(secret.unwrap(), *of(&test["k"]), "{}", test["tcId"]);
        }
    }
}

#[test]
fn nist_ml_kem_512() {
    nist_vectors::<2>("ML-KEM-512");
}

#[test]
fn nist_ml_kem_768() {
    nist_vectors::<3>("ML-KEM-768");
}

#[test]
fn nist_ml_kem_1024() {
    nist_vectors::<4>("ML-KEM-1024");
}

/// The lines `name = hex` of a file of CCTV's.
fn cctv(kind: &str, set: &str) -> HashMap<String, Vec<u8>> {
    let path = vectors()
        .join("cctv_vectors/ML-KEM")
        .join(kind)
        .join(format!("{set}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(" = "));
    lines
        .map(|(name, hex)| (name.to_owned(), bytes(hex)))
        .collect()
}

/// In every fill, beside others: who samples when differs.
fn cctv_vectors<const K: usize>(set: &str) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    // Its seed is that of the standard's draft, which did not hash K with d. Its keys are good.
    let unlucky = cctv("unluckysample", set);
    let m = unlucky["m"][..].try_into().unwrap();
    let strcmp = cctv("strcmp", set);
    let mut random = Bytes(13);
    for fill in 1..=LANES {
        for place in 0..fill {
            let mut pairs = our_pairs(&mut lanes, &seeds(&mut random, fill));
            pairs[place].encapsulation_key = unlucky["ek"].clone();
            pairs[place].decapsulation_key = unlucky["dk"].clone();
            let keys = pairs.iter().map(|pair| pair.encapsulation_key.as_slice());
            let inputs: Vec<_> = keys.map(|key| (key, m)).collect();
            let sealed = our_encapsulations(&mut lanes, &inputs);
            let ours = sealed[place].as_ref().unwrap();
            assert_eq!(ours.ciphertext, unlucky["c"]);
            assert_eq!(ours.shared_secret, *unlucky["K"]);

            for (vector, key) in [(&unlucky, &unlucky["dk"]), (&strcmp, &strcmp["dk"])] {
                let mut inputs: Vec<_> = pairs
                    .iter()
                    .zip(&sealed)
                    .map(|(pair, sealed)| {
                        let ciphertext = sealed.as_ref().unwrap().ciphertext.as_slice();
                        (pair.decapsulation_key.as_slice(), ciphertext)
                    })
                    .collect();
                inputs[place] = (key, &vector["c"]);
                let secrets = our_decapsulations(&mut lanes, &inputs);
                assert_eq!(secrets[place].unwrap(), *vector["K"]);
            }
        }
    }
}

#[test]
fn many_rejections_and_zero_bytes() {
    cctv_vectors::<2>("ML-KEM-512");
    cctv_vectors::<3>("ML-KEM-768");
    cctv_vectors::<4>("ML-KEM-1024");
}
