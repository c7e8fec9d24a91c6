//! The grammar's C enumerations as Rust enums.
//!
//! `pg_raw_parse` shows them as integers; a value that is not listed here is refused, so a `match` on one of these
//! enums needs no default arm.

mod query;
mod statement;

pub use query::*;
pub use statement::*;

/// `Name = CName { Variant = C_CONSTANT, .. }`
macro_rules! choices {
    ($($name:ident = $c:ident { $($variant:ident = $value:ident,)* })*) => { $(
        #[doc = concat!("`", stringify!($c), "` of PostgreSQL's `parsenodes.h` and `primnodes.h`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are PostgreSQL's")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// The value of a node's field.
            ///
            /// # Errors
            /// [`Refused`](crate::Refused) when the value is not known.
            pub fn of(raw: ::pg_raw_parse::nodes::$c::Type) -> Result<Self, $crate::Refused> {
                match raw {
                    $(::pg_raw_parse::nodes::$c::$value => Ok(Self::$variant),)*
                    _ => Err($crate::Refused::new(concat!("an unknown value of ", stringify!($c)))),
                }
            }
        }
    )* };
}
use choices;
