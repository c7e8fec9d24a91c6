//! The bounds and patterns of the schema, in one place, for the API server and for everything that checks natively.
//!
//! Kubernetes estimates the cost of a CEL rule from these bounds: 16 targets, 64 rules and 16 approvals are what the
//! cross-check "`approval` names an entry of `approvals`" can pay for.

/// Entries of `spec.targets`.
pub const TARGETS: usize = 16;
/// Kinds of preview; there are no more.
pub const PREVIEWS: usize = 3;
/// Rules, and masks, of one target or of one cluster policy.
pub const RULES: usize = 64;
/// Detectors of one target or of one cluster policy.
pub const DETECTORS: usize = 16;
/// Kinds of value that are detected; there are no more.
pub const DETECTED: usize = 4;
/// Entries of `spec.approvals`.
pub const APPROVALS: usize = 16;
/// Relations, columns or functions of one rule; columns of one mask.
pub const RESOURCES: usize = 64;
/// Verbs of one rule; there are fewer.
pub const VERBS: usize = 16;
/// Host patterns of one cluster rule.
pub const HOSTS: usize = 16;
/// Entries of `serviceAccountNames`.
pub const SERVICE_ACCOUNTS: usize = 32;
/// Databases, and entries of the search path, of one target.
pub const DATABASES: usize = 16;
/// Labels, and expressions, of one selector; values of one expression.
pub const LABELS: usize = 32;
/// Policies that ask for one approval.
pub const POLICY_REFS: usize = 8;
/// Resources that one ApprovalRequest lists.
pub const REQUEST_RESOURCES: usize = 256;
/// Uses of resources, and columns of each, in what a grant covers. What has more can be approved once only.
pub const COVERED: usize = 32;
/// Segments of a resource's path.
pub const PATH: usize = 4;
/// Votes that one ApprovalRequest lists.
pub const DECISIONS: usize = 16;
/// Words for what was told of one ApprovalRequest.
pub const NOTICES: usize = 8;
/// Conditions of one object; ours are three.
pub const CONDITIONS: usize = 8;
/// Rules of one policy that are followed to say which of them is unused.
pub const UNUSED_RULES: usize = 256;
/// How long a break-glass approval counts at most, in minutes.
pub const BREAK_GLASS_MINUTES: u64 = 30;
/// The largest `metadata.generation`: what every reader of JSON takes for a whole number.
pub const GENERATION: i64 = 9_007_199_254_740_991;
/// The largest quorum, and the largest number of denials asked for.
pub const QUORUM: i32 = 5;

/// Characters of a name in DNS label form.
pub const LABEL_CHARS: usize = 63;
/// Characters of an object name, a host or a Secret key.
pub const NAME_CHARS: usize = 253;
/// Characters of `schema.name`.
pub const RELATION_CHARS: usize = 127;
/// Characters of `schema.name.column`.
pub const COLUMN_CHARS: usize = 191;
/// Characters of `schema.name(types)`.
pub const FUNCTION_CHARS: usize = 512;
/// Characters of what people write or read in one line.
pub const TEXT_CHARS: usize = 256;
/// Characters of the sentence that says what a grant covers.
pub const GRANT_CHARS: usize = 2_048;
/// Characters of the sentence that says what an operation would do, and of the remark in it.
pub const IMPACT_CHARS: usize = 1_024;
pub const REMARK_CHARS: usize = 512;
/// The largest number of rows that is shown: what every reader of JSON takes for a whole number.
pub const ROWS: i64 = 9_007_199_254_740_991;
/// Characters of a condition's message.
pub const CONDITION_CHARS: usize = 2_048;
/// Characters of the redacted statement in an ApprovalRequest.
pub const STATEMENT_CHARS: usize = 262_144;

/// The names of rules, masks, detectors and approvals: a DNS label.
pub const LABEL: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
/// The names of objects: a DNS subdomain.
pub const NAME: &str = "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$";
/// A key of a Secret.
pub const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// A label key, with or without a prefix.
pub const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// A label value; may be empty.
pub const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";
/// One host: a DNS name, an IPv4 or an IPv6 address.
pub const HOST: &str = "^([A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$";
/// A pattern of hosts; `*` is any run of characters.
pub const HOST_PATTERN: &str = "^[-A-Za-z0-9._:*]+$";
/// A PostgreSQL database or schema, by its exact name.
pub const IDENTIFIER: &str = r"^[^*\x00-\x1f\x7f]{1,63}$";
/// `schema.name`, where `*` stands for any part of one segment.
pub const RELATION: &str = r"^[^.\x00-\x1f\x7f]{1,63}\.[^.\x00-\x1f\x7f]{1,63}$";
/// `schema.name.column`, where `*` stands for any part of one segment.
pub const COLUMN: &str = r"^[^.\x00-\x1f\x7f]{1,63}\.[^.\x00-\x1f\x7f]{1,63}\.[^.\x00-\x1f\x7f]{1,63}$";
/// `schema.name(type, type)`; the types may be left out only after a `*`.
pub const FUNCTION: &str = r"^[^.()\x00-\x1f\x7f]{1,63}\.([^.()\x00-\x1f\x7f]{0,62}\*|[^.()\x00-\x1f\x7f]{1,63}\([^()\x00-\x1f\x7f]{0,382}\))$";
/// What an approval binds to.
pub const DIGEST: &str = "^hmac-sha256:[0-9a-f]{64}$";
/// The content of the policies in force.
pub const REVISION: &str = "^sha256:[0-9a-f]{6,64}$";
/// Why a condition is what it is, in one word.
pub const CONDITION_REASON: &str = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";
/// RFC 3339 in UTC.
pub const INSTANT: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$";
