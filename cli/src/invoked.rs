//! The name we were called by: as a kubectl plugin, people type `kubectl agentaccess`.

use std::path::Path;

pub(crate) fn name() -> String {
    named(std::env::args_os().next().as_deref().map(Path::new))
}

fn named(program: Option<&Path>) -> String {
    let file = program.and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
    match file.strip_prefix("kubectl-") {
        // kubectl writes `_` in file names for `-` in names of plugins.
        Some(plugin) if !plugin.is_empty() => format!("kubectl {}", plugin.replace('_', "-")),
        _ => "agentaccess".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_named_as_typed() {
        assert_eq!(named(Some(Path::new("/usr/bin/kubectl-agentaccess"))), "kubectl agentaccess");
        assert_eq!(named(Some(Path::new("./agentaccess"))), "agentaccess");
        assert_eq!(named(Some(Path::new("kubectl-"))), "agentaccess");
        assert_eq!(named(None), "agentaccess");
    }
}
