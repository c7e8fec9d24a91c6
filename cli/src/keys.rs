//! `keys`: what people have to know to trust a recording and to connect an agent.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use recording::verify::newest_head;
use recording::{Head, VerifyingKey};
use serde_json::json;

use crate::exit;
use crate::place::{Place, open_recordings};
use crate::screen::{Screen, line};

/// A key file is about 100 bytes.
const LARGEST: u64 = 4096;

/// Print the public key of the checkpoints, the newest head of the recording, and the CA that agents trust.
///
/// Keep key and head somewhere else than the recording: `verify --key` and `--head` need them, and who can replace all
/// can forge all. The head is that of the newest checkpoint; only a head that was kept shows that later lines are gone.
#[derive(Args)]
pub(crate) struct Keys {}

impl Keys {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let folder = place.state_dir()?.join("keys");
        let key = read_public(&folder.join("checkpoint.pub"))
            .context("give the state directory of a sidecar that was started once with --state-dir")?;
        let ca = folder.join("ca.crt");
        let ca = ca.exists().then_some(ca);
        let head = newest(&place.state_dir()?.join("recordings"), &key);
        if screen.json() {
            let head = head.as_ref().ok().copied().flatten().map(|head| head.to_string());
            screen.say_json(&json!({"checkpointKey": key.to_string(), "head": head, "ca": ca}))?;
            return Ok(exit::DONE);
        }
        screen.say(&format!("checkpoint key  {key}"))?;
        match head {
            Ok(Some(head)) => screen.say(&format!("newest head     {head}"))?,
            Ok(None) => screen.say("newest head     none: there is no checkpoint of this key yet")?,
            Err(error) => screen.say(&format!("newest head     unknown: {}", line(&error.to_string())))?,
        }
        match ca {
            Some(ca) => screen.say(&format!("CA for agents   {}", line(&ca.display().to_string())))?,
            None => screen.say("CA for agents   none: no listener uses TLS yet")?,
        }
        Ok(exit::DONE)
    }
}

/// The head to keep; the recording is readable for fewer users than the keys.
fn newest(recordings: &Path, key: &VerifyingKey) -> Result<Option<Head>> {
    if !recordings.exists() {
        return Ok(None);
    }
    Ok(newest_head(&open_recordings(recordings)?, key)?)
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
