//! `completion`: what shells need to complete our words, and names of requests.
//!
//! Words come from clap. Names are asked of this program itself, while a person waits: `names` is quick or silent.

use anyhow::Result;
use clap::Args;
use clap_complete::{Shell, generate};

use crate::exit;

/// Asks for names behind `approve`, `deny`, `revoke` and `approvals show`, beside what clap knows.
const BASH: &str = r#"
_agentaccess_with_names() {
    _agentaccess "$@"
    local current="${COMP_WORDS[COMP_CWORD]}" word wanted=""
    [[ "${current}" == -* ]] && return
    case "${COMP_WORDS[COMP_CWORD-1]}" in -n|--namespace|--context|--reason|--grant|--state-dir|--config|-o|--output|--color) return ;; esac
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "${word}" in approve|deny|revoke|show) wanted=1 ;; esac
    done
    [[ -n "${wanted}" ]] || return
    COMPREPLY+=($(compgen -W "$(agentaccess names -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${current}"))
}
complete -F _agentaccess_with_names -o bashdefault -o default agentaccess
"#;
const FISH: &str = r"
complete -c agentaccess -f -n '__fish_seen_subcommand_from approve deny revoke show' -a '(agentaccess names -- (commandline -opc)[2..] 2>/dev/null)'
";
/// Defined in front of clap's own, which then asks it.
const ZSH: &str = r#"
_agentaccess_names() {
    local -a names
    names=(${(f)"$(agentaccess names -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)"})
    compadd -a names
}
"#;
/// As clap writes a word of which it knows nothing, and as it is when we know something.
const ZSH_DEFAULT: (&str, &str) = (":_default'", ":_agentaccess_names'");

/// Print the completion script of a shell.
///
/// For example: `source <(agentaccess completion bash)`. Names of requests are completed too.
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
        let script = with_names(self.shell, String::from_utf8(script)?);
        std::io::stdout().lock().write_all(script.as_bytes())?;
        Ok(exit::DONE)
    }
}

fn with_names(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script + FISH,
        Shell::Zsh => {
            let named = |line: &str| match line.trim_start().starts_with("':name -- Name of the request") {
                true => line.replace(ZSH_DEFAULT.0, ZSH_DEFAULT.1),
                false => line.to_owned(),
            };
            let lines: Vec<String> = script.lines().map(named).collect();
            // The first line says for which program it is.
            match lines.split_first() {
                Some((first, rest)) => format!("{first}\n{ZSH}\n{}\n", rest.join("\n")),
                None => String::new(),
            }
        }
        _ => script,
    }
}
