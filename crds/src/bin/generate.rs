//! Writes the CustomResourceDefinitions beside this crate; with `--check` only says which of them drifted.

use std::path::Path;
use std::process::ExitCode;

use crds::definitions;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let problems = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => write(folder),
        [flag] if flag == "--check" => definitions::drift(folder).unwrap_or_else(|e| vec![e.to_string()]),
        _ => {
            eprintln!("usage: generate [--check]");
            return ExitCode::from(2);
        }
    };
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(folder: &Path) -> Vec<String> {
    let files = match definitions::files() {
        Ok(files) => files,
        Err(e) => return vec![e.to_string()],
    };
    files
        .iter()
        .filter_map(|d| {
            let path = folder.join(&d.file);
            std::fs::write(&path, &d.yaml).err().map(|e| format!("{}: cannot be written: {e}", path.display()))
        })
        .collect()
}
