//! `agentaccess`, also as `kubectl-agentaccess`: approve, look at recordings, and check policies.
//!
//! It decides nothing: approvals are counted by the sidecar, and what is said of a policy is what `policy` says.
//! Invariant: no text of an agent, a target or a file reaches the terminal with a control character in it.

mod approvals;
mod approve;
mod cases;
mod check;
mod cluster;
mod completion;
mod exit;
mod export;
mod invoked;
mod keys;
mod lint;
mod names;
mod objects;
mod place;
mod pods;
mod recordings;
mod replay;
mod screen;
mod search;
mod sessions;
mod simulate;
mod source;
mod suggest;
mod verify;
mod when;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::place::Place;
use crate::screen::{Paint, Screen, ScreenOptions};

/// Approve what AI agents ask for, see what they did, and check the policies they are under.
#[derive(Parser)]
#[command(name = "agentaccess", version, after_help = exit::HELP, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    screen: ScreenOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Approve(approve::Approve),
    Deny(approve::Deny),
    Revoke(approve::Revoke),
    /// Requests that wait for people, and those that were decided.
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// What agents did.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    Replay(replay::Replay),
    Export(export::Export),
    Verify(verify::Verify),
    Keys(keys::Keys),
    /// The recording on disk.
    #[command(subcommand)]
    Recordings(recordings::Recordings),
    Check(check::Check),
    Why(pods::Why),
    Explain(pods::Explain),
    Lint(lint::Lint),
    Simulate(simulate::Simulate),
    Test(cases::Test),
    Suggest(suggest::Suggest),
    Completion(completion::Completion),
    Names(names::Names),
}

fn main() -> ExitCode {
    let name = invoked::name();
    let matches = command(&name).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let mut screen = Screen::new(&cli.screen, name);
    match run(cli, &mut screen) {
        Ok(status) => ExitCode::from(status),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let word = screen.paint_error("error:", Paint::Bad);
            eprintln!("{word} {}", screen::following(&format!("{error:#}")));
            ExitCode::from(exit::of(&error))
        }
    }
}

fn run(cli: Cli, screen: &mut Screen) -> Result<u8> {
    let place = &cli.place;
    match cli.command {
        Command::Approve(c) => c.run(place, screen),
        Command::Deny(c) => c.run(place, screen),
        Command::Revoke(c) => c.run(place, screen),
        Command::Approvals(c) => c.run(place, screen),
        Command::Sessions(c) => c.run(place, screen),
        Command::Replay(c) => c.run(place, screen),
        Command::Export(c) => c.run(place, screen),
        Command::Verify(c) => c.run(place, screen),
        Command::Keys(c) => c.run(place, screen),
        Command::Recordings(c) => c.run(place, screen),
        Command::Check(c) => c.run(place, screen),
        Command::Why(c) => c.run(screen),
        Command::Explain(c) => c.run(screen),
        Command::Lint(c) => c.run(place, screen),
        Command::Simulate(c) => c.run(place, screen),
        Command::Test(c) => c.run(place, screen),
        Command::Suggest(c) => c.run(place, screen),
        Command::Completion(c) => c.run(command(screen.name())),
        Command::Names(c) => c.run(screen),
    }
}

/// As it was called, so that what the usage shows can be typed.
fn command(name: &str) -> clap::Command {
    Cli::command().bin_name(name)
}

/// `agentaccess replay … | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe && e.raw_os_error().is_some()) && !from_socket(error)
}

fn from_socket(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<approvals::socket::CallError>().is_some())
}
