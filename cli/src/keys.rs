//! `keys`: what people have to know to trust a recording and to connect an agent.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use recording::VerifyingKey;
use serde_json::json;

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, line};

/// A key file is about 100 bytes.
const LARGEST: u64 = 4096;

/// Print the public key of the checkpoints, and the CA that agents trust.
///
/// Keep the key somewhere else than the recording: `verify --key` needs it, and who can replace both can forge both.
#[derive(Args)]
pub(crate) struct Keys {}

impl Keys {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let folder = place.state_dir()?.join("keys");
        let key = read_public(&folder.join("checkpoint.pub"))
            .context("give the state directory of a sidecar that was started once with --state-dir")?;
        let ca = folder.join("ca.crt");
        let ca = ca.exists().then_some(ca);
        if screen.json() {
            screen.say_json(&json!({"checkpointKey": key.to_string(), "ca": ca}))?;
            return Ok(exit::DONE);
        }
        screen.say(&format!("checkpoint key  {key}"))?;
        match ca {
            Some(ca) => screen.say(&format!("CA for agents   {}", line(&ca.display().to_string())))?,
            None => screen.say("CA for agents   none: no listener uses TLS yet")?,
        }
        Ok(exit::DONE)
    }
}

/// Reads a file that holds one public key.
pub(crate) fn read_public(file: &Path) -> Result<VerifyingKey> {
    use std::io::Read as _;
    let shown = file.display();
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read the key file `{shown}`"))?;
    opened.take(LARGEST).read_to_string(&mut text).with_context(|| format!("cannot read the key file `{shown}`"))?;
    text.trim().parse().with_context(|| format!("`{shown}` does not hold a public key"))
}
