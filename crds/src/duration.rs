//! `DurationText`: a length of time as people write it (`20s`, `15m`, `1h30m`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whole seconds, minutes, hours and days, for example `90s` or `1h30m`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct DurationText(pub String);
