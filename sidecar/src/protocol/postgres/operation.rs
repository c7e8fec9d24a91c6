//! From a planned statement to the neutral `Operation`.
//!
//! Two hashes: `payload` is over the exact frames to be sent, so that nothing else can leave under the permit; `digest`
//! is over what the operation means (context, statement text, parameters), so that an approval survives a reconnect in
//! which a driver picks other statement names, and survives nothing else. What could not be planned is `Opaque`.

use aws_lc_rs::hmac;
use pgsql::plan::Plan;
use policy::operation::{
    Access, Attribute, Attributes, Certainty, Digest, Operation, Origin, Protocol, Resource, ResourceKind, Revision,
    Strictness, Verb,
};
use policy::redact::{Redacted, flat, remark};
use policy::subject::Subject;

use super::parameter::{self, Parameter};
use crate::outside::Target;
use crate::upstream::payload_hash;

/// Most bytes of a statement with its parameters that are shown, kept and recorded.
const SHOWN: usize = 64 * 1024;

/// Everything besides the statement that an approval binds to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub key: &'a hmac::Key,
    pub subject: &'a Subject,
    pub target: &'a Target,
    pub database: &'a str,
    /// The role on the target.
    pub role: &'a str,
    pub catalog: &'a str,
    /// The policy under which the statement was planned.
    pub planned: Revision,
    pub transaction: Transaction,
    /// Settings that give the text its meaning, dates above all.
    pub meaning: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    Idle,
    Open,
    Failed,
    /// Other work of the session is under way, so that none of the others is certain.
    Batch,
}

impl Transaction {
    fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "transaction",
            Self::Failed => "failed",
            Self::Batch => "batch",
        }
    }
}

/// A statement that was understood, about to be sent as `frames`.
pub fn planned(ctx: &Context<'_>, plan: &Plan, parameters: &[Parameter<'_>], frames: &[u8]) -> Operation {
    let mut display = plan.display.as_str().to_owned();
    let mut whole = plan.display.is_whole();
    for line in parameter::display(parameters, &plan.hidden_params) {
        whole &= line.whole;
        // Brackets that no statement and no value can hold, so that neither adds or hides a parameter.
        let line = format!(" {}", remark(&line.text));
        if display.len().saturating_add(line.len()) > SHOWN {
            display.push_str(&format!(" {}", remark("more parameters, too many to be shown")));
            whole = false;
            break;
        }
        display.push_str(&line);
    }
    let escaped = Redacted::danger_caller_redacted(&display);
    let display = match whole {
        // Escapes make it longer than what may be shown.
        true if escaped.as_str().len() <= SHOWN => escaped,
        _ => Redacted::danger_caller_redacted_and_cut(&display),
    };
    Operation {
        accesses: plan.accesses.clone(),
        ceiling: plan.ceiling,
        display,
        ..base(ctx, &plan.action, &plan.text, parameters, frames)
    }
}

/// A message that was not understood. `reason` names constructs and objects, never values.
pub fn opaque(ctx: &Context<'_>, text: &str, reason: &str) -> Operation {
    Operation {
        certainty: Certainty::Opaque(reason.to_owned()),
        ceiling: Strictness::Deny,
        // Nothing of it was understood, so nothing of it can be redacted: only its size is shown.
        display: Redacted::danger_caller_redacted(&format!("({} bytes: {})", text.len(), flat(reason))),
        ..base(ctx, "OPAQUE", text, &[], text.as_bytes())
    }
}

/// The session itself: may this subject use this database of this target at all?
pub fn connect(ctx: &Context<'_>) -> Operation {
    let resource = Resource {
        kind: ResourceKind::Target,
        path: vec![ctx.database.to_owned()],
        fields: policy::operation::Fields::All,
    };
    Operation {
        accesses: vec![Access { verb: Verb::Connect, resource, bounded: None, indirect: false }],
        ceiling: Strictness::Allow,
        display: Redacted::danger_caller_redacted(&format!("connect to database {}", flat(ctx.database))),
        ..base(ctx, "CONNECT", "", &[], &[])
    }
}

/// What the server quotes of a relation: a question to policy, whether the agent could read all of it.
pub fn quoting(ctx: &Context<'_>, schema: &str, relation: &str) -> Operation {
    let resource = Resource {
        kind: ResourceKind::Relation,
        path: vec![schema.to_owned(), relation.to_owned()],
        fields: policy::operation::Fields::All,
    };
    Operation {
        accesses: vec![Access { verb: Verb::Read, resource, bounded: None, indirect: false }],
        ceiling: Strictness::Allow,
        display: Redacted::constant("what the target quotes"),
        ..base(ctx, "SELECT", "", &[], &[])
    }
}

/// A request of our own: a constant text, or derived from a decided operation.
pub fn internal(ctx: &Context<'_>, action: &'static str, frames: &[u8]) -> Operation {
    let resource = Resource { kind: ResourceKind::Target, path: vec![], fields: policy::operation::Fields::All };
    Operation {
        accesses: vec![Access { verb: Verb::Read, resource, bounded: None, indirect: false }],
        ceiling: Strictness::Allow,
        origin: Origin::Internal,
        display: Redacted::constant(action),
        ..base(ctx, action, action, &[], frames)
    }
}

/// A request of our own that is made from a decided statement: it reads, whatever that would change.
#[derive(Clone, Copy, Debug)]
pub struct Derived<'a> {
    /// Its name in the recording; the text itself may hold what is masked there.
    pub what: &'static str,
    pub text: &'a str,
    pub parameters: &'a [Parameter<'a>],
    /// Those of the statement.
    pub accesses: &'a [Access],
}

pub fn derived(ctx: &Context<'_>, derived: &Derived<'_>, frames: &[u8]) -> Operation {
    let read = |access: &Access| Access { verb: Verb::Read, bounded: None, ..access.clone() };
    let mut accesses: Vec<Access> = derived.accesses.iter().map(read).collect();
    accesses.sort();
    accesses.dedup();
    Operation {
        accesses,
        ceiling: Strictness::Allow,
        origin: Origin::Internal,
        display: Redacted::constant(derived.what),
        ..base(ctx, derived.what, derived.text, derived.parameters, frames)
    }
}

fn base(ctx: &Context<'_>, action: &str, text: &str, parameters: &[Parameter<'_>], frames: &[u8]) -> Operation {
    Operation {
        protocol: Protocol::Postgres,
        action: action.to_owned(),
        accesses: Vec::new(),
        attributes: Attributes::from([
            (Attribute::Host, ctx.target.host.clone()),
            (Attribute::Database, ctx.database.to_owned()),
            (Attribute::Transaction, ctx.transaction.word().to_owned()),
        ]),
        certainty: Certainty::Exact,
        payload: payload_hash(frames),
        digest: digest(ctx, text, parameters),
        ceiling: Strictness::Deny,
        origin: Origin::Agent,
        planned: ctx.planned,
        display: Redacted::default(),
    }
}

/// What a FETCH reads is what its cursor's query reads; an approval of it is of that query too.
pub fn reading(key: &hmac::Key, operation: &mut Operation, query: &Plan) {
    operation.accesses.extend(query.accesses.iter().cloned());
    operation.ceiling = operation.ceiling.max(query.ceiling);
    let mut mac = hmac::Context::with_key(key);
    mac.update(b"agentaccess postgres fetch v1");
    mac.update(&operation.digest.0);
    mac.update(query.text.as_bytes());
    operation.digest.0.copy_from_slice(mac.sign().as_ref());
}

/// HMAC-SHA-256 over length-prefixed fields, so that no two different operations give the same input.
fn digest(ctx: &Context<'_>, text: &str, parameters: &[Parameter<'_>]) -> Digest {
    let mut mac = hmac::Context::with_key(ctx.key);
    let mut field = |bytes: &[u8]| {
        mac.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(bytes);
    };
    field(b"agentaccess postgres operation v1");
    let subject = ctx.subject;
    for text in [&subject.namespace, &subject.service_account] {
        field(text.as_bytes());
    }
    field(subject.pod.as_deref().unwrap_or_default().as_bytes());
    field(subject.pod_uid.as_deref().unwrap_or_default().as_bytes());
    field(ctx.target.key.namespace.as_bytes());
    field(ctx.target.key.name.as_bytes());
    field(ctx.target.host.as_bytes());
    field(&ctx.target.port.to_be_bytes());
    for entry in &ctx.target.postgres.search_path {
        field(entry.as_bytes());
    }
    field(ctx.database.as_bytes());
    field(ctx.role.as_bytes());
    field(&ctx.planned.0);
    field(ctx.catalog.as_bytes());
    field(ctx.transaction.word().as_bytes());
    field(ctx.meaning.as_bytes());
    field(text.as_bytes());
    for parameter in parameters {
        field(&parameter.type_oid.to_be_bytes());
        field(&[u8::from(parameter.binary), u8::from(parameter.value.is_some())]);
        field(parameter.value.unwrap_or_default());
    }
    let mut out = [0; 32];
    out.copy_from_slice(mac.sign().as_ref());
    Digest(out)
}
