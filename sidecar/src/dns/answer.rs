//! One query, one answer; pure. The counts of a message are looked at before anything is made for what they promise.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

/// For clients that keep answers: an address never comes to mean another name, so that an old one does no harm.
const SECONDS: u32 = 30;
/// What we say that we take (DNS flag day 2020).
const PAYLOAD: u16 = 1_232;
/// EDNS, and a signature that we do not look at.
const MOST_ADDITIONALS: u16 = 2;

/// The answer to `query`; `None` when it is an answer itself, or nothing that could be answered.
pub(super) fn answer(query: &[u8], names: impl Fn(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let header = Header::read(&mut BinDecoder::new(query)).ok()?;
    if header.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut reply = Message::response(header.metadata.id, header.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&header.metadata);
    reply.metadata.response_code = fill(&mut reply, &header, query, names);
    reply.to_vec().ok()
}

fn fill(reply: &mut Message, header: &Header, query: &[u8], names: impl Fn(&str) -> Option<Ipv4Addr>) -> ResponseCode {
    let counts = header.counts;
    if header.metadata.op_code != OpCode::Query || counts.queries != 1 {
        return ResponseCode::Refused;
    }
    if counts.answers != 0 || counts.authorities != 0 || counts.additionals > MOST_ADDITIONALS {
        return ResponseCode::FormErr;
    }
    let Ok(message) = Message::from_vec(query) else { return ResponseCode::FormErr };
    let [question] = message.queries.as_slice() else { return ResponseCode::FormErr };
    if let Some(theirs) = &message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        reply.edns = Some(edns);
        if theirs.version() != 0 {
            return ResponseCode::BADVERS;
        }
    }
    reply.add_query(question.clone());
    if question.query_class() != DNSClass::IN {
        return ResponseCode::Refused;
    }
    let Some(address) = names(&question.name().to_ascii()) else { return ResponseCode::NXDomain };
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.answers.extend(record(question, address));
    ResponseCode::NoError
}

/// Only an address of IPv4: no keys for ECH, no hints of QUIC, nothing else to go by.
fn record(question: &Query, address: Ipv4Addr) -> Option<Record> {
    let asked = matches!(question.query_type(), RecordType::A | RecordType::ANY);
    asked.then(|| Record::from_rdata(question.name().clone(), SECONDS, RData::A(A(address))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

    fn names(name: &str) -> Option<Ipv4Addr> {
        name.eq_ignore_ascii_case("orders.example.").then_some(ADDRESS)
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(message: &Message) -> Message {
        Message::from_vec(&answer(&message.to_vec().unwrap(), names).unwrap()).unwrap()
    }

    #[test]
    fn a_name_has_an_address_and_nothing_else() {
        for (kind, answers) in [
            (RecordType::A, 1),
            (RecordType::ANY, 1),
            (RecordType::AAAA, 0),
            (RecordType::HTTPS, 0),
            (RecordType::SVCB, 0),
            (RecordType::TXT, 0),
            (RecordType::SRV, 0),
        ] {
            let asked = query("Orders.Example.", kind);
            let told = ask(&asked);
            assert_eq!((told.metadata.id, &told.queries), (asked.metadata.id, &asked.queries));
            assert_eq!((told.metadata.response_code, told.answers.len()), (ResponseCode::NoError, answers), "{kind}");
            assert!(told.answers.iter().all(|r| r.data == RData::A(A(ADDRESS))) && told.metadata.recursion_desired);
            for other in ["example.", "x.orders.example.", "orders.example.svc.", "."] {
                let told = ask(&query(other, kind));
                assert_eq!((told.metadata.response_code, told.answers.len()), (ResponseCode::NXDomain, 0), "{other}");
            }
        }
        // A dot inside of a label makes no other name.
        let told = ask(&query("orders\\.example.", RecordType::A));
        assert_eq!(told.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn what_is_no_plain_question_is_refused() {
        let plain = query("orders.example.", RecordType::A);
        let code = |change: &dyn Fn(&mut Message)| {
            let mut message = plain.clone();
            change(&mut message);
            ask(&message).metadata.response_code
        };
        assert_eq!(code(&|_| {}), ResponseCode::NoError);
        assert_eq!(code(&|m| m.queries.clear()), ResponseCode::Refused);
        assert_eq!(code(&|m| m.queries.push(plain.queries[0].clone())), ResponseCode::Refused);
        assert_eq!(code(&|m| m.metadata.op_code = OpCode::Update), ResponseCode::Refused);
        assert_eq!(code(&|m| _ = m.queries[0].set_query_class(DNSClass::CH)), ResponseCode::Refused);
        let record = Record::from_rdata(Name::root(), 0, RData::A(A(ADDRESS)));
        assert_eq!(code(&|m| m.answers.push(record.clone())), ResponseCode::FormErr);
        assert_eq!(code(&|m| m.additionals = vec![record.clone(); 3]), ResponseCode::FormErr);
        let with_edns = |version| {
            let mut message = plain.clone();
            message.edns.insert(Edns::new()).set_version(version);
            ask(&message)
        };
        assert_eq!(with_edns(0).edns.unwrap().max_payload(), PAYLOAD);
        // The number of BADVERS is that of BADSIG too.
        assert_eq!(u16::from(with_edns(1).metadata.response_code), 16);

        let mut bytes = plain.to_vec().unwrap();
        // A name that points at itself; an answer instead of a query; less than a header.
        let mut looped = bytes[..12].to_vec();
        looped.extend([0xc0, 12, 0, 1, 0, 1]);
        let told = Message::from_vec(&answer(&looped, names).unwrap()).unwrap();
        assert_eq!(told.metadata.response_code, ResponseCode::FormErr);
        bytes[2] |= 0x80;
        assert_eq!((answer(&bytes, names), answer(&bytes[..11], names), answer(b"", names)), (None, None, None));
    }

    proptest! {
        #[test]
        fn anything_is_answered_shortly_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let told = answer(&bytes, |_| Some(ADDRESS));
            prop_assert!(told.is_none_or(|told| told.len() <= 512));
        }

        #[test]
        fn a_damaged_query_is_answered_shortly_or_not_at_all(at in 0usize..32, to in any::<u8>()) {
            let mut bytes = query("orders.example.", RecordType::A).to_vec().unwrap();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let told = answer(&bytes, names);
            prop_assert!(told.is_none_or(|told| told.len() <= 512));
        }
    }
}
