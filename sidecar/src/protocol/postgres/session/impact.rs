//! What a statement would do, found out before people are asked: on a connection of our own, read-only and in a few seconds.
//!
//! The same login, target and settings as the session's, another connection: what only the session sees (an open
//! transaction, temporary tables) is not looked at. Each question is an operation of ours with intent and permit, made from
//! the statement that was decided. Invariants: nothing that could be the statement itself is sent; of an answer one number
//! is taken; whatever fails is a remark in our own words, and the approval goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pgcodec::frontend::{Bind, Execute, Format, Parse};
use pgcodec::{Framer, Frontend};
use pgsql::Plan;
use pgsql::preview::{self, Count, MOST_COUNTED};
use policy::impact::{Counted, Impact};
use policy::operation::{Access, Operation, Verb};
use policy::verdict::Preview;
use tokio::time::timeout;

use super::super::operation::Derived;
use super::super::parameter::Parameter;
use super::super::statement::Bound;
use super::internal::{Asker, InternalError, Rows};
use super::login::LoginError;
use super::meaning::Meaning;
use super::planner::Planner;
use crate::core::Core;
use crate::outside::Target;

/// For all of it, the login included.
const DEADLINE: Duration = Duration::from_secs(3);
/// Of an answer: a plan of many partitions is long.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// The server ends by itself what takes long or waits for a lock, and changes nothing whatever is asked.
const BEGIN: &str = "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = 2000; SET LOCAL lock_timeout = 1000; \
                     SET LOCAL idle_in_transaction_session_timeout = 3000";
const END: &str = "ROLLBACK";
/// OID of `text`.
const TEXT: u32 = 25;

/// The values that come with a statement.
pub(super) enum Values<'a> {
    None,
    Bound(&'a Bound),
    /// Too long to be kept.
    Gone,
}

/// All that is needed to look.
pub(super) struct Sketch<'a> {
    pub core: &'a Arc<Core>,
    pub target: &'a Arc<Target>,
    pub database: &'a str,
    /// Of the session's settings, those that change what a text means.
    pub meaning: &'a Meaning,
    pub planner: &'a Planner,
    pub plan: &'a Plan,
    pub values: Values<'a>,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{}", .0.for_agent())]
    Login(#[from] LoginError),
    #[error("{}", words(.0))]
    Ask(#[from] InternalError),
}

impl Sketch<'_> {
    /// Within its deadline; never an error.
    pub(super) async fn look(&self, operation: &Operation, wanted: Preview) -> Impact {
        let mut found = Impact::default();
        if let Err(why) = self.find_out(operation, wanted, &mut found).await {
            found = Impact::none(why);
        }
        let cascades = |access: &Access| access.indirect && matches!(access.verb, Verb::Update | Verb::Delete);
        if self.plan.accesses.iter().any(cascades) {
            add(&mut found, "rows that go or change with it in other tables are not counted");
        }
        if self.plan.counts_changes() {
            found.compared = found.approved().is_some();
            if !found.compared {
                add(&mut found, "what it changes is not compared with anything when it runs");
            }
        }
        if !found.fits() {
            found = Impact::none("what was found cannot be shown");
        }
        found
    }

    /// `Err`: nothing can be found out at all.
    async fn find_out(&self, operation: &Operation, wanted: Preview, found: &mut Impact) -> Result<(), &'static str> {
        if let Some(why) = self.plan.no_preview {
            return Err(why);
        }
        if matches!(self.values, Values::Gone) {
            return Err("its parameters are too long");
        }
        let explain = wanted.explain.then(|| preview::explain(self.plan, &self.planner.limits()));
        let count =
            wanted.count.then(|| preview::count(self.plan, &self.planner.loaded().catalog, &self.planner.limits()));
        for (what, why) in [
            ("no estimate", explain.as_ref().and_then(|made| made.as_ref().err())),
            ("not counted", count.as_ref().and_then(|made| made.as_ref().err())),
        ] {
            if let Some(why) = why {
                add(found, &format!("{what}: {why}"));
            }
        }
        let (explain, count) = (explain.and_then(Result::ok), count.and_then(Result::ok));
        if explain.is_none() && count.is_none() {
            return Ok(());
        }
        let _place = self.core.previews.begin(&self.target.key)?;
        match timeout(DEADLINE, self.ask(operation, explain, count, found)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => add(found, &why.to_string()),
            Err(_) => add(found, &format!("the target did not answer within {} s", DEADLINE.as_secs())),
        }
        Ok(())
    }

    async fn ask(
        &self,
        operation: &Operation,
        explain: Option<String>,
        count: Option<Count>,
        found: &mut Impact,
    ) -> Result<(), Failed> {
        let mut logged_in = self.core.log_in(self.target, self.database, &self.meaning.settings()).await?;
        let mut framer = Framer::backend(&pgcodec::Limits::default());
        let mut desk = self.core.gate.internal_desk(self.target);
        let mut asker = Asker {
            upstream: &mut logged_in.upstream,
            framer: &mut framer,
            desk: &mut desk,
            key: &self.core.digest_key,
            database: self.database,
            most: MOST_BYTES,
            unasked: Vec::new(),
        };
        if let Some(text) = explain {
            match self.within(&mut asker, operation, "impact preview: estimate", &text, |_| true).await {
                Ok(rows) => {
                    match only(&rows).and_then(|cell| std::str::from_utf8(cell).ok()).and_then(preview::estimate) {
                        Some(rows) => found.estimated = Some(rows),
                        None => add(found, "no estimate: the target's plan has none"),
                    }
                }
                Err(InternalError::Server(code)) => {
                    add(found, &format!("no estimate: {}", words(&InternalError::Server(code.clone()))));
                    if is_slow(&code) {
                        return Ok(());
                    }
                }
                Err(other) => return Err(other.into()),
            }
        }
        if let Some(count) = count {
            let stands = |number: u32| count.params.contains(&number);
            match self.within(&mut asker, operation, "impact preview: count", &count.text, stands).await {
                Ok(rows) => {
                    let text = only(&rows).and_then(|cell| std::str::from_utf8(cell).ok());
                    match text.and_then(|text| text.parse::<u64>().ok()) {
                        Some(rows) => {
                            let more = rows > MOST_COUNTED;
                            found.counted = Some(Counted { rows: rows.min(MOST_COUNTED), more });
                        }
                        None => add(found, "not counted: the target's answer is no number"),
                    }
                }
                Err(InternalError::Server(code)) => {
                    add(found, &format!("not counted: {}", words(&InternalError::Server(code))));
                }
                Err(other) => return Err(other.into()),
            }
        }
        logged_in.upstream.close().await;
        Ok(())
    }

    /// One question in a read-only transaction of its own, which is rolled back. Parameters that do not stand in the text
    /// go out as NULL.
    async fn within(
        &self,
        asker: &mut Asker<'_>,
        operation: &Operation,
        what: &'static str,
        text: &str,
        stands: impl Fn(u32) -> bool,
    ) -> Result<Rows, InternalError> {
        asker.ask("impact preview: begin", BEGIN).await?;
        let parameters = match &self.values {
            Values::None | Values::Gone => Vec::new(),
            Values::Bound(bound) => bound.parameters(),
        };
        let parameters: Vec<Parameter<'_>> = (1..)
            .zip(parameters)
            .map(|(number, parameter)| match stands(number) {
                true => parameter,
                false => Parameter { type_oid: TEXT, binary: false, value: None },
            })
            .collect();
        let derived = Derived { what, text, parameters: &parameters, accesses: &operation.accesses };
        let answer = asker.derived(&derived, &frames(text, &parameters)?).await;
        match answer {
            Ok(_) | Err(InternalError::Server(_)) => {
                asker.ask("impact preview: end", END).await?;
            }
            Err(_) => {}
        }
        answer
    }
}

/// Parse, Bind, Execute and Sync of one text, with the types, formats and bytes of the values as they came.
fn frames(text: &str, parameters: &[Parameter<'_>]) -> Result<BytesMut, pgcodec::Violation> {
    let format = |parameter: &Parameter<'_>| if parameter.binary { Format::Binary } else { Format::Text };
    let mut out = BytesMut::new();
    Frontend::Parse(Parse {
        name: String::new(),
        sql: text.to_owned(),
        param_types: parameters.iter().map(|parameter| parameter.type_oid).collect(),
    })
    .encode(&mut out)?;
    Frontend::Bind(Bind {
        portal: String::new(),
        statement: String::new(),
        formats: parameters.iter().map(format).collect(),
        params: parameters.iter().map(|parameter| parameter.value.map(Bytes::copy_from_slice)).collect(),
        result_formats: Vec::new(),
    })
    .encode(&mut out)?;
    Frontend::Execute(Execute { portal: String::new(), max_rows: 0 }).encode(&mut out)?;
    Frontend::Sync.encode(&mut out)?;
    Ok(out)
}

/// The one value of an answer.
fn only(rows: &Rows) -> Option<&Bytes> {
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [cell] => cell.as_ref(),
            _ => None,
        },
        _ => None,
    }
}

fn add(found: &mut Impact, remark: &str) {
    if !found.remark.is_empty() {
        found.remark.push_str("; ");
    }
    found.remark.push_str(remark);
}

/// It would take as long again.
fn is_slow(code: &str) -> bool {
    matches!(code, "57014" | "55P03")
}

/// Our own words: the target's may hold values.
fn words(error: &InternalError) -> String {
    match error {
        InternalError::Server(code) => match code.as_str() {
            "57014" => "it took longer than 2 s".to_owned(),
            "55P03" => "somebody else has locked a table of it".to_owned(),
            "42501" => "the sidecar's login may not do it".to_owned(),
            "25006" => "it is not read-only".to_owned(),
            code if code.len() == 5 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) => {
                format!("the target refused it (sqlstate {code})")
            }
            _ => "the target refused it".to_owned(),
        },
        InternalError::TooLarge(_) => "the target's answer is too large".to_owned(),
        InternalError::Refused(_) => "it could not be recorded".to_owned(),
        InternalError::Io(_) | InternalError::Protocol(_) | InternalError::Send(_) => {
            "the connection to the target broke".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_one_value() {
        let cell = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(only(&vec![vec![cell("7")]]), cell("7").as_ref());
        for rows in [vec![], vec![vec![]], vec![vec![None]], vec![vec![cell("7"), cell("8")]], vec![vec![cell("7")]; 2]]
        {
            assert_eq!(only(&rows), None);
        }
    }

    #[test]
    fn a_code_that_is_none_is_not_repeated() {
        let said = |code: &str| words(&InternalError::Server(code.to_owned()));
        assert_eq!(said("42P01"), "the target refused it (sqlstate 42P01)");
        for code in ["CANARY", "4711 ", "a b c", "", "42p01"] {
            assert_eq!(said(code), "the target refused it", "{code}");
        }
    }
}
