//! Objects that pass, and edits of them that do not: one for every rule of the schema. Asked of the types here, and of a
//! real API server in `e2e/tests/cluster_wall/definitions.rs`.

use serde_json::{Value, json};

pub(crate) fn target() -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget", "metadata": {"name": "orders-db"},
        "spec": {
            "protocol": "Postgres", "host": "orders.db.svc.cluster.local", "port": 5432,
            "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "orders-ca", "key": "ca.crt"}},
            "credentialRef": {"name": "orders-agent", "usernameKey": "username", "passwordKey": "password"},
            "postgres": {"databases": ["orders"], "searchPath": ["sales", "public"]},
        },
    })
}

/// Between them they give every field that a rule speaks of.
fn approvals(first: &str) -> Value {
    json!([
        {"name": first, "requiredApprovals": 2, "pendingTTL": "15m", "holdFor": "20s", "reason": "Required",
         "inTransaction": {"maxHold": "30s", "onTimeout": "Rollback"}},
        {"name": "slow", "pendingTTL": "1d", "holdFor": "24h"},
        {"name": "task", "scope": "Task", "maxGrantDuration": "1d"},
    ])
}

fn selector() -> Value {
    json!({
        "matchLabels": {"app": "support", "example.com/team": "x"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}, {"key": "x", "operator": "Exists"}],
    })
}

pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy", "metadata": {"name": "support"},
        "spec": {
            "podSelector": selector(),
            "serviceAccountNames": ["support"],
            "approvals": approvals("change"),
            "targets": [{"targetRef": {"name": "orders-db"}, "postgres": {
                "rules": [
                    {"name": "reads", "action": "Allow", "verbs": ["Select"], "relations": ["public.*"], "limits": {"rows": 1}},
                    {"name": "fixes", "action": "RequireApproval", "approval": "change", "verbs": ["Select", "Update", "Call"],
                     "columns": ["public.orders.status"], "functions": ["public.refresh(integer, text)"], "requireWhere": true},
                    {"name": "never", "action": "Deny", "verbs": ["DDL", "Copy", "Do", "Set", "Grant"], "message": "No."},
                ],
                "masks": [{"name": "ssn", "columns": ["*.*.ssn"], "method": "Redact", "inPredicates": "Deny"}],
            }}],
        },
    })
}

pub(crate) fn cluster() -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": "prod"},
        "spec": {
            "namespaceSelector": selector(), "podSelector": selector(), "denyAll": false,
            "recording": {"level": "Payload", "durability": "Synced"},
            "approvals": approvals("write"),
            "rules": [
                {"name": "no-drop", "action": "Deny", "postgres": {"hosts": ["*"], "verbs": ["DDL", "Grant"]}},
                {"name": "writes", "action": "RequireApproval", "approval": "write", "postgres":
                    {"hosts": ["*.db.svc"], "verbs": ["Update", "Call"], "functions": ["app.*"], "requireWhere": true}},
            ],
            "masks": [{"name": "ssn", "postgres": {"columns": ["*.*.ssn"]}, "method": "Partial"}],
        },
    })
}

pub(crate) fn request() -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ApprovalRequest", "metadata": {"name": "areq-7f2k"},
        "spec": {
            "subject": {"namespace": "agents", "serviceAccount": "support", "pod": "support-0", "podUID": "5b1c-01"},
            "target": {"name": "orders-db", "host": "10.0.0.1", "port": 5432}, "protocol": "Postgres",
            "action": {"verb": "UPDATE", "resources": ["Relation public.orders (status)"]},
            "summary": "UPDATE", "statement": "UPDATE public.orders SET status = $1",
            "digest": format!("hmac-sha256:{}", "0b".repeat(32)),
            "policyRefs": [{"kind": "AgentAccessPolicy", "name": "support", "rule": "fixes", "revision": format!("sha256:{}", "9b".repeat(32))}],
            "requiredApprovals": 2, "denyThreshold": 1, "reason": "Optional", "scope": "Task", "expiresAt": "2026-11-21T10:15:00.25Z",
            "grant": {"means": "UPDATE by pod support-0", "maxDuration": "1h", "session": "s-1", "job": {"name": "nightly", "uid": "5b1c-02"}},
            "breakGlass": "UPDATE by pod support-0",
            "cover": {"action": "UPDATE", "database": "shop", "uses": [
                {"verb": "Update", "kind": "Relation", "path": ["public", "orders"], "columns": ["status"], "bounded": true},
                {"verb": "Read", "kind": "Relation", "path": ["public", "v"], "indirect": true},
            ]},
        },
        "status": {
            "phase": "Pending", "approvals": 1, "consumed": false,
            "grant": {"scope": "Duration", "notBefore": "2026-11-21T10:02:11Z", "notAfter": "2026-11-21T10:32:11Z", "breakGlass": true},
            "decisions": [{"user": "alice", "decision": "approve", "reason": "INC-123", "time": "2026-11-21T10:02:11Z"}],
        },
    })
}

/// Sets `path` (`a.0.b`) to a value, or removes it.
pub(crate) fn edited(base: &Value, path: &str, value: Option<Value>) -> Value {
    let mut object = base.clone();
    let (parent, last) = path.rsplit_once('.').unwrap();
    let parent = object.pointer_mut(&format!("/{}", parent.replace('.', "/"))).unwrap();
    match (parent, value) {
        (Value::Object(map), Some(value)) => {
            map.insert(last.to_owned(), value);
        }
        (Value::Object(map), None) => {
            map.remove(last).unwrap();
        }
        (Value::Array(items), Some(value)) => match last.parse::<usize>().unwrap() {
            index if index < items.len() => items[index] = value,
            _ => items.push(value),
        },
        other => panic!("{path}: {other:?}"),
    }
    object
}

/// One edit of a base object, and where it is refused and with what words.
pub(crate) struct Row {
    pub(crate) base: fn() -> Value,
    pub(crate) edit: &'static str,
    pub(crate) value: Option<Value>,
    pub(crate) path: &'static str,
    pub(crate) message: &'static str,
}

fn row(
    base: fn() -> Value,
    edit: &'static str,
    value: Option<Value>,
    path: &'static str,
    message: &'static str,
) -> Row {
    Row { base, edit, value, path, message }
}

const RULE: &str = "spec.targets.0.postgres.rules.0";
const AT: &str = "spec.targets[0].postgres.rules[0]";
const CLUSTER: &str = "spec.rules.1";
/// The types refuse these before the rule is asked, which is for the API server.
const ZERO: &str = "a length of time is longer than zero: write at least 1s";

/// A rule that says nothing but what matters to the row.
fn rule(fields: Value) -> Option<Value> {
    let mut rule = json!({"name": "r", "action": "Allow", "verbs": ["Select"]});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Some(rule)
}

fn cluster_rule(fields: Value, postgres: Value) -> Option<Value> {
    let mut block = json!({"hosts": ["*"], "verbs": ["Update"]});
    block.as_object_mut().unwrap().extend(postgres.as_object().unwrap().clone());
    let mut rule = json!({"name": "r", "action": "Deny", "postgres": block});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Some(rule)
}

fn text(length: usize) -> Option<Value> {
    Some("x".repeat(length).into())
}

#[rustfmt::skip]
pub(crate) fn cel_rows() -> Vec<Row> {
    let iff = "approval is given if and only if action is RequireApproval";
    let entry = "approval names no entry of spec.approvals";
    let deny_only = "the verbs Copy, Grant and Set stand only in Deny rules: nobody can be allowed them";
    let ceiling = "the verbs CopyFrom, Call, Do and DDL cannot be allowed: use action RequireApproval";
    let functions = "functions is given only with the verb Call";
    let where_verbs = "requireWhere is given only with the verbs Update or Delete";
    let where_deny = "requireWhere has no meaning in a Deny rule";
    let search = "searchPath names schemas: pg_temp is always last, and $user is not one schema";
    let block = "a target has exactly one protocol block: postgres";
    let own = vec![
        row(target, "spec.host", Some("*.example.com".into()), "spec.host", "a target is one host: name it, without a wildcard"),
        row(target, "spec.postgres", None, "spec", "the postgres block is given if and only if protocol is Postgres"),
        row(target, "spec.tls.mode", Some("Disabled".into()), "spec.tls", "caSecretRef has no meaning when mode is Disabled: remove one of them"),
        row(target, "spec.postgres.searchPath.0", Some("pg_temp".into()), "spec.postgres.searchPath", search),
        row(target, "spec.postgres.searchPath.0", Some("pg_temp_3".into()), "spec.postgres.searchPath", search),
        row(target, "spec.postgres.searchPath.0", Some("$user".into()), "spec.postgres.searchPath", search),
        row(policy, "spec.targets.0.postgres", None, "spec.targets[0]", block),
        row(policy, "spec.approvals", Some(json!([])), "spec", entry),
        row(policy, "spec.targets.0.postgres.rules.1.approval", Some("chance".into()), "spec", entry),
        row(policy, RULE, rule(json!({"approval": "change"})), AT, iff),
        row(policy, RULE, rule(json!({"action": "Deny", "approval": "change"})), AT, iff),
        row(policy, RULE, rule(json!({"action": "RequireApproval"})), AT, iff),
        row(policy, RULE, rule(json!({"verbs": ["Copy"]})), AT, deny_only),
        row(policy, RULE, rule(json!({"verbs": ["Select", "Grant"]})), AT, deny_only),
        row(policy, RULE, rule(json!({"action": "RequireApproval", "approval": "change", "verbs": ["Set"]})), AT, deny_only),
        row(policy, RULE, rule(json!({"verbs": ["CopyFrom"]})), AT, ceiling),
        row(policy, RULE, rule(json!({"verbs": ["Call"]})), AT, ceiling),
        row(policy, RULE, rule(json!({"verbs": ["Do"]})), AT, ceiling),
        row(policy, RULE, rule(json!({"verbs": ["Select", "DDL"]})), AT, ceiling),
        row(policy, RULE, rule(json!({"functions": ["a.b(c)"]})), AT, functions),
        row(policy, RULE, rule(json!({"requireWhere": true})), AT, where_verbs),
        row(policy, RULE, rule(json!({"requireWhere": true, "action": "Deny", "verbs": ["Delete"]})), AT, where_deny),
        row(cluster, CLUSTER, cluster_rule(json!({"action": "Allow"}), json!({})), "spec.rules[1]", "a cluster policy only tightens: action is Deny or RequireApproval"),
        row(cluster, CLUSTER, cluster_rule(json!({"action": "RequireApproval"}), json!({})), "spec.rules[1]", iff),
        row(cluster, CLUSTER, cluster_rule(json!({"approval": "write"}), json!({})), "spec.rules[1]", iff),
        row(cluster, "spec.rules.0.postgres", None, "spec.rules[0]", "a rule has exactly one protocol block: postgres"),
        row(cluster, CLUSTER, cluster_rule(json!({"action": "RequireApproval", "approval": "write"}), json!({"verbs": ["Set"]})), "spec.rules[1]", deny_only),
        row(cluster, CLUSTER, cluster_rule(json!({}), json!({"requireWhere": true})), "spec.rules[1]", where_deny),
        row(cluster, CLUSTER, cluster_rule(json!({}), json!({"functions": ["a.b(c)"]})), "spec.rules[1].postgres", functions),
        row(cluster, CLUSTER, cluster_rule(json!({"action": "RequireApproval", "approval": "write"}), json!({"verbs": ["Insert"], "requireWhere": true})), "spec.rules[1].postgres", where_verbs),
        row(cluster, "spec.approvals", Some(json!([{"name": "other"}])), "spec", entry),
        row(request, "spec.grant.maxDuration", Some("0s".into()), "spec.grant.maxDuration", ZERO),
    ];
    own.into_iter().chain(each_approval(policy)).chain(each_approval(cluster)).chain(each_selector()).collect()
}

/// An entry of `spec.approvals` is the same in both kinds of policy, and its rules stand in the definition of each.
#[rustfmt::skip]
fn each_approval(base: fn() -> Value) -> Vec<Row> {
    let grant = "maxGrantDuration stands with scope Session, Duration and Task, and with no other";
    let longest = "maxGrantDuration is at most 24h";
    let hold = "holdFor is at most pendingTTL, and at most 24h";
    let max_hold = "maxHold is at most 30s: other sessions wait on the transaction's locks";
    vec![
        row(base, "spec.approvals.0.scope", Some("Session".into()), "spec.approvals[0]", grant),
        row(base, "spec.approvals.0.maxGrantDuration", Some("1h".into()), "spec.approvals[0]", grant),
        row(base, "spec.approvals.2.maxGrantDuration", None, "spec.approvals[2]", grant),
        row(base, "spec.approvals.2.scope", None, "spec.approvals[2]", grant),
        row(base, "spec.approvals.2.maxGrantDuration", Some("25h".into()), "spec.approvals[2]", longest),
        row(base, "spec.approvals.2.maxGrantDuration", Some("1d1s".into()), "spec.approvals[2]", longest),
        row(base, "spec.approvals.0.holdFor", Some("16m".into()), "spec.approvals[0]", hold),
        row(base, "spec.approvals.0.holdFor", Some("1d".into()), "spec.approvals[0]", hold),
        row(base, "spec.approvals.1.holdFor", Some("25h".into()), "spec.approvals[1]", hold),
        row(base, "spec.approvals.0.pendingTTL", Some("19s".into()), "spec.approvals[0]", hold),
        row(base, "spec.approvals.0.pendingTTL", Some("2d".into()), "spec.approvals[0]", "pendingTTL is at most 24h"),
        row(base, "spec.approvals.0.pendingTTL", Some("1d1s".into()), "spec.approvals[0]", "pendingTTL is at most 24h"),
        row(base, "spec.approvals.0.pendingTTL", Some("25h".into()), "spec.approvals[0]", "pendingTTL is at most 24h"),
        row(base, "spec.approvals.0.inTransaction.maxHold", Some("31s".into()), "spec.approvals[0].inTransaction", max_hold),
        row(base, "spec.approvals.0.inTransaction.maxHold", Some("1d".into()), "spec.approvals[0].inTransaction", max_hold),
        row(base, "spec.approvals.0.holdFor", Some("0s".into()), "spec.approvals[0].holdFor", ZERO),
        row(base, "spec.approvals.0.pendingTTL", Some("0h0m".into()), "spec.approvals[0].pendingTTL", ZERO),
        row(base, "spec.approvals.2.maxGrantDuration", Some("0s".into()), "spec.approvals[2].maxGrantDuration", ZERO),
        row(base, "spec.approvals.0.inTransaction.maxHold", Some("0s".into()), "spec.approvals[0].inTransaction.maxHold", ZERO),
    ]
}

/// Likewise the selectors: of the one kind its one, of the other both.
fn each_selector() -> Vec<Row> {
    let values = "values is given if and only if operator is In or NotIn";
    let key = "a label key has at most 317 characters";
    let rows = |base: fn() -> Value, [labels, no_values, first, operator]: [&'static str; 4]| {
        [
            row(base, labels, Some(json!({"k".repeat(318): "v"})), labels, key),
            row(base, no_values, None, first, values),
            row(base, operator, Some("DoesNotExist".into()), first, values),
        ]
    };
    let pods = [
        "spec.podSelector.matchLabels",
        "spec.podSelector.matchExpressions.0.values",
        "spec.podSelector.matchExpressions[0]",
        "spec.podSelector.matchExpressions.0.operator",
    ];
    let namespaces = [
        "spec.namespaceSelector.matchLabels",
        "spec.namespaceSelector.matchExpressions.0.values",
        "spec.namespaceSelector.matchExpressions[0]",
        "spec.namespaceSelector.matchExpressions.0.operator",
    ];
    [(policy as fn() -> Value, pods), (cluster, pods), (cluster, namespaces)]
        .into_iter()
        .flat_map(|(b, at)| rows(b, at))
        .collect()
}

#[rustfmt::skip]
pub(crate) fn bound_rows() -> Vec<Row> {
    let no_match = "does not match";
    vec![
        row(target, "spec.port", Some(0.into()), "spec.port", "is less than 1"),
        row(target, "spec.port", Some(65_536.into()), "spec.port", "is more than 65535"),
        row(target, "spec.host", Some("".into()), "spec.host", "less than 1"),
        row(target, "spec.host", Some("a b".into()), "spec.host", no_match),
        row(target, "spec.host", Some("/run/postgresql".into()), "spec.host", no_match),
        row(target, "spec.host", text(254), "spec.host", "more than 253"),
        row(target, "spec.postgres.databases", Some(json!([])), "spec.postgres.databases", "less than 1"),
        row(target, "spec.postgres.databases", Some((0..17).map(|i| format!("d{i}")).collect()), "spec.postgres.databases", "more than 16"),
        row(target, "spec.postgres.databases.0", Some("*".into()), "spec.postgres.databases[0]", no_match),
        row(target, "spec.postgres.databases.1", Some("orders".into()), "spec.postgres.databases[1]", "stands twice"),
        row(target, "spec.postgres.searchPath", Some(json!([])), "spec.postgres.searchPath", "less than 1"),
        row(target, "spec.credentialRef.passwordKey", Some("a/b".into()), "spec.credentialRef.passwordKey", no_match),
        row(policy, "spec.podSelector.matchLabels.app", Some("a b".into()), "spec.podSelector.matchLabels.app", no_match),
        row(policy, "spec.targets", Some(json!([])), "spec.targets", "less than 1"),
        row(policy, "spec.targets", Some((0..17).map(|_| json!({"targetRef": {"name": "a"}, "postgres": {}})).collect()), "spec.targets", "more than 16"),
        row(policy, "spec.targets.0.postgres.rules", Some((0..65).map(|i| json!({"name": format!("r{i}"), "action": "Allow", "verbs": ["Select"]})).collect()), "spec.targets[0].postgres.rules", "more than 64"),
        row(policy, "spec.targets.0.postgres.rules.1.name", Some("reads".into()), "spec.targets[0].postgres.rules[1]", "stands twice"),
        row(policy, "spec.targets.0.postgres.masks.1", Some(json!({"name": "ssn", "columns": ["a.b.c"], "method": "Redact"})), "spec.targets[0].postgres.masks[1]", "stands twice"),
        row(policy, "spec.targets.0.postgres.rules.0.name", Some("Reads all".into()), "spec.targets[0].postgres.rules[0].name", no_match),
        row(policy, "spec.targets.0.postgres.rules.0.verbs", Some(json!([])), "spec.targets[0].postgres.rules[0].verbs", "less than 1"),
        row(policy, "spec.targets.0.postgres.rules.0.verbs.1", Some("Select".into()), "spec.targets[0].postgres.rules[0].verbs[1]", "stands twice"),
        row(policy, "spec.targets.0.postgres.rules.0.relations.0", Some("orders".into()), "spec.targets[0].postgres.rules[0].relations[0]", no_match),
        row(policy, "spec.targets.0.postgres.rules.1.columns.0", Some("orders.status".into()), "spec.targets[0].postgres.rules[1].columns[0]", no_match),
        row(policy, "spec.targets.0.postgres.rules.1.functions.0", Some("public.refresh".into()), "spec.targets[0].postgres.rules[1].functions[0]", no_match),
        row(policy, "spec.targets.0.postgres.rules.0.limits.rows", Some(0.into()), "spec.targets[0].postgres.rules[0].limits.rows", "is less than 1"),
        row(policy, "spec.targets.0.postgres.rules.2.message", text(257), "spec.targets[0].postgres.rules[2].message", "more than 256"),
        row(policy, "spec.targets.0.postgres.masks.0.columns", Some(json!([])), "spec.targets[0].postgres.masks[0].columns", "less than 1"),
        row(policy, "spec.approvals.0.requiredApprovals", Some(0.into()), "spec.approvals[0].requiredApprovals", "is less than 1"),
        row(policy, "spec.approvals.0.requiredApprovals", Some(6.into()), "spec.approvals[0].requiredApprovals", "is more than 5"),
        row(policy, "spec.approvals.0.denyThreshold", Some(6.into()), "spec.approvals[0].denyThreshold", "is more than 5"),
        row(policy, "spec.approvals.1.name", Some("change".into()), "spec.approvals[1]", "stands twice"),
        row(cluster, "spec.rules.0.postgres.hosts", Some(json!([])), "spec.rules[0].postgres.hosts", "less than 1"),
        row(cluster, "spec.rules.0.postgres.verbs", Some(json!([])), "spec.rules[0].postgres.verbs", "less than 1"),
        row(cluster, "spec.rules.1.name", Some("no-drop".into()), "spec.rules[1]", "stands twice"),
        row(request, "spec.digest", Some("sha256:00".into()), "spec.digest", no_match),
        row(request, "spec.requiredApprovals", Some(0.into()), "spec.requiredApprovals", "is less than 1"),
        row(request, "spec.requiredApprovals", Some(6.into()), "spec.requiredApprovals", "is more than 5"),
        row(request, "spec.summary", text(257), "spec.summary", "more than 256"),
        row(request, "spec.policyRefs", Some(json!([])), "spec.policyRefs", "less than 1"),
        row(request, "spec.policyRefs", Some((0..9).map(|i| json!({"kind": "AgentAccessPolicy", "name": format!("p{i}"), "rule": "r", "revision": "sha256:9b1f42"})).collect()), "spec.policyRefs", "more than 8"),
        row(request, "spec.policyRefs.0.kind", Some("Role".into()), "spec.policyRefs[0].kind", no_match),
        row(request, "spec.expiresAt", Some("tomorrow".into()), "spec.expiresAt", no_match),
        row(request, "spec.target.port", Some(0.into()), "spec.target.port", "is less than 1"),
    ]
}
