//! What an operation would do, as people are told before they decide, and how far it may differ when it runs.
//!
//! Numbers, and remarks of ours: nothing of a row, of a plan or of an error of the target. Whoever gets one from
//! elsewhere asks [`Impact::fits`] first. Invariant: the bound that is compared at execution follows from the numbers that
//! were shown, by one function, so that nobody approves one number and lets another one through.

use crds::approval::RequestImpact;
use crds::limits;

use crate::redact::Redacted;

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// Rows that the planner expects.
    pub estimated: Option<u64>,
    /// Rows that match now.
    pub counted: Option<Counted>,
    /// What runs is compared with it.
    pub compared: bool,
    /// What could not be found out and why, in words of ours.
    pub remark: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub rows: u64,
    /// Counting stopped there.
    pub more: bool,
}

impl Impact {
    /// Nothing was found out.
    pub fn none(why: impl std::fmt::Display) -> Self {
        Self { remark: format!("no preview: {why}"), ..Self::default() }
    }

    /// The number that people approve: what was counted, and where counting stopped short the planner's, if it has one.
    pub fn approved(&self) -> Option<u64> {
        match self.counted {
            Some(Counted { rows, more: false }) => Some(rows),
            Some(Counted { rows, more: true }) => self.estimated.map(|estimated| estimated.max(rows)),
            None => self.estimated,
        }
    }

    /// If it changes more rows than this when it runs, it is rolled back: a tenth, and ten, more than was approved.
    pub fn rollback_above(&self) -> Option<u64> {
        let approved = self.approved().filter(|_| self.compared)?;
        Some(approved.saturating_add(approved / 10).saturating_add(10).min(most()))
    }

    /// Whether it is one that can be shown.
    pub fn fits(&self) -> bool {
        let shown = Redacted::danger_caller_redacted(&self.remark);
        self.estimated.is_none_or(|rows| rows <= most())
            && self.counted.is_none_or(|counted| counted.rows <= most())
            && self.remark.chars().count() <= limits::REMARK_CHARS
            && shown.as_str() == self.remark
            && shown.is_flat()
            && !self.means().is_empty()
    }

    /// All of it in a sentence.
    pub fn means(&self) -> String {
        let estimated = self.estimated.map(|rows| format!("the planner expects about {}", rows_of(rows)));
        let counted = self.counted.map(|Counted { rows, more }| {
            let than = if more { "more than " } else { "" };
            format!("{than}{} matched its condition when it was asked", rows_of(rows))
        });
        let compared = self
            .rollback_above()
            .map(|most| format!("it is rolled back if it changes more than {} when it runs", rows_of(most)));
        let remark = (!self.remark.is_empty()).then(|| self.remark.clone());
        [estimated, counted, compared, remark].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// As the request shows it.
    pub fn shown(&self) -> RequestImpact {
        let number = |rows: u64| i64::try_from(rows).unwrap_or(limits::ROWS).min(limits::ROWS);
        RequestImpact {
            means: self.means(),
            estimated_rows: self.estimated.map(number),
            counted_rows: self.counted.map(|counted| number(counted.rows)),
            more: self.counted.is_some_and(|counted| counted.more),
            rollback_above: self.rollback_above().map(number),
        }
    }
}

fn most() -> u64 {
    u64::try_from(limits::ROWS).unwrap_or(u64::MAX)
}

fn rows_of(rows: u64) -> String {
    format!("{rows} {}", if rows == 1 { "row" } else { "rows" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impact(estimated: Option<u64>, counted: Option<(u64, bool)>) -> Impact {
        let counted = counted.map(|(rows, more)| Counted { rows, more });
        Impact { estimated, counted, compared: true, remark: String::new() }
    }

    #[test]
    fn a_tenth_and_ten_more_may_change() {
        let cases = [
            (impact(Some(3), Some((0, false))), Some(10)),
            (impact(None, Some((9, false))), Some(19)),
            (impact(None, Some((10, false))), Some(21)),
            (impact(Some(7), Some((1_000, false))), Some(1_110)),
            (impact(Some(500), None), Some(560)),
            // Counting stopped: the planner's number, but no less than what was counted.
            (impact(Some(5), Some((100_000, true))), Some(110_010)),
            (impact(Some(200_000), Some((100_000, true))), Some(220_010)),
            (impact(None, Some((100_000, true))), None),
            (impact(None, None), None),
            (Impact { compared: false, ..impact(Some(5), Some((5, false))) }, None),
            (impact(Some(u64::MAX), None), Some(most())),
        ];
        for (impact, most) in cases {
            assert_eq!(impact.rollback_above(), most, "{impact:?}");
            let shown = impact.shown();
            assert_eq!(shown.rollback_above, most.map(|most| i64::try_from(most).unwrap()));
        }
    }

    #[test]
    fn people_read_one_sentence() {
        assert_eq!(
            impact(Some(120), Some((1, false))).means(),
            "the planner expects about 120 rows; 1 row matched its condition when it was asked; it is rolled back if it \
             changes more than 11 rows when it runs"
        );
        assert_eq!(Impact::none("the target was too slow").means(), "no preview: the target was too slow");
        assert!(impact(None, Some((100_000, true))).means().starts_with("more than 100000 rows matched"));
    }

    #[test]
    fn what_cannot_be_shown_does_not_fit() {
        assert!(impact(Some(most()), Some((most(), true))).fits() && Impact::none("why").fits());
        assert!(!impact(Some(most() + 1), None).fits() && !impact(None, Some((most() + 1, false))).fits());
        assert!(!Impact::default().fits(), "a sentence without a word");
        for remark in ["two\nlines", "a\tb", "bidi \u{202e}", "\u{1b}[31m", &"x".repeat(limits::REMARK_CHARS + 1)] {
            assert!(!Impact { remark: remark.to_owned(), ..Impact::default() }.fits(), "{remark:?}");
        }
        let longest = Impact { remark: "x".repeat(limits::REMARK_CHARS), ..impact(Some(most()), Some((most(), true))) };
        assert!(longest.fits() && longest.means().chars().count() <= limits::IMPACT_CHARS);
    }
}
