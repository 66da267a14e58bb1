//! What the documents point to exists: links and their anchors, files, and tests by name.
//!
//! `crates/…/file.rs::test` in a document is a claim that this test shows; so it must be there.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that a path in a document may begin with, from the root or from the document's own folder.
const FOLDERS: [&str; 8] = [
    ".ci/", ".github/", "benches/", "crates/", "docs/", "tests/", "tools/", "vendor/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The documents of the repository: those of its root, and below `docs` and `crates`.
fn documents() -> Vec<PathBuf> {
    let mut found = documents_in(&root(), false);
    for folder in ["docs", "crates"] {
        found.extend(documents_in(&root().join(folder), true));
    }
    found
}

fn documents_in(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if deep && path.is_dir() && !path.ends_with("target") {
            found.extend(documents_in(&path, deep));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The lines of `text` that stand in no block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// What stands between `open` and `close`, wherever that is in `line`.
fn between<'a>(line: &'a str, open: &str, close: char) -> Vec<&'a str> {
    let after = line.split(open).skip(1);
    after
        .filter_map(|rest| Some(rest.split_once(close)?.0))
        .collect()
}

/// The anchor that a heading has: letters and digits in lower case, with a dash for each space.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is wrong with a link from `document`.
fn bad_link(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (path, wanted) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => document.to_owned(),
        path => document.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Some(format!("{link}: no such file"));
    }
    if wanted.is_empty() {
        return None;
    }
    let text = fs::read_to_string(&target).unwrap();
    let mut headings = prose(&text).filter(|line| line.starts_with('#'));
    let is_there = headings.any(|heading| anchor(heading) == wanted);
    (!is_there).then(|| format!("{link}: no such heading"))
}

/// What is wrong with a path in backticks of `document`, `FILE` or `FILE::TEST`, if it is one.
fn bad_path(document: &Path, span: &str) -> Option<String> {
    let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder));
    if !is_path
        || span.contains(|c: char| c.is_whitespace() || c.is_uppercase() || "…*<{".contains(c))
    {
        return None;
    }
    let (path, test) = span.split_once("::").unwrap_or((span, ""));
    let near = document.parent().unwrap().join(path);
    let file = if near.exists() {
        near
    } else {
        root().join(path)
    };
    if !file.exists() {
        return Some(format!("{span}: no such file"));
    }
    let is_there = test.is_empty()
        || fs::read_to_string(&file)
            .unwrap()
            .contains(&format!("fn {test}("));
    (!is_there).then(|| format!("{span}: no such test"))
}

/// All that is wrong in `text`, which stands in `document`.
fn bad(document: &Path, text: &str) -> Vec<String> {
    let lines = prose(text);
    lines
        .flat_map(|line| {
            let links = between(line, "](", ')').into_iter();
            let links = links.filter_map(|link| bad_link(document, link));
            let spans = line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter_map(|span| bad_path(document, span));
            links.chain(spans).collect::<Vec<_>>()
        })
        .map(|what| format!("{}: {what}", document.display()))
        .collect()
}

#[test]
fn what_documents_point_to_exists() {
    let documents = documents();
    assert!(documents.len() > 50, "documents were read");
    let bad: Vec<_> = documents
        .iter()
        .flat_map(|document| bad(document, &fs::read_to_string(document).unwrap()))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn what_does_not_exist_is_named() {
    let readme = root().join("README.md");
    for (text, says) in [
        ("[a](docs/nowhere.md)", "no such file"),
        ("[a](#nowhere)", "no such heading"),
        ("[a](ARCHITECTURE.md#nowhere)", "no such heading"),
        ("`crates/nowhere.rs`", "no such file"),
        ("`tests/tests/docs.rs::nothing`", "no such test"),
    ] {
        let bad = bad(&readme, text);
        assert!(bad.len() == 1 && bad[0].ends_with(says), "{text}: {bad:?}");
    }
    for text in [
        "[a](README.md#two-commands) `tests/tests/docs.rs::what_does_not_exist_is_named`",
        "[a](https://example.org/nowhere.md)",
        "```\n`crates/nowhere.rs`\n```",
    ] {
        assert!(bad(&readme, text).is_empty(), "{text}");
    }
}

#[test]
fn the_readme_shows_its_programs_as_they_are() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (language, path) in [
        ("rust,no_run", "crates/spinlane/examples/hello.rs"),
        ("c", "crates/capi/examples/hello.c"),
    ] {
        let program = fs::read_to_string(root().join(path)).unwrap();
        let block = format!("\n```{language}\n{program}```\n");
        assert!(
            readme.contains(&block),
            "README.md does not show {path} as it is"
        );
    }
}
