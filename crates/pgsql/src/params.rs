//! The types that an agent gives its parameters, by OID, in Parse.
//!
//! Refused is every type that is not PostgreSQL's own: its input function, the checks of a domain and casts from it are code
//! of users, which would run for a statement in whose text nothing of it stands. Without a type the server takes the one
//! that the statement was judged with.

use crate::Oid;
use crate::refused::Refused;

/// The first OID that is given to objects of users: `FirstNormalObjectId` (PostgreSQL, `access/transam.h`).
const FIRST_OF_USERS: Oid = 16_384;

/// 0 leaves a type to the server.
///
/// # Errors
/// [`Refused`] when one of them is a type of users.
pub fn check_types(types: &[Oid]) -> Result<(), Refused> {
    match types.iter().position(|oid| *oid >= FIRST_OF_USERS) {
        None => Ok(()),
        Some(at) => Err(Refused::new(format!("the type of parameter ${} is not built in", at.saturating_add(1)))
            .hint("Leave the type of the parameter to the server: send 0 for it, or do not register the type with the driver.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_of_the_server_itself_pass() {
        for types in [&[][..], &[0], &[23, 0, 25, 1043, 2_950], &[FIRST_OF_USERS - 1]] {
            assert_eq!(check_types(types), Ok(()), "{types:?}");
        }
        for (types, which) in [(&[FIRST_OF_USERS][..], "$1"), (&[0, 23, 90_000], "$3"), (&[u32::MAX], "$1")] {
            let refused = check_types(types).unwrap_err();
            assert!(refused.reason.contains(which) && refused.hint.is_some(), "{refused:?}");
        }
    }
}
