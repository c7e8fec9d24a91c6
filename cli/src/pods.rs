//! `why POD` and `explain POD`: is this pod governed, by what, and what may its agent do?
//!
//! Read from live objects: labels and policies as they are now, as the operator reads them. Whether the sidecar has them in
//! force already is what the conditions of the policies say. Refused: an object that this program cannot read, since
//! what it says would be left out.

mod live;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::json;

use crate::cluster::{Cluster, ClusterOptions, segment};
use crate::exit::{self, Usage};
use crate::screen::{Paint, Screen, indent, line};

use live::Live;

/// Say whether a pod is governed, by which policies, and why.
///
/// Exit status: 0 it is governed and a policy selects it; 1 it is not, none does, or it cannot be told.
#[derive(Args)]
pub(crate) struct Why {
    #[command(flatten)]
    which: Which,
}

/// Show the rules and masks that apply to a pod, target by target.
#[derive(Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// Name of the pod.
    pod: String,
    /// Its namespace [default: that of the context].
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    options: ClusterOptions,
}

impl Which {
    fn look(&self) -> Result<Live> {
        let cluster = Cluster::new(&self.options);
        let namespace = match &self.namespace {
            Some(namespace) => segment(namespace).map_err(|error| Usage(format!("--namespace: {error}")))?.to_owned(),
            None => cluster.namespace()?,
        };
        Live::read(&cluster, &namespace, &self.pod)
    }
}

impl Why {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8> {
        let live = self.which.look()?;
        let selected: Vec<String> = live.selected().map(live::described).collect();
        let guardrails: Vec<String> = live.guardrails().map(str::to_owned).collect();
        let governed = live.not_injected().is_none();
        let status = if governed && !selected.is_empty() { exit::DONE } else { exit::FAILED };
        if screen.json() {
            screen.say_json(&json!({
                "pod": live.name(), "governed": governed, "because": live.not_injected(),
                "sidecarReady": governed.then_some(live.sidecar_ready()),
                "policies": selected, "clusterPolicies": guardrails,
            }))?;
            return Ok(status);
        }
        let title = screen.paint(&line(&live.name()), Paint::Strong);
        screen.say(&title)?;
        let pod = match live.not_injected() {
            None => screen.paint("governed: the operator put the sidecar into it", Paint::Good),
            Some(why) => screen.paint(&format!("not governed: {why}"), Paint::Bad),
        };
        let sidecar = match (governed, live.sidecar_ready()) {
            (false, _) => "there is none".to_owned(),
            (true, true) => "ready".to_owned(),
            (true, false) => screen.paint("not ready: see its log, container agentaccess-proxy", Paint::Bad),
        };
        let policies = match selected.as_slice() {
            [] => vec![screen.paint("none: a governed pod is then denied everything", Paint::Bad)],
            some => some.iter().map(|text| line(text)).collect(),
        };
        let guardrails = if guardrails.is_empty() { vec!["none".to_owned()] } else { guardrails };
        let rows =
            [("pod", vec![pod]), ("sidecar", vec![sidecar]), ("selected by", policies), ("guardrails", guardrails)];
        for (label, texts) in rows {
            for (at, text) in texts.iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                screen.say(&format!("  {label:<12}{text}"))?;
            }
        }
        Ok(status)
    }
}

impl Explain {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8> {
        let live = self.which.look()?;
        let views =
            live.views().map_err(|errors| anyhow!("these policies cannot be in force:\n{}", errors.join("\n")))?;
        if screen.json() {
            let targets: Vec<_> = views
                .iter()
                .map(|(target, view)| json!({"target": target, "selected": view.selected(), "audit": view.audit(), "rules": view.explain().lines().skip(1).collect::<Vec<_>>()}))
                .collect();
            screen.say_json(&json!({"pod": live.name(), "targets": targets}))?;
            return Ok(exit::DONE);
        }
        if let Some(why) = live.not_injected() {
            screen.remark(&format!("the pod is not governed, so nothing of this holds for it: {why}"));
        }
        if views.is_empty() {
            screen.say("its namespace has no AccessTarget: every connection is denied")?;
        }
        for (target, view) in &views {
            let title = screen.paint(&line(target), Paint::Strong);
            screen.say(&title)?;
            // Escaped where it was made.
            screen.say(&indent(&view.explain(), "  "))?;
        }
        Ok(exit::DONE)
    }
}
