//! One span for each request that came to an end: from its creation to the decision.

use std::time::SystemTime;

use otel::{Attributes, Kind, Span, Telemetry};

use super::request::Request;

pub(super) fn ended(telemetry: &Telemetry, request: &Request, outcome: &'static str) {
    let Some((trace, id)) = telemetry.begin() else { return };
    let end = SystemTime::now();
    let begin = request.created.map_or(end, SystemTime::from);
    let (namespace, name) = &request.id;
    let mut attributes = Attributes::default();
    attributes.text("agentaccess.approval.id", name);
    attributes.text("agentaccess.subject.namespace", namespace);
    attributes.text("agentaccess.subject.service_account", &request.spec.subject.service_account);
    attributes.text("agentaccess.target", &request.spec.target.name);
    let policies = request.policies();
    attributes.texts("agentaccess.policies", policies.iter().map(String::as_str));
    attributes.word("agentaccess.outcome", outcome);
    let (name, kind) = ("approval".into(), Kind::Internal);
    telemetry.span(Span { trace, id, parent: None, link: None, name, kind, begin, end, attributes, failed: None });
}
