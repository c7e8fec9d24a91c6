//! The API of agentaccess: Kubernetes types, and the only place where its group, labels and annotations are spelled.
//!
//! A field of a spec is enforced; what is not enforced is not there. Its unknown fields are errors, so that a
//! misspelt rule can never be read as "no rule".

#[expect(unreachable_pub, reason = "KubeSchema copies each struct into a function")]
pub mod approval;
pub mod definitions;
pub mod duration;
pub mod limits;
pub mod local;
pub mod manifest;
pub mod pod;
#[expect(unreachable_pub, reason = "KubeSchema copies each struct into a function")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have one type")]
pub mod policy;
#[expect(unreachable_pub, reason = "KubeSchema copies each struct into a function")]
pub mod shared;
pub mod status;
#[expect(unreachable_pub, reason = "KubeSchema copies each struct into a function")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have one type")]
pub mod target;
#[cfg(feature = "cel")]
pub mod validate;

pub const GROUP: &str = "agentaccess.dev";
pub const VERSION: &str = "v1alpha1";
/// What the `apiVersion` of our objects says.
pub const API_VERSION: &str = "agentaccess.dev/v1alpha1";
