//! Names of requests for the shell that completes a word: soon, or not at all.
//!
//! Invariant: what is printed is a plain name, since shells evaluate such words; everything else is left out, and so is
//! every error.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use crds::approval::ApprovalRequest;

use crate::approvals::whose::Whose;
use crate::approvals::{Word, files, word};
use crate::cluster::{Cluster, ClusterOptions};
use crate::exit;
use crate::place::Place;
use crate::screen::Screen;

/// Names that could stand next in a command line.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Names {
    /// The command line so far, without the program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

// === impl Names ===

impl Names {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8> {
        // A shell has no use for what went wrong.
        let items = self.items(screen).unwrap_or_default();
        let wanted = self.wanted();
        let names = items.iter().filter(|item| wanted.is_none_or(|wanted| word(item) == wanted));
        let names = names.filter_map(|item| item.metadata.name.as_deref()).filter(|name| is_plain(name));
        names.into_iter().try_for_each(|name| screen.say(name))?;
        Ok(exit::DONE)
    }

    fn items(&self, screen: &Screen) -> Result<Vec<ApprovalRequest>> {
        let path = |long| self.option(long, None).map(PathBuf::from);
        let place = Place::of(path("--state-dir"), path("--config"));
        let whose = Whose {
            cluster: self.words.iter().any(|word| word == "--cluster"),
            namespace: self.option("--namespace", Some("-n")),
            options: ClusterOptions { context: self.option("--context", None) },
        };
        match whose.is_cluster(&place, screen, false)? {
            true => whose.remote(Cluster::hurried(&whose.options), false)?.list(),
            false => files::read_all(&place.state_dir()?),
        }
    }

    /// Of which phase requests must be for this command to have a meaning.
    fn wanted(&self) -> Option<Word> {
        self.words.iter().find_map(|word| match word.as_str() {
            "approve" | "deny" => Some(Word::Pending),
            "revoke" => Some(Word::Approved),
            _ => None,
        })
    }

    /// The last that was given.
    fn option(&self, long: &str, short: Option<&str>) -> Option<String> {
        let after = self.words.iter().zip(self.words.iter().skip(1));
        let apart =
            after.filter(|(word, _)| *word == long || Some(word.as_str()) == short).map(|(_, value)| value.as_str());
        let joined = self.words.iter().filter_map(|word| word.strip_prefix(long)?.strip_prefix('='));
        apart.chain(joined).last().map(str::to_owned)
    }
}

fn is_plain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty() && !name.starts_with('-') && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_whose_and_which() {
        let names = |line: &str| Names { words: line.split(' ').map(str::to_owned).collect() };
        let line = names("approve -n shop --context=east a");
        assert_eq!(line.option("--namespace", Some("-n")).as_deref(), Some("shop"));
        assert_eq!(line.option("--context", None).as_deref(), Some("east"));
        assert_eq!(line.wanted(), Some(Word::Pending));
        assert_eq!(names("approvals show --namespace").option("--namespace", Some("-n")), None);
        assert_eq!(names("approvals show").wanted(), None);
        assert_eq!(names("revoke x").wanted(), Some(Word::Approved));
    }

    #[test]
    fn nothing_that_a_shell_would_evaluate_is_a_name() {
        assert!(is_plain("areq-7f2k") && is_plain("a.b"));
        for bad in ["", "-a", "$(reboot)", "a b", "a;b", "`a`", "a\nb", "ä", "a*"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
