//! Conventions, as tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file without its tests; a longer one hides a second noun.
const MAX_LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder whose names end so, with their text; sorted.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path.strip_prefix(root()).expect("below").to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut all = files("src", ".rs");
    all.extend(files("training/src", ".rs"));
    all
}

/// Up to where the tests begin, if they are in the file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests])
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn report(what: &str, mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{what}:\n{}", mistakes.join("\n"));
}

#[test]
fn the_engine_does_nothing_but_compute() {
    const BANNED: [&str; 9] = [
        "tokio",
        "tonic",
        "std::fs",
        "std::io",
        "std::net",
        "std::thread",
        "std::process",
        "Instant",
        "SystemTime",
    ];
    let mut engine = files("src/engine", ".rs");
    engine.extend(files("src", "engine.rs"));
    let mut mistakes = Vec::new();
    for (path, text) in engine.iter().filter(|(path, _)| !is_test(path)) {
        let code = without_tests(text).lines().enumerate();
        for (n, line) in code.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let banned = BANNED.iter().find(|banned| names(line, banned));
            mistakes.extend(banned.map(|banned| format!("{}:{}: {banned}", path.display(), n + 1)));
        }
    }
    report("the engine is pure", &mistakes);
}

/// Whether a line of code has the path or name, as a whole.
fn names(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + name.len()..].starts_with(is_part))
}

#[test]
fn files_stay_small() {
    let too_long: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, without_tests(text).lines().count()))
        .filter(|(_, n_lines)| *n_lines > MAX_LINES)
        .map(|(path, n_lines)| format!("{}: {n_lines} lines", path.display()))
        .collect();
    report("look for the second noun", &too_long);
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, or this file would find itself.
    let markers = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")].map(|(a, b)| format!("{a}{b}"));
    let mut left = Vec::new();
    for (path, text) in [".rs", ".md", ".toml", ".proto"].iter().flat_map(|ending| files(".", ending)) {
        for (n, line) in text.lines().enumerate() {
            let is_word = |word: &str| markers.iter().any(|marker| marker == word);
            if line.split(|c: char| !c.is_alphanumeric()).any(is_word) {
                left.push(format!("{}:{}: {}", path.display(), n + 1, line.trim()));
            }
        }
    }
    report("do it, or describe what is missing", &left);
}

#[test]
fn metrics_are_named_after_the_project() {
    const MAKERS: [&str; 9] = [
        ".counter(",
        ".counters(",
        ".gauge(",
        ".gauges(",
        ".float_gauge(",
        ".seconds(",
        ".seconds_by(",
        ".histogram(",
        ".histograms(",
    ];
    let (mut n_metrics, mut mistakes) = (0, Vec::new());
    for (path, text) in files("src/metrics", ".rs").iter().filter(|(path, _)| !is_test(path)) {
        for maker in MAKERS {
            for (at, _) in text.match_indices(maker) {
                let arguments = text[at + maker.len()..].trim_start();
                let Some(name) = arguments.strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                    continue;
                };
                n_metrics += 1;
                if !name.starts_with("tipoff_") {
                    mistakes.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(n_metrics > 20, "{n_metrics} metrics found");
    report("a metric begins with the project's name", &mistakes);
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in files(".", ".md") {
        let folder = root().join(&path).parent().expect("a file").to_owned();
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !is_elsewhere && !folder.join(target).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    report("links to nothing", &broken);
}

/// The targets of Markdown's inline links and images outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.starts_with("    ") {
            continue;
        }
        links.extend(line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()));
    }
    links
}

#[test]
fn every_dependency_has_its_reason() {
    let mut bare = Vec::new();
    for manifest in ["Cargo.toml", "training/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
        let mut is_dependency = false;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(section) = line.strip_prefix('[') {
                is_dependency = section.trim_end_matches(']').ends_with("dependencies");
            } else if is_dependency && !line.starts_with('#') && !line.contains(" # ") {
                bare.push(format!("{manifest}: {line}"));
            }
        }
    }
    report("say what it is for", &bare);
}
