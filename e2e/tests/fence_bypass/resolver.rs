//! A resolver outside of the pod that answers for every name what its owner wants, and tells what it was asked.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use e2e::pod::{OUTSIDE_V4, Pod};
use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;

/// Of every record: nothing that is said is to be kept.
const TTL: u32 = 0;

/// Serves until the test process ends.
#[derive(Clone, Default)]
pub(super) struct Resolver(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// What is said to each lookup in turn, the last for ever: addresses, and names that stand for an alias.
    turns: Vec<Vec<String>>,
    /// Since the turns were told: a lookup asks for each kind of address once.
    asked: Vec<Query>,
}

// === impl Resolver ===

impl Resolver {
    /// At [`OUTSIDE_V4`].
    pub(super) fn start(pod: &Pod) -> Self {
        let (resolver, socket) = (Self::default(), pod.without(|| UdpSocket::bind((OUTSIDE_V4, 53)).unwrap()).unwrap());
        let serving = resolver.clone();
        thread::spawn(move || {
            let mut query = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let answer = query.get(..length).and_then(|query| serving.0.lock().answer(query));
                // Who asked may be gone.
                let _gone = answer.map(|answer| socket.send_to(&answer, from));
            }
        });
        resolver
    }

    pub(super) fn says(&self, turns: &[&[&str]]) {
        let turns = turns.iter().map(|records| records.iter().map(|one| (*one).to_owned()).collect()).collect();
        *self.0.lock() = Said { turns, asked: Vec::new() };
    }

    /// Since it was last told what to say.
    pub(super) fn asked(&self) -> Vec<(String, RecordType)> {
        self.0.lock().asked.iter().map(|query| (query.name.to_ascii(), query.query_type)).collect()
    }
}

// === impl Said ===

impl Said {
    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let message = Message::from_vec(query).ok()?;
        let query = message.queries.first()?.clone();
        let turn = self.asked.iter().filter(|before| before.query_type == query.query_type).count();
        let mut answer = Message::response(message.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.metadata.recursion_desired = message.metadata.recursion_desired;
        let mut name = query.name.clone();
        for record in self.turns.get(turn).or(self.turns.last()).into_iter().flatten() {
            let data = match record.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => RData::A(A(address)),
                Ok(IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
                Err(_) => RData::CNAME(CNAME(Name::from_ascii(record).ok()?)),
            };
            let alias = matches!(data, RData::CNAME(_));
            if alias || data.record_type() == query.query_type {
                answer.add_answer(Record::from_rdata(name.clone(), TTL, data));
            }
            // What follows is said of that name.
            if alias {
                name = Name::from_ascii(record).ok()?;
            }
        }
        answer.add_query(query.clone());
        self.asked.push(query);
        answer.to_vec().ok()
    }
}
