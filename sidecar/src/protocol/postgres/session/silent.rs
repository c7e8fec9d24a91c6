//! The agent's side of operations that have no agent: our own.

use crate::gate::{AgentSide, Refused, Told};

#[derive(Debug)]
pub(super) struct Silent;

impl AgentSide for Silent {
    fn told(&self, refused: &Refused) -> Told {
        Told { code: None, text: refused.refusal.word().to_owned() }
    }

    async fn progress(&mut self, _request: &str, _have: u8, _need: u8) {}

    async fn gave_up(&mut self) {
        std::future::pending().await
    }
}
