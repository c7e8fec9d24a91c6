//! placeholder replaced in the next commit
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct ReadError;
