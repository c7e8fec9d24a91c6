//! A governed database: a server with tables that hold canaries, the sidecar before it, and a policy with each kind of
//! rule. Tests of one file share it; each names its own rows and aliases, so that the log tells them apart.

use anyhow::Result;
use bytes::BufMut;

use crate::objects;
use crate::postgres::{Options, Place, Server};
use crate::proxy::{Listener, Setup, Sidecar};
use crate::wire::{Answer, Wire};

/// The role at the target, and its password, which only the sidecar may know.
pub const ROLE: &str = "agent_db";
pub const ROLE_PASSWORD: &str = "upstream-CANARY-password";
/// In every masked text.
pub const CANARY: &str = "CANARY";
/// In every masked number.
pub const CANARY_NUMBER: i32 = 912_345_678;

/// What the server holds. `pin`, `ssn` and `email` are masked; nothing allows `vault`.
const TABLES: &str = "
CREATE TYPE mood AS ENUM ('calm', 'tense');
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, ssn text NOT NULL, pin int NOT NULL,
                        feels mood[]);
INSERT INTO customers VALUES (1, 'Ann', 'a-CANARY-1@example.com', 'CANARY-ssn-1', 912345678, '{calm,tense}'),
                             (2, 'Bob', NULL, 'CANARY-ssn-2', 912345678, NULL),
                             (3, 'Cid', 'c-CANARY-3@example.com', 'CANARY-ssn-3', 912345678, '{}');
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text);
INSERT INTO orders SELECT n, 1 + n % 3, 'note ' || n FROM generate_series(1, 200) n;
CREATE TABLE items (id int PRIMARY KEY, note text);
INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 200) n;
CREATE TABLE log (id int PRIMARY KEY, what text CHECK (what <> 'bad'));
CREATE TABLE loads (id int, what text);
CREATE TABLE big AS SELECT n AS id, repeat('x', 100) AS pad FROM generate_series(1, 3000) n;
CREATE TABLE vault (secret text);
INSERT INTO vault VALUES ('CANARY-vault');
CREATE FUNCTION empty_orders() RETURNS void LANGUAGE sql AS 'DELETE FROM orders';
CREATE FUNCTION loud(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'heard %', t; RETURN t; END$$;
CREATE VIEW people AS SELECT id, name, ssn FROM customers;
";

const GRANTS: [&str; 4] = [
    "ALL ON ALL TABLES IN SCHEMA public",
    "CREATE ON SCHEMA public",
    "EXECUTE ON ALL FUNCTIONS IN SCHEMA public",
    "TEMPORARY ON DATABASE app",
];

/// The server alone, with tables and role.
///
/// # Errors
/// When PostgreSQL does not start.
pub fn server() -> Result<Server> {
    server_with(Options::default())
}

/// The same with other options.
///
/// # Errors
/// As [`server`].
pub fn server_with(options: Options) -> Result<Server> {
    let server = Server::start(options)?;
    server.admin(TABLES)?;
    server.role(ROLE, ROLE_PASSWORD, &GRANTS)?;
    Ok(server)
}

/// One on the disk that takes so many sessions and logs no statement, for measuring.
///
/// # Errors
/// As [`server`].
pub fn server_for(sessions: usize) -> Result<Server> {
    let settings = vec![
        ("max_connections".to_owned(), sessions.saturating_add(100).to_string()),
        ("log_statement".to_owned(), "none".to_owned()),
    ];
    server_with(Options { place: Place::Disk, settings, ..Options::default() })
}

/// The parts of the policy that tests change.
#[derive(Clone, Debug)]
pub struct Policy {
    /// YAML list items of `approvals`, at their depth.
    pub approvals: String,
    /// YAML list items of `rules`, at their depth.
    pub rules: String,
    pub masks: String,
    /// None unless told.
    pub detectors: String,
    pub recording: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            approvals: APPROVALS.to_owned(),
            rules: RULES.to_owned(),
            masks: MASKS.to_owned(),
            detectors: String::new(),
            recording: "Payload",
        }
    }
}

const APPROVALS: &str = "
    - {name: person, pendingTTL: 60s, holdFor: 15s}
    - {name: short, pendingTTL: 60s, holdFor: 1s}
    - {name: patient, pendingTTL: 60s, holdFor: 15s, inTransaction: {maxHold: 10s, onTimeout: Rollback}}
";
const RULES: &str = "
          - {name: reads, action: Allow, verbs: [Select],
             relations: [public.orders, public.customers, public.items, public.log, public.loads, public.people]}
          - {name: few, action: Allow, verbs: [Select], relations: [public.big], limits: {rows: 1000}}
          - {name: adds, action: Allow, verbs: [Insert, Update], relations: [public.log]}
          - {name: fixes, action: RequireApproval, approval: person, verbs: [Update, Delete],
             relations: [public.orders], requireWhere: true}
          - {name: slow, action: RequireApproval, approval: patient, verbs: [Delete], relations: [public.items]}
          - {name: quick, action: RequireApproval, approval: short, verbs: [Update], relations: [public.items]}
          - {name: loads, action: RequireApproval, approval: person, verbs: [CopyFrom], relations: [public.loads]}
          - {name: no-ddl, action: Deny, verbs: [DDL], message: Schema changes go through migrations.}
          - {name: no-deletes, action: Deny, verbs: [Delete, Update], relations: [public.customers],
             message: Customers are never changed by agents.}
";
const MASKS: &str = "
          - {name: email, columns: [public.customers.email], method: Partial}
          - {name: ssn, columns: ['*.*.ssn'], method: Redact, inPredicates: Deny}
          - {name: pin, columns: [public.customers.pin], method: Redact}
";

impl Policy {
    /// The AgentAccessPolicy as YAML.
    pub fn yaml(&self) -> String {
        // Versions before there were any refuse the word.
        let detectors = match self.detectors.as_str() {
            "" => String::new(),
            items => format!("        detectors:{items}\n"),
        };
        format!(
            "---\napiVersion: agentaccess.dev/v1alpha1\nkind: AgentAccessPolicy\n\
             metadata: {{name: agent, namespace: local}}\n\
             spec:\n  podSelector: {{}}\n  recording: {{level: {}}}\n  approvals:{}\n  targets:\n    - targetRef: {{name: db}}\n      postgres:\n        rules:{}\n        masks:{}\n{detectors}",
            self.recording,
            or_empty(&self.approvals),
            or_empty(&self.rules),
            or_empty(&self.masks)
        )
    }

    /// One more rule, such as `{name: x, action: Allow, verbs: [Select]}`.
    #[must_use]
    pub fn rule(mut self, rule: &str) -> Self {
        self.rules = format!("{}\n          - {rule}\n", self.rules.trim_end());
        self
    }

    /// One more mask.
    #[must_use]
    pub fn mask(mut self, mask: &str) -> Self {
        self.masks = format!("{}\n          - {mask}\n", self.masks.trim_end());
        self
    }

    /// With one detector more.
    #[must_use]
    pub fn detector(mut self, detector: &str) -> Self {
        self.detectors = format!("{}\n          - {detector}\n", self.detectors.trim_end());
        self
    }

    /// Without the rule of this name.
    #[must_use]
    pub fn without(mut self, rule: &str) -> Self {
        let start = format!("- {{name: {rule},");
        let mut kept = String::new();
        let mut inside = false;
        for line in self.rules.lines() {
            if line.trim_start().starts_with("- {") {
                inside = line.trim_start().starts_with(&start);
            }
            if !inside {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        self.rules = kept;
        self
    }
}

fn or_empty(items: &str) -> &str {
    if items.trim().is_empty() { " []" } else { items }
}

/// The file that [`sidecar`] puts the policy into.
pub const POLICY_FILE: &str = "policy.yaml";

/// A sidecar of its own before this server, where the agent proves itself with SCRAM.
///
/// # Errors
/// When it does not start.
pub fn sidecar(server: &Server, policy: &Policy) -> Result<Sidecar> {
    sidecar_with(server, policy, Setup::default())
}

/// The same, where `setup` has more to say; its objects and listeners are added to.
///
/// # Errors
/// When it does not start.
pub fn sidecar_with(server: &Server, policy: &Policy, mut setup: Setup) -> Result<Sidecar> {
    setup.objects.push_str(&objects::target("db", server, ROLE, ROLE_PASSWORD));
    if setup.listeners.is_empty() {
        setup.listeners.push(Listener::scram("db"));
    }
    let mut sidecar = Sidecar::prepare(&setup)?;
    sidecar.write(POLICY_FILE, &policy.yaml())?;
    sidecar.start_again()?;
    Ok(sidecar)
}

/// A server and a sidecar with the default policy.
#[derive(Debug)]
pub struct World {
    // The sidecar ends before the server.
    pub sidecar: Sidecar,
    pub server: Server,
}

// === impl World ===

impl World {
    /// # Errors
    /// When one of them does not start.
    pub fn new() -> Result<Self> {
        let server = server()?;
        let sidecar = sidecar(&server, &Policy::default())?;
        Ok(Self { sidecar, server })
    }

    /// A session of the agent, through the sidecar.
    ///
    /// # Errors
    /// When it is refused.
    pub fn agent(&self) -> Result<Wire> {
        Wire::connect(self.sidecar.port(), &self.sidecar.login())
    }

    /// A session of the same role past the sidecar, to compare with.
    ///
    /// # Errors
    /// When it is refused.
    pub fn native(&self) -> Result<Wire> {
        Wire::connect(self.server.port(), &crate::wire::Login::new(ROLE, ROLE_PASSWORD, crate::postgres::DATABASE))
    }
}

/// Where a canary stands in an answer, if it does: in any byte of any message, as text or as a binary number.
pub fn leak(answer: &Answer) -> Option<String> {
    let mut number = Vec::new();
    number.put_i32(CANARY_NUMBER);
    let text = CANARY_NUMBER.to_string();
    let found = |part: &[u8]| answer.contains(part);
    (found(CANARY.as_bytes()) || found(&number) || found(text.as_bytes())).then(|| format!("{:?}", answer.messages))
}
