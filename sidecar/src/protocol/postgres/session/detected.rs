//! What comes back, before the agent, a recording or a log has it: looked at by the detectors of this moment.
//!
//! Invariant: a row is looked at with the types and forms that the target described it with; one that was never described
//! ends the session while anybody looks.

use std::sync::Arc;

use pgcodec::backend::{CopyResponse, ErrorFields, RowDescription};
use pgcodec::machine::{About, PortalId};
use pgcodec::{Backend, Format};

use super::super::detect::{Seen, columns};
use super::flight::Token;
use super::{End, Session};

const UNCOVERABLE: &str = "a detector found what cannot be covered in binary form: ask for it as text";

impl Session {
    /// Which rows a description is about.
    pub(super) fn described(&mut self, row: &RowDescription, token: Option<Token>, about: About) {
        let columns: Arc<[_]> = columns(row).into();
        match about {
            About::Portal(id) => {
                if let Some(portal) = self.machine.portal_mut(id) {
                    portal.columns = Some(Arc::clone(&columns));
                }
                for flight in self.flights.values_mut().filter(|flight| flight.portal == Some(id)) {
                    flight.columns = Some(Arc::clone(&columns));
                }
            }
            About::Nothing => {
                if let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) {
                    flight.columns = Some(columns);
                }
            }
            // Of a statement all columns are described as text, whatever form a Bind asks for; of a cursor those of its
            // DECLARE, while each FETCH has a form of its own.
            About::Statement(_) | About::Cursor(_) => {}
        }
    }

    /// The rows of this operation are those of a portal: described already, or before the first of them comes.
    pub(super) fn expect_columns(&mut self, token: Token, portal: PortalId) {
        let columns = self.machine.portal(portal).and_then(|portal| portal.columns.clone());
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.portal = Some(portal);
            flight.columns = columns;
        }
    }

    /// A row, a piece of COPY, or what another session told this one.
    pub(super) fn look_at(&mut self, message: Backend, token: Option<Token>) -> Result<Backend, End> {
        let Some(net) = self.planner.net() else { return Ok(message) };
        let mut seen = Seen::default();
        Ok(match message {
            Backend::DataRow(mut row) => {
                let flight = token.and_then(|token| self.flights.get(&token));
                let Some(columns) = flight.and_then(|flight| flight.columns.clone()) else {
                    return Err(End::Caught("a row was not described", "detectors are in force".to_owned()));
                };
                let looked = net.row(&mut row, &columns, &mut seen);
                self.saw(&seen, token);
                looked.map_err(|found| End::Caught(UNCOVERABLE, found.to_string()))?;
                Backend::DataRow(row)
            }
            Backend::CopyData(mut line) => {
                net.line(&mut line, &mut seen);
                self.saw(&seen, token);
                Backend::CopyData(line)
            }
            Backend::CopyOut(CopyResponse { format: Format::Binary, .. }) => {
                return Err(End::Caught("a COPY is binary", "detectors are in force".to_owned()));
            }
            Backend::NotificationResponse { pid, channel, payload } => {
                let payload = net.sentence(&payload, &mut seen).unwrap_or(payload);
                self.saw(&seen, None);
                Backend::NotificationResponse { pid, channel, payload }
            }
            other => other,
        })
    }

    /// The target's own words.
    pub(super) fn look_at_words(&mut self, words: ErrorFields, token: Option<Token>) -> ErrorFields {
        let Some(net) = self.planner.net() else { return words };
        let mut seen = Seen::default();
        let words = net.words(words, &mut seen);
        self.saw(&seen, token);
        words
    }

    fn saw(&mut self, seen: &Seen, token: Option<Token>) {
        self.core.metrics.detected(&seen.found());
        if let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) {
            flight.seen.add(seen);
        }
    }
}
