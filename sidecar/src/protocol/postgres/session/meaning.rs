//! The settings that give a text its meaning, as the server last told them: an approval counts for them too.
//!
//! Invariant: from the moment that something is sent which may change them until the server has told, their value is
//! one that no approval was ever asked under.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgsql::plan::Effect;

use super::super::settings::MEANING;
use super::flight::Token;

#[derive(Debug)]
pub(super) struct Meaning {
    told: BTreeMap<String, String>,
    /// What was sent last that may have changed them.
    unsettled: Option<Token>,
    current: Arc<str>,
}

impl Meaning {
    pub(super) fn new(parameters: &[(String, String)]) -> Self {
        let told = parameters.iter().filter(|(name, _)| MEANING.contains(&name.as_str())).cloned().collect();
        let mut meaning = Self { told, unsettled: None, current: Arc::from("") };
        meaning.renew();
        meaning
    }

    pub(super) fn current(&self) -> &Arc<str> {
        &self.current
    }

    /// As a connection of our own may begin with them.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        self.told.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A text that was parsed under one meaning and runs now.
    pub(super) fn since(&self, parsed: &Arc<str>) -> Arc<str> {
        match **parsed == *self.current {
            true => Arc::clone(&self.current),
            false => Arc::from(format!("{parsed}, then {}", self.current)),
        }
    }

    /// The server said so.
    pub(super) fn told(&mut self, name: &str, value: &str) {
        if MEANING.contains(&name) {
            self.told.insert(name.to_owned(), value.to_owned());
            self.renew();
        }
    }

    pub(super) fn sent(&mut self, token: Token, effect: &Effect) {
        let changes = match effect {
            Effect::Set { names } => {
                names.iter().any(|name| MEANING.iter().any(|setting| setting.eq_ignore_ascii_case(name)))
            }
            // What SET did in the transaction is undone, and what SET LOCAL did.
            Effect::Commit | Effect::Rollback | Effect::RollbackTo { .. } => true,
            _ => false,
        };
        if changes {
            self.unsettled = Some(token);
            self.renew();
        }
    }

    /// ReadyForQuery: all that changed was told before it.
    pub(super) fn settled(&mut self) {
        if self.unsettled.take().is_some() {
            self.renew();
        }
    }

    fn renew(&mut self) {
        let told: Vec<String> = self.told.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let told = told.join(" ");
        self.current = match self.unsettled {
            None => Arc::from(told),
            Some(token) => Arc::from(format!("{told} changed by {}", token.0)),
        };
    }
}
