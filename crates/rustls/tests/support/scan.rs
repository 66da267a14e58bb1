//! Copies of secrets in a process's memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Bytes by which a copy is recognised: a random secret has none of its pieces by chance.
const PIECE: usize = 8;

/// A secret by name.
pub type Secret = (String, Vec<u8>);

/// How many copies of it there are, and where.
#[derive(Debug, Default, Clone)]
pub struct Copies {
    /// Whole ones.
    pub whole: usize,
    /// Of its pieces of eight bytes, in whole copies or not.
    pub pieces: usize,
    pub places: Vec<String>,
}

/// Looks for `secrets` in what process `pid` can write to, as they are and with the bytes of their words
/// the other way round, as hash states hold them.
pub fn scan(pid: u32, secrets: &[Secret]) -> Vec<Copies> {
    look(writable(pid), secrets)
}

/// The same in memory that is given: name, address, content.
fn look(
    memory: impl IntoIterator<Item = (String, usize, Vec<u8>)>,
    secrets: &[Secret],
) -> Vec<Copies> {
    let mut known = HashMap::new();
    let mut images = Vec::new();
    for (index, (_, secret)) in secrets.iter().enumerate() {
        for word in [1, 4, 8] {
            let image: Vec<u8> = secret
                .chunks(word)
                .flat_map(|word| word.iter().rev().copied())
                .collect();
            for (number, piece) in image.chunks_exact(PIECE).enumerate() {
                let entry = known.entry(<[u8; PIECE]>::try_from(piece).unwrap());
                entry.or_insert_with(Vec::new).push((images.len(), number));
            }
            images.push((index, image));
        }
    }
    let mut found = vec![Copies::default(); secrets.len()];
    for (name, start, memory) in memory {
        for (at, window) in memory.windows(PIECE).enumerate() {
            let Some(hits) = known.get(window) else {
                continue;
            };
            for (image, number) in hits {
                let (secret, bytes) = &images[*image];
                let copies = &mut found[*secret];
                copies.pieces += 1;
                let whole = *number == 0 && memory[at..].starts_with(bytes);
                copies.whole += usize::from(whole);
                let what = if whole { "" } else { "piece " };
                copies
                    .places
                    .push(format!("{what}{name}+{:#x}", start + at));
            }
        }
    }
    found
}

/// The writable mappings of a process: name, address, content.
fn writable(pid: u32) -> Vec<(String, usize, Vec<u8>)> {
    let mut maps = String::new();
    let path = format!("/proc/{pid}/maps");
    File::open(path)
        .and_then(|mut file| file.read_to_string(&mut maps))
        .expect("mappings of a child");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("memory of a child");
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, access) = (words.next().unwrap(), words.next().unwrap());
        let name = words.nth(3).unwrap_or("anonymous");
        if !access.starts_with("rw") || name.starts_with("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        let mut content = vec![0; end - start];
        if memory.read_exact_at(&mut content, start as u64).is_ok() {
            all.push((name.to_owned(), start, content));
        }
    }
    all
}

#[test]
fn what_is_there_is_found() {
    let secret: Vec<u8> = (0..48).map(|byte| byte ^ 0xa7).collect();
    let swapped = |word: usize| -> Vec<u8> {
        let words = secret.chunks(word);
        words.flat_map(|word| word.iter().rev().copied()).collect()
    };
    let memory = [
        &[0; 3][..],
        &secret,
        &[1],
        &swapped(8),
        &swapped(4),
        &secret[16..47],
    ]
    .concat();
    let mut other = secret.clone();
    other.rotate_left(1);
    let secrets = [("secret".to_owned(), secret), ("other".to_owned(), other)];
    let [copies, others] = &look([("memory".to_owned(), 0x1000, memory)], &secrets)[..] else {
        panic!("as many as were asked for");
    };
    assert_eq!((copies.whole, copies.pieces), (3, 3 * 6 + 3));
    assert_eq!(copies.places[0], "memory+0x1003");
    assert_eq!(others.whole, 0);
}
