//! The decision core: pure, total, deterministic. It has no clock, no randomness, no IO and no logging.
//!
//! [`compile()`] turns objects into a [`PolicySet`], [`PolicySet::view`] picks what applies to one subject and target,
//! and [`decide()`] gives the verdict on one operation. What cannot be compiled is an error with a field path; what
//! cannot be evaluated is denied; what no rule matches is denied.

pub mod approval;
pub mod compile;
pub mod cover;
pub mod decide;
pub mod explain;
pub mod impact;
pub mod operation;
pub mod redact;
pub mod render;
pub mod rule;
mod rules;
mod selector;
pub mod set;
pub mod subject;
pub mod verdict;
pub mod view;

pub use compile::{CompileError, Input, Named, Warning, compile};
pub use crds::policy::{InPredicates, MaskMethod, OnDetected, Sensitive};
pub use decide::decide;
pub use selector::Selection;
pub use set::{PolicySet, TargetKey};
pub use view::{ColumnMask, DetectorRule, MaskRule, NamedColumn, NamedRelation, View};
