//! Writes the CustomResourceDefinitions beside this crate; with `--check` only says which of them drifted.

use std::path::Path;
use std::process::ExitCode;

const MEND: &str = "cargo run -p crds --bin generate";

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: generate [--check]");
            return ExitCode::from(2);
        }
    };
    match run(Path::new(env!("CARGO_MANIFEST_DIR")), check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            problems.iter().for_each(|p| eprintln!("{p}"));
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, check: bool) -> Result<(), Vec<String>> {
    let files = crds::definitions::files().map_err(|e| vec![e.to_string()])?;
    let mut problems = Vec::new();
    for definition in &files {
        let path = folder.join(&definition.file);
        if !check {
            if let Err(e) = std::fs::write(&path, &definition.yaml) {
                problems.push(format!("{}: cannot be written: {e}", path.display()));
            }
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(definition.yaml.as_str()) {
            problems.push(format!("crds/{}: differs from the types in crds/src; run `{MEND}`", definition.file));
        }
    }
    for entry in std::fs::read_dir(folder).map_err(|e| vec![format!("{}: {e}", folder.display())])?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !files.iter().any(|d| d.file == name) {
            problems.push(format!("crds/{name}: is made from no type in crds/src; remove it"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
