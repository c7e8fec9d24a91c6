//! `completion`: what shells need to complete our words.

use anyhow::Result;
use clap::Args;
use clap_complete::{Shell, generate};

use crate::exit;

/// Print the completion script of a shell.
///
/// For example: `source <(agentaccess completion bash)`.
#[derive(Args)]
pub(crate) struct Completion {
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, mut command: clap::Command) -> Result<u8> {
        use std::io::Write as _;
        let mut script = Vec::new();
        // Shells complete for names of programs, so always for the program's own.
        generate(self.shell, &mut command, "agentaccess", &mut script);
        std::io::stdout().lock().write_all(&script)?;
        Ok(exit::DONE)
    }
}
