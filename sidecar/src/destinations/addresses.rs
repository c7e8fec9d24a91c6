//! Synthetic addresses of names, from the range for benchmarks (RFC 2544), which no network routes.
//!
//! Invariant: a name keeps its address and no address is ever given to another name, also after a restart with the same
//! list: what a client remembers never comes to mean something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// 198.18.0.0/15, without its first and last address.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const LAST: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);

/// Every name that ever had an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    names: BTreeMap<String, Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all synthetic addresses are taken")]
pub struct Exhausted;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a synthetic address and a name that stand in no other line")]
pub struct Damaged {
    pub line: usize,
}

// === impl Addresses ===

impl Addresses {
    /// The address of `name`, which must be in canonical form.
    ///
    /// # Errors
    /// When there is none left for a new name.
    pub fn assign(&mut self, name: &str) -> Result<Ipv4Addr, Exhausted> {
        if let Some(address) = self.names.get(name) {
            return Ok(*address);
        }
        let address = self.last.map_or(FIRST, |last| Ipv4Addr::from_bits(last.to_bits().saturating_add(1)));
        if address > LAST {
            return Err(Exhausted);
        }
        self.names.insert(name.to_owned(), address);
        self.last = Some(address);
        Ok(address)
    }

    /// One line for each name.
    pub fn to_text(&self) -> String {
        self.names.iter().fold(String::new(), |mut text, (name, address)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address} {name}");
            text
        })
    }

    /// # Errors
    /// The first line that [`Addresses::to_text`] cannot have written.
    pub fn parse(text: &str) -> Result<Self, Damaged> {
        let mut read = Self::default();
        let mut taken = BTreeSet::new();
        for (at, line) in text.lines().enumerate() {
            let damaged = || Damaged { line: at.saturating_add(1) };
            let (address, name) = line.split_once(' ').ok_or_else(damaged)?;
            let address: Ipv4Addr = address.parse().map_err(|_| damaged())?;
            let good = (FIRST..=LAST).contains(&address) && !name.is_empty() && !name.contains(char::is_whitespace);
            if !good || !taken.insert(address) || read.names.insert(name.to_owned(), address).is_some() {
                return Err(damaged());
            }
            read.last = read.last.max(Some(address));
        }
        Ok(read)
    }
}

/// Whether an address is one of ours.
pub fn is_synthetic(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [198, 18 | 19, _, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_over_a_restart_and_shares_it_with_none() {
        let mut addresses = Addresses::default();
        let (a, b) = (addresses.assign("b.example").unwrap(), addresses.assign("a.example").unwrap());
        assert_eq!((a, b), (FIRST, Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(addresses.assign("b.example"), Ok(a));
        let mut read = Addresses::parse(&addresses.to_text()).unwrap();
        assert_eq!(read, addresses);
        assert_eq!((read.assign("a.example"), read.assign("b.example")), (Ok(b), Ok(a)));
        assert_eq!(read.assign("c.example"), Ok(Ipv4Addr::new(198, 18, 0, 3)));
        assert_eq!(Addresses::parse(""), Ok(Addresses::default()));
    }

    #[test]
    fn a_damaged_list_is_refused() {
        for (text, line) in [
            ("198.18.0.1 a\n198.18.0.1 b\n", 2),
            ("198.18.0.1 a\n198.18.0.2 a\n", 2),
            ("198.20.0.1 a\n", 1),
            ("198.18.0.0 a\n", 1),
            ("198.18.0.1\n", 1),
            ("198.18.0.1 \n", 1),
            ("198.18.0.1 a b\n", 1),
            ("\n", 1),
        ] {
            assert_eq!(Addresses::parse(text), Err(Damaged { line }), "{text}");
        }
    }

    #[test]
    fn the_range_ends() {
        let mut addresses = Addresses::parse("198.19.255.253 a\n").unwrap();
        assert_eq!(addresses.assign("b"), Ok(LAST));
        assert_eq!((addresses.assign("c"), addresses.assign("b")), (Err(Exhausted), Ok(LAST)));
    }
}
