//! SET, RESET, SHOW, `set_config`, LISTEN and NOTIFY.
//!
//! A setting that is not on the list has the ceiling Deny; one that would change what a text means is not even that, it
//! is refused.

use pg_raw_parse::raw::VariableSetKind as Kind;
use pg_raw_parse::{ConstValue, Node, nodes};
use policy::operation::{Access, ResourceKind, Strictness, Verb};

use super::Judged;
use crate::parse::Parsed;
use crate::plan::{Context, Effect, SettingParam};
use crate::refused::Refused;
use crate::resolve::access;
use crate::settings::{changeable, check_value, readable};

fn on(kind: ResourceKind, name: &str) -> Vec<Access> {
    vec![access(Verb::Execute, kind, vec![name.to_owned()])]
}

pub(super) fn set(set: &nodes::VariableSetStmt, ctx: &Context<'_>) -> Result<Judged, Refused> {
    if matches!(set.kind, Kind::VAR_RESET_ALL) {
        return Ok(denied("RESET ALL", "all"));
    }
    let name = set.name().ok_or_else(|| Refused::new("SET without a name"))?;
    if matches!(set.kind, Kind::VAR_SET_MULTI) {
        return set_transaction(set, name);
    }
    let Some(known) = changeable(name) else { return Ok(denied("SET", &name.to_ascii_lowercase())) };
    match set.kind {
        Kind::VAR_SET_VALUE => {
            for value in set.args() {
                check_value(known, &literal(value)?, &ctx.catalog.time_limits)?;
            }
            // More than one value is for lists such as DateStyle.
            if set.args().is_empty() || (set.args().len() > 1 && known != "datestyle") {
                return Err(Refused::new("SET with another number of values than one"));
            }
        }
        // The value that the session began with was set by us.
        Kind::VAR_SET_DEFAULT | Kind::VAR_RESET
            if !matches!(known, "client_encoding" | "standard_conforming_strings") => {}
        _ => return Err(Refused::new(format!("this form of SET for `{known}`"))),
    }
    Ok(Judged::simple("SET", on(ResourceKind::SessionSetting, known), Effect::Set { names: vec![known.to_owned()] }))
}

/// `SET TRANSACTION ...`: the options of BEGIN.
fn set_transaction(set: &nodes::VariableSetStmt, name: &str) -> Result<Judged, Refused> {
    if !matches!(name, "TRANSACTION" | "SESSION CHARACTERISTICS") {
        return Err(Refused::new("SET of several settings"));
    }
    for option in set.args() {
        let Node::DefElem(option) = option else { return Err(Refused::new("SET TRANSACTION of an unknown form")) };
        let option = option.defname().unwrap_or_default();
        if !matches!(option, "transaction_isolation" | "transaction_read_only" | "transaction_deferrable") {
            return Err(Refused::new(format!("SET TRANSACTION with the option `{option}`")));
        }
    }
    Ok(Judged::simple("SET TRANSACTION", vec![super::transaction::access()], Effect::None))
}

fn denied(action: &str, name: &str) -> Judged {
    let judged = Judged::simple(
        action,
        vec![access(Verb::Administer, ResourceKind::Setting, vec![name.to_owned()])],
        Effect::None,
    );
    Judged { ceiling: Strictness::Deny, ..judged }
}

fn literal(value: Node<'_>) -> Result<String, Refused> {
    match value {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::String(s) | ConstValue::Float(s)) => Ok(s.to_owned()),
            Some(ConstValue::Integer(i)) => Ok(i.to_string()),
            Some(ConstValue::Boolean(b)) => Ok(b.to_string()),
            _ => Err(Refused::new("SET with a value of an unknown form")),
        },
        _ => Err(Refused::new("SET with a value that is not a literal")),
    }
}

pub(super) fn show(show: &nodes::VariableShowStmt) -> Result<Judged, Refused> {
    let name = show.name().unwrap_or_default();
    if !readable(name) {
        return Err(Refused::new(format!("SHOW of `{name}`, which is not on the list of settings")));
    }
    Ok(Judged::simple("SHOW", on(ResourceKind::SessionSetting, &name.to_ascii_lowercase()), Effect::None))
}

/// `SELECT set_config('name', value, false)`, which drivers send: outputs of nothing but this and `current_setting`.
///
/// `None` when the function is not a top-level output; resolution then refuses it wherever it stands.
pub(super) fn set_config(parsed: &Parsed, root: Node<'_>, ctx: &Context<'_>) -> Result<Option<Judged>, Refused> {
    let Node::SelectStmt(select) = root else { return Ok(None) };
    let calls: Vec<&nodes::FuncCall> = select
        .target_list()
        .iter()
        .filter_map(|target| match target.val() {
            Node::FuncCall(call) => Some(call),
            _ => None,
        })
        .collect();
    if !calls.iter().any(|call| is_named(call, "set_config")) {
        return Ok(None);
    }
    // Nothing else in the whole tree: one node for the statement, and for each output itself, the call, two names at
    // most and three arguments, one of them maybe a boolean cast.
    let most = calls.len().saturating_mul(7).saturating_add(2);
    if calls.len() != select.target_list().len() || parsed.counts().nodes > most {
        return Err(other());
    }
    let mut judged = Judged::simple("SET", Vec::new(), Effect::None);
    let mut names = Vec::new();
    for call in calls {
        let args: Vec<Node<'_>> = call.args().iter().collect();
        match args.as_slice() {
            [Node::A_Const(name)] if is_named(call, "current_setting") => {
                let known = crate::resolve::constant_text(name).filter(|n| readable(n)).ok_or_else(other)?;
                judged.accesses.extend(on(ResourceKind::SessionSetting, &known.to_ascii_lowercase()));
            }
            [Node::A_Const(name), value, Node::A_Const(local)] if is_named(call, "set_config") => {
                let name = crate::resolve::constant_text(name).ok_or_else(other)?;
                let Some(known) = changeable(&name) else {
                    return Err(Refused::new(format!("set_config of `{name}`, which is not on the list of settings")));
                };
                if !matches!(local.val(), Some(ConstValue::Boolean(_))) {
                    return Err(other());
                }
                match value {
                    Node::ParamRef(param) => {
                        let number = u32::try_from(param.number).map_err(|_| other())?;
                        judged.checked_params.push(SettingParam { number, setting: known.to_owned() });
                        judged.findings.params = judged.findings.params.max(number);
                    }
                    value => check_value(known, &literal(*value)?, &ctx.catalog.time_limits)?,
                }
                judged.accesses.extend(on(ResourceKind::SessionSetting, known));
                names.push(known.to_owned());
            }
            _ => return Err(other()),
        }
        judged.findings.edits.functions.insert(call.location, "pg_catalog".to_owned());
    }
    judged.effect = Effect::Set { names };
    judged.accesses.sort();
    judged.accesses.dedup();
    Ok(Some(judged))
}

fn other() -> Refused {
    Refused::new("this use of set_config").hint("use SET with a literal")
}

fn is_named(call: &nodes::FuncCall, name: &str) -> bool {
    let names: Vec<Option<&str>> = call.funcname().iter().map(Node::as_str).collect();
    names == [Some(name)] || names == [Some("pg_catalog"), Some(name)]
}

pub(super) fn listen(listen: &nodes::ListenStmt) -> Judged {
    let channel = listen.conditionname().unwrap_or_default().to_owned();
    Judged::simple("LISTEN", on(ResourceKind::Channel, &channel), Effect::Listen { channel })
}

pub(super) fn unlisten(unlisten: &nodes::UnlistenStmt) -> Judged {
    let channel = unlisten.conditionname().map(str::to_owned);
    let access = match &channel {
        Some(name) => on(ResourceKind::Channel, name),
        None => vec![super::transaction::access()],
    };
    Judged::simple("UNLISTEN", access, Effect::Unlisten { channel })
}

/// A payload could carry any value; it is a literal, so the agent knew it already.
pub(super) fn notify(notify: &nodes::NotifyStmt, _ctx: &Context<'_>) -> Judged {
    let channel = notify.conditionname().unwrap_or_default().to_owned();
    Judged::simple("NOTIFY", on(ResourceKind::Channel, &channel), Effect::Notify { channel })
}
