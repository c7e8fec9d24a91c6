//! Which outputs of a statement carry masked values, by position. It counts what was shown and decides nothing.
//!
//! Invariant: an output is said to be masked only if values of a masked column go into it, be it in one arm of a UNION.
//! Where positions are not certain (a star over a function, say) nothing is said of them.

use policy::MaskMethod;

/// The outputs of a statement, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    before: Vec<Option<MaskMethod>>,
    /// What stands behind outputs of unknown number; without such there is none.
    after: Option<Vec<Option<MaskMethod>>>,
}

impl Outputs {
    /// One more, with the strictest method that went into it.
    pub(crate) fn push(&mut self, method: Option<MaskMethod>) {
        self.after.as_mut().unwrap_or(&mut self.before).push(method);
    }

    /// More of them, of unknown number and kind. What stood between two such parts has no position any more.
    pub(crate) fn push_unknown(&mut self) {
        self.after = Some(Vec::new());
    }

    /// Those of another, behind these.
    pub(crate) fn append(&mut self, other: &Self) {
        other.before.iter().for_each(|method| self.push(*method));
        if let Some(after) = &other.after {
            self.push_unknown();
            after.iter().for_each(|method| self.push(*method));
        }
    }

    /// Rows of this or of the other, as a set operation gives them.
    pub(crate) fn or(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let mut both = Self::default();
        match (&self.after, &other.after) {
            (None, None) if self.before.len() == other.before.len() => {
                self.before.iter().zip(&other.before).for_each(|(one, two)| both.push(*one.max(two)));
            }
            _ => both.push_unknown(),
        }
        both
    }

    /// The strictest method in any of them.
    pub(crate) fn strictest(&self) -> Option<MaskMethod> {
        self.certain().max()
    }

    /// The method of each, where all have a position.
    pub(crate) fn all(&self) -> Option<&[Option<MaskMethod>]> {
        self.after.is_none().then_some(self.before.as_slice())
    }

    /// Whether any of them is known to carry masked values.
    pub fn any(&self) -> bool {
        self.strictest().is_some()
    }

    /// The methods of those that are masked.
    pub fn certain(&self) -> impl Iterator<Item = MaskMethod> + '_ {
        self.before.iter().chain(self.after.iter().flatten()).copied().flatten()
    }

    /// The method behind each value of a row with `width` values.
    pub fn of(&self, width: usize) -> impl Iterator<Item = Option<MaskMethod>> + '_ {
        let after = self.after.as_deref().unwrap_or_default();
        let known = self.before.len().saturating_add(after.len());
        let fits = if self.after.is_some() { known <= width } else { known == width };
        // A row of another width is not what was meant: nothing is said of it.
        let (before, after) = if fits { (self.before.as_slice(), after) } else { Default::default() };
        let between = width.saturating_sub(before.len()).saturating_sub(after.len());
        before.iter().copied().chain(std::iter::repeat_n(None, between)).chain(after.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIAL: Option<MaskMethod> = Some(MaskMethod::Partial);
    const REDACT: Option<MaskMethod> = Some(MaskMethod::Redact);

    fn outputs(parts: &[Option<Option<MaskMethod>>]) -> Outputs {
        let mut made = Outputs::default();
        for part in parts {
            match part {
                Some(method) => made.push(*method),
                None => made.push_unknown(),
            }
        }
        made
    }

    #[test]
    fn positions_are_counted_from_both_ends() {
        let made = outputs(&[Some(None), Some(REDACT), None, Some(PARTIAL)]);
        assert_eq!(made.of(3).collect::<Vec<_>>(), [None, REDACT, PARTIAL]);
        assert_eq!(made.of(5).collect::<Vec<_>>(), [None, REDACT, None, None, PARTIAL]);
        assert_eq!(made.of(2).collect::<Vec<_>>(), [None, None], "a row that does not fit");
        let twice = outputs(&[Some(REDACT), None, Some(REDACT), None, Some(None)]);
        assert_eq!(twice.of(4).collect::<Vec<_>>(), [REDACT, None, None, None], "between two unknown parts");
        assert_eq!(outputs(&[Some(REDACT)]).of(2).collect::<Vec<_>>(), [None, None]);
        assert!(made.any() && !outputs(&[Some(None), None]).any());
    }

    #[test]
    fn rows_of_either_side_have_the_stricter_method() {
        let one = outputs(&[Some(PARTIAL), Some(None)]);
        let two = outputs(&[Some(REDACT), Some(None)]);
        assert_eq!(one.or(&two), two);
        assert!(!one.or(&outputs(&[Some(REDACT)])).any());
        let mut joined = one.clone();
        joined.append(&outputs(&[None, Some(REDACT)]));
        assert_eq!(joined.of(4).collect::<Vec<_>>(), [PARTIAL, None, None, REDACT]);
        assert_eq!((joined.strictest(), joined.all()), (REDACT, None));
    }
}
