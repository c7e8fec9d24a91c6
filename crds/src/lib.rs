//! The API of agentaccess: Kubernetes types, and the only place where its group, labels and annotations are spelled.
//!
//! A field that stands here is enforced; what is not enforced is not here. Unknown fields are errors, so that a
//! misspelt rule can never be read as "no rule".

pub mod approval;
pub mod duration;
pub mod local;
pub mod manifest;
pub mod policy;
pub mod shared;
pub mod target;

pub const GROUP: &str = "agentaccess.dev";
pub const VERSION: &str = "v1alpha1";
