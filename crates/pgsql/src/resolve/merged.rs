//! What a part of a FROM clause brings, and what `*` gives over it where joins merged columns.
//!
//! USING and NATURAL put the columns of both sides first, once. The order serves counts alone: where it is not certain
//! there is none, and what may be read is judged without it.

use std::collections::BTreeSet;

use super::scope::{Item, Star};

#[derive(Default)]
pub(super) struct Brought {
    pub(super) items: Vec<Item>,
    /// A join merged columns: what `*` gives.
    pub(super) merged: Option<Star>,
}

impl Brought {
    pub(super) fn one(item: Item) -> Self {
        Self { items: vec![item], merged: None }
    }

    /// Both, side by side.
    pub(super) fn and(mut self, other: Self) -> Self {
        let merged = (self.merged.is_some() || other.merged.is_some()).then(|| {
            let mut star = self.star()?;
            star.extend(other.star()?);
            Some(star)
        });
        self.items.extend(other.items);
        Self { items: self.items, merged }
    }

    /// Joined by the columns of these names, if it is certain which they are.
    pub(super) fn merge(self, other: Self, common: Option<&[String]>) -> Self {
        let star = common.and_then(|common| merged(&self.star()?, &other.star()?, common));
        Self { merged: Some(star), ..self.and(other) }
    }

    /// Columns that a star walks over.
    pub(super) fn width(&self) -> usize {
        self.items.iter().map(|item| item.cols.len()).sum()
    }

    fn star(&self) -> Star {
        if let Some(star) = &self.merged {
            return star.clone();
        }
        let mut star = Vec::new();
        for item in self.items.iter().filter(|item| !item.qualified_only) {
            let methods = item.outputs.all().filter(|all| !item.open && all.len() == item.cols.len())?;
            star.extend(item.cols.iter().zip(methods).map(|(col, method)| (col.name.clone(), *method)));
        }
        Some(star)
    }
}

fn merged(
    left: &[(String, Option<policy::MaskMethod>)],
    right: &[(String, Option<policy::MaskMethod>)],
    common: &[String],
) -> Star {
    let method =
        |side: &[(String, _)], name: &String| side.iter().find(|(of, _)| of == name).map(|(_, method)| *method);
    let mut star = Vec::new();
    for name in common {
        let (one, two) = (method(left, name)?, method(right, name)?);
        star.push((name.clone(), one.max(two)));
    }
    let common: BTreeSet<&String> = common.iter().collect();
    star.extend(left.iter().chain(right).filter(|(name, _)| !common.contains(name)).cloned());
    Some(star)
}
