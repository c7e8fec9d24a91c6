//! Every bound of one session. None of them can be switched off.

/// Bounds in bytes or in counts. `Default` gives the shipped values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Startup packet, bytes including its length word.
    pub startup: usize,
    /// A password or SASL message from the agent, bytes after the tag.
    pub password: usize,
    /// Any other message from the agent, bytes after the tag (the length word counts).
    pub frontend_message: usize,
    /// A `Bind` message from the agent; may be configured up to 16 MiB.
    pub bind_message: usize,
    /// A message from the upstream that is neither `DataRow` nor `CopyData`, bytes after the tag.
    pub backend_message: usize,
    /// A `DataRow` or `CopyData` message from the upstream, bytes after the tag.
    pub backend_row: usize,
    /// Parameters of one `Bind` and parameter types of one `Parse`; the protocol itself ends at 65,535.
    pub bind_params: usize,
    /// Prepared statements by name, those not yet confirmed by the upstream included.
    pub statements: usize,
    /// Portals by name, those not yet confirmed by the upstream included.
    pub portals: usize,
    /// Statements up to one `Sync`, counted by their `Bind`s.
    pub batch: usize,
    /// Messages that were sent upstream and not answered yet.
    pub pipeline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            startup: 10_000,
            password: 65_535,
            frontend_message: 1024 * 1024,
            bind_message: 1024 * 1024,
            backend_message: 1024 * 1024,
            backend_row: 16 * 1024 * 1024,
            bind_params: 65_535,
            statements: 1_000,
            portals: 256,
            batch: 64,
            pipeline: 1_024,
        }
    }
}
