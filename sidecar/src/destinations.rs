//! What an agent means by an address: the pure map from a destination to an `AccessTarget`.
//!
//! A name of a target has one synthetic address, which only our DNS gives out; an address stands for itself only where a
//! target names that very address. Everything else means nothing and is refused. So is what two targets claim, and what
//! could lead back into the pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crds::target::AccessTargetSpec;
use policy::TargetKey;

use self::addresses::{Addresses, is_synthetic};
use crate::fence::probe::is_probe;

pub mod addresses;

/// The target that stands behind a destination, as it was when the map was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    pub key: TargetKey,
    pub host: String,
    pub port: u16,
}

/// Invariant: each destination stands for exactly one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    targets: BTreeMap<(IpAddr, u16), Meant>,
    names: BTreeMap<String, Ipv4Addr>,
}

impl Destinations {
    /// Names without an address yet get one. Also tells which targets cannot be reached, one sentence each.
    pub fn new<'a>(
        targets: impl IntoIterator<Item = (&'a TargetKey, &'a AccessTargetSpec)>,
        addresses: &mut Addresses,
    ) -> (Self, Vec<String>) {
        let mut made = Self::default();
        let mut unreachable = Vec::new();
        let mut claims: BTreeMap<(IpAddr, u16), Vec<Meant>> = BTreeMap::new();
        for (key, spec) in targets {
            match made.place(spec, addresses) {
                Ok(place) => {
                    let meant = Meant { key: key.clone(), host: spec.host.clone(), port: place.1 };
                    claims.entry(place).or_default().push(meant);
                }
                Err(why) => unreachable.push(format!("AccessTarget `{key}` cannot be reached: {why}")),
            }
        }
        for (place, mut claimed) in claims {
            match (claimed.pop(), claimed.is_empty()) {
                (Some(meant), true) => drop(made.targets.insert(place, meant)),
                (last, _) => unreachable.extend(last.iter().chain(&claimed).map(|meant| {
                    let (key, host, port) = (&meant.key, &meant.host, meant.port);
                    format!("AccessTarget `{key}` cannot be reached: another one names {host}:{port} too")
                })),
            }
        }
        (made, unreachable)
    }

    fn place(&mut self, spec: &AccessTargetSpec, addresses: &mut Addresses) -> Result<(IpAddr, u16), String> {
        let port = u16::try_from(spec.port).map_err(|_| format!("{} is not a port", spec.port))?;
        if let Ok(address) = spec.host.parse::<IpAddr>() {
            let address = address.to_canonical();
            return match inward(address) {
                true => Err(format!("{address} does not lead out of the pod")),
                false => Ok((address, port)),
            };
        }
        let name = canonical(&spec.host);
        if name == "localhost" || name.ends_with(".localhost") {
            return Err(format!("{name} does not lead out of the pod"));
        }
        let address = addresses.assign(&name).map_err(|e| e.to_string())?;
        self.names.insert(name, address);
        Ok((address.into(), port))
    }

    /// The target of a connection, if it has one.
    pub fn target(&self, destination: SocketAddr) -> Option<&Meant> {
        self.targets.get(&(destination.ip().to_canonical(), destination.port()))
    }

    /// The address of a name, with or without the final dot, in any case.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.names.get(&canonical(name)).copied()
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Addresses that are ours or the pod's own.
fn inward(address: IpAddr) -> bool {
    let synthetic = matches!(address, IpAddr::V4(v4) if is_synthetic(v4));
    synthetic || is_probe(address) || address.is_loopback() || address.is_unspecified() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host: &str, port: i32) -> AccessTargetSpec {
        let text = format!(
            "{{protocol: Postgres, host: '{host}', port: {port}, credentialRef: {{name: c}}, postgres: {{databases: [d]}}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn map(targets: &[(&str, &str, i32)]) -> (Destinations, Vec<String>) {
        let targets: Vec<_> = targets
            .iter()
            .map(|(name, host, port)| {
                (TargetKey { namespace: "n".to_owned(), name: (*name).to_owned() }, spec(host, *port))
            })
            .collect();
        Destinations::new(targets.iter().map(|(key, spec)| (key, spec)), &mut Addresses::default())
    }

    fn found(map: &Destinations, destination: &str) -> Option<String> {
        map.target(destination.parse().unwrap()).map(|meant| meant.key.name.clone())
    }

    #[test]
    fn a_destination_means_the_one_target_that_names_it() {
        let (map, unreachable) = map(&[
            ("orders", "Orders.example.", 5_432),
            ("reports", "orders.example", 6_432),
            ("fixed", "203.0.113.7", 5_432),
            ("six", "2001:DB8:1::7", 5_432),
            ("mapped", "::ffff:203.0.113.8", 5_432),
        ]);
        assert_eq!(unreachable, [] as [String; 0]);
        let address = map.address("orders.example").unwrap();
        assert_eq!((map.address("ORDERS.EXAMPLE."), map.address("example")), (Some(address), None));
        for (destination, target) in [
            (format!("{address}:5432"), Some("orders")),
            (format!("[::ffff:{address}]:5432"), Some("orders")),
            (format!("{address}:6432"), Some("reports")),
            (format!("{address}:5433"), None),
            ("203.0.113.7:5432".to_owned(), Some("fixed")),
            ("203.0.113.7:6432".to_owned(), None),
            ("203.0.113.8:5432".to_owned(), Some("mapped")),
            ("[2001:db8:1::7]:5432".to_owned(), Some("six")),
            ("203.0.113.9:5432".to_owned(), None),
            ("198.18.9.9:5432".to_owned(), None),
            ("127.0.0.1:15001".to_owned(), None),
        ] {
            assert_eq!(found(&map, &destination).as_deref(), target, "{destination}");
        }
        assert_eq!(map.address("203.0.113.7"), None);
    }

    #[test]
    fn what_two_targets_claim_or_what_leads_inward_means_nothing() {
        let (map, unreachable) = map(&[
            ("a", "db.example", 5_432),
            ("b", "DB.example", 5_432),
            ("c", "db.example", 5_433),
            ("d", "203.0.113.7", 1),
            ("e", "::ffff:203.0.113.7", 1),
            ("f", "127.0.0.1", 1),
            ("g", "::1", 1),
            ("h", "0.0.0.0", 1),
            ("i", "198.19.1.1", 1),
            ("j", "192.0.2.1", 443),
            ("k", "localhost", 1),
            ("l", "224.0.0.1", 1),
            ("m", "db.example", 0x1_0000),
        ]);
        assert_eq!(unreachable.len(), 12, "{unreachable:?}");
        assert_eq!(map.targets.len(), 1);
        let address = map.address("db.example").unwrap();
        assert_eq!(found(&map, &format!("{address}:5433")).as_deref(), Some("c"));
        assert_eq!(found(&map, &format!("{address}:5432")), None);
    }
}
