//! What a name can mean at one place of a query.
//!
//! Levels nest like the server's: a name belongs to the innermost level where it is found. An item whose columns are not
//! all known (a function, a system catalog, an unnamed output) is *open*: the name may be its own or belong further out,
//! so both are assumed.

use std::rc::Rc;

use policy::MaskMethod;

use super::row::Shape;
use crate::catalog::Oid;
use crate::outputs::Outputs;

/// A column as it is visible under its item.
#[derive(Clone, Debug)]
pub(crate) struct Col {
    pub(crate) name: String,
    /// The real name in the relation; differs under `AS t(a, b)`.
    pub(crate) real: String,
    /// Its values come from a masked column.
    pub(crate) masked: bool,
    /// How, where that is certain: for counts. There is none unless it is masked.
    pub(crate) method: Option<MaskMethod>,
    /// `inPredicates: Deny`.
    pub(crate) deny: bool,
    pub(crate) shape: Shape,
}

/// Where the columns of an item come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Read from a relation, behind a template if it has masks.
    Scan(Oid),
    /// The relation that a data-changing statement changes.
    Target(Oid),
    /// `excluded` of ON CONFLICT: the rows that were proposed.
    Proposed(Oid),
    /// A sub-query, a CTE, a function, a system catalog.
    Derived,
}

/// One entry of a FROM clause.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) uid: u32,
    /// The alias, or the relation's name.
    pub(crate) name: Option<String>,
    /// The relation, if it has no alias: `schema.relation.column` means it.
    pub(crate) plain: Option<Oid>,
    pub(crate) origin: Origin,
    pub(crate) cols: Rc<[Col]>,
    /// What a star over it gives, by position.
    pub(crate) outputs: Rc<Outputs>,
    pub(crate) open: bool,
    /// What is not in `cols` may be masked.
    pub(crate) open_masked: bool,
    /// Only `name.column` reaches it.
    pub(crate) qualified_only: bool,
    /// A function, whose whole row is a value of any type if the function returns one: `item.name` may be a call.
    pub(crate) function: bool,
    /// A template stands for it.
    pub(crate) substituted: bool,
    /// Where a relation that is read stands in the text.
    pub(crate) at: Option<i32>,
}

/// Output columns of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub(crate) cols: Vec<Col>,
    /// The same by position, those without a name included.
    pub(crate) outputs: Outputs,
    pub(crate) open: bool,
    pub(crate) masked: bool,
}

/// What `*` gives over joins that merged columns, in the server's order; `None` where it is not certain.
pub(crate) type Star = Option<Vec<(String, Option<MaskMethod>)>>;

/// Common table expressions in scope, innermost first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ctes(Option<Rc<Cte>>);

#[derive(Debug)]
struct Cte {
    name: String,
    output: Rc<Output>,
    outer: Ctes,
}

impl Ctes {
    pub(crate) fn with(&self, name: &str, output: Rc<Output>) -> Self {
        Self(Some(Rc::new(Cte { name: name.to_owned(), output, outer: self.clone() })))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Rc<Output>> {
        let mut next = self.0.as_ref();
        while let Some(cte) = next {
            if cte.name == name {
                return Some(Rc::clone(&cte.output));
            }
            next = cte.outer.0.as_ref();
        }
        None
    }
}

/// One query level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env<'p> {
    pub(crate) parent: Option<&'p Env<'p>>,
    pub(crate) items: Vec<Item>,
    pub(crate) ctes: Ctes,
    /// A join merged columns, so the order of `*` is not that of the items but this one.
    pub(crate) merged: Option<Rc<Star>>,
}

/// What a lookup found at the first level that has the name.
#[derive(Debug, Default)]
pub(crate) struct Found<'e> {
    pub(crate) hits: Vec<(&'e Item, &'e Col)>,
    /// A level on the way had an open item.
    pub(crate) maybe: bool,
    pub(crate) maybe_masked: bool,
}

impl<'p> Env<'p> {
    pub(crate) fn levels(&self) -> impl Iterator<Item = &Env<'p>> {
        std::iter::successors(Some(self), |env| env.parent)
    }

    /// A bare name as a column.
    pub(crate) fn column<'e>(&'e self, name: &str) -> Found<'e> {
        let mut found = Found::default();
        for level in self.levels() {
            for item in level.items.iter().filter(|i| !i.qualified_only) {
                found.hits.extend(item.cols.iter().filter(|c| c.name == name).map(|c| (item, c)));
                if item.open {
                    found.maybe = true;
                    found.maybe_masked |= item.open_masked;
                }
            }
            if !found.hits.is_empty() {
                break;
            }
        }
        found
    }

    /// The items that a name before a dot means: those of the innermost level that has any.
    pub(crate) fn named(&self, name: &str) -> Vec<&Item> {
        self.first(|item| item.name.as_deref() == Some(name))
    }

    /// The items that `schema.relation` before a dot means.
    pub(crate) fn plain(&self, oid: Oid) -> Vec<&Item> {
        self.first(|item| item.plain == Some(oid))
    }

    fn first(&self, is: impl Fn(&Item) -> bool) -> Vec<&Item> {
        self.levels()
            .map(|level| level.items.iter().filter(|item| is(item)).collect::<Vec<_>>())
            .find(|items| !items.is_empty())
            .unwrap_or_default()
    }
}

impl Item {
    pub(crate) fn column(&self, name: &str) -> Option<&Col> {
        self.cols.iter().find(|c| c.name == name)
    }

    /// Gives the columns the names of `AS alias(a, b)`.
    pub(crate) fn rename(&mut self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let masked = self.open_masked;
        let mut cols: Vec<Col> = self.cols.to_vec();
        if self.open {
            // Which of its columns get the names is not known.
            let any = masked || cols.iter().any(|c| c.masked);
            let deny = cols.iter().any(|c| c.deny);
            let methods = self.outputs.all().unwrap_or_default();
            cols = names
                .iter()
                .enumerate()
                .map(|(i, n)| {
                    let method = methods.get(i).copied().flatten().filter(|_| any);
                    Col { name: n.clone(), real: n.clone(), masked: any, method, deny, shape: Shape::Unknown }
                })
                .collect();
        } else {
            for (col, name) in cols.iter_mut().zip(names) {
                name.clone_into(&mut col.name);
            }
        }
        self.cols = cols.into();
    }
}

impl Output {
    /// An item with these columns.
    pub(crate) fn item(&self, uid: u32, name: Option<String>) -> Item {
        Item {
            uid,
            name,
            plain: None,
            origin: Origin::Derived,
            cols: self.cols.clone().into(),
            outputs: Rc::new(self.outputs.clone()),
            open: self.open,
            open_masked: self.open && self.masked,
            qualified_only: false,
            function: false,
            substituted: false,
            at: None,
        }
    }

    /// A column, whose position is for the caller to tell.
    pub(crate) fn push(&mut self, name: &str, masked: bool, method: Option<MaskMethod>) {
        self.push_shaped(name, masked, method, Shape::Unknown);
    }

    pub(crate) fn push_shaped(&mut self, name: &str, masked: bool, method: Option<MaskMethod>, shape: Shape) {
        self.masked |= masked;
        self.cols.push(Col { name: name.to_owned(), real: name.to_owned(), masked, method, deny: false, shape });
    }
}
