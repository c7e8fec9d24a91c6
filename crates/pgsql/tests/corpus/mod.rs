//! PostgreSQL's own regression SQL, as shipped with `pg_raw_parse`: found through cargo metadata, nothing is copied.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every distinct statement text of the corpus, sorted.
pub(crate) fn statements() -> Vec<String> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        // Only this platform's packages: the others' need not be downloaded.
        .other_options(vec!["--locked".to_owned(), "--filter-platform".to_owned(), host()])
        .exec()
        .unwrap();
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "pg_raw_parse").unwrap();
    let root = package.manifest_path.parent().unwrap().join("libpg_query/test/sql");
    let mut files = Vec::new();
    collect(root.as_std_path(), &mut files);
    assert!(files.len() > 250, "the corpus has moved: {} files", files.len());
    let mut all = BTreeSet::new();
    for file in files {
        // Some files test other encodings.
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        all.extend(split(&text));
    }
    all.into_iter().collect()
}

/// Runs a test on a stack of its own size.
pub(crate) fn on_stack<T: Send + 'static>(bytes: usize, test: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(bytes).spawn(test).unwrap().join().unwrap()
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
}

/// Splits a script as psql does: quotes, comments, parentheses, `BEGIN ATOMIC`, backslash commands, COPY data.
fn split(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let mut out: Vec<String> = Vec::new();
    let (mut start, mut at, mut parentheses, mut atomic) = (0, 0, 0_i32, 0_i32);
    let mut escapes = false;
    let line_end = |from: usize| bytes[from..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| from + n + 1);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest[0] {
            b'-' if rest.starts_with(b"--") => at = line_end(at),
            b'/' if rest.starts_with(b"/*") => {
                let mut depth = 0;
                while at < bytes.len() {
                    if bytes[at..].starts_with(b"/*") {
                        depth += 1;
                        at += 2;
                    } else if bytes[at..].starts_with(b"*/") {
                        depth -= 1;
                        at += 2;
                        if depth == 0 {
                            break;
                        }
                    } else {
                        at += 1;
                    }
                }
            }
            quote @ (b'\'' | b'"') => {
                let extended = quote == b'\'' && (escapes || at > 0 && matches!(bytes[at - 1], b'e' | b'E'));
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if extended && bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'$' if at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') => {
                let tag = rest[1..].iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80));
                match tag {
                    Some(n) if rest[1 + n] == b'$' && !rest[1].is_ascii_digit() => {
                        let tag = &rest[..n + 2];
                        at += tag.len();
                        while at < bytes.len() && !bytes[at..].starts_with(tag) {
                            at += 1;
                        }
                        at += tag.len();
                    }
                    _ => at += 1,
                }
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let n = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(rest.len());
                let word = text[at..at + n].to_ascii_lowercase();
                match word.as_str() {
                    "atomic" => atomic += 1,
                    "case" if atomic > 0 => atomic += 1,
                    "end" if atomic > 0 => atomic -= 1,
                    _ => {}
                }
                at += n;
            }
            b'(' => {
                parentheses += 1;
                at += 1;
            }
            b')' => {
                parentheses -= 1;
                at += 1;
            }
            byte @ (b';' | b'\\') if byte == b'\\' || parentheses <= 0 && atomic == 0 => {
                let statement = text[start..at].trim();
                let lower = statement.to_ascii_lowercase();
                at = if byte == b';' || rest.starts_with(b"\\;") {
                    at + usize::from(byte == b'\\') + 1
                } else {
                    line_end(at)
                };
                if lower.contains("copy") && lower.contains("from stdin") && byte == b';' {
                    at = line_end(at);
                    while at < bytes.len() && !bytes[at..].starts_with(b"\\.") {
                        at = line_end(at);
                    }
                    at = line_end(at.min(bytes.len()));
                }
                if lower.contains("standard_conforming_strings") {
                    escapes = lower.contains("off");
                }
                push(statement, &mut out);
                (start, parentheses, atomic) = (at, 0, 0);
            }
            _ => at += 1,
        }
    }
    push(text.get(start..).unwrap_or_default().trim(), &mut out);
    out
}

fn push(statement: &str, out: &mut Vec<String>) {
    if !statement.is_empty() {
        out.push(statement.to_owned());
    }
}
