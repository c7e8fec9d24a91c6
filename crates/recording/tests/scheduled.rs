//! Group commit under a scheduler that chooses who goes on at each lock and wake-up: callers that write for themselves,
//! callers that queue, the thread, and who closes. `make shuttle` runs it; without `--cfg shuttle` there is nothing here.

#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::Arc;

use common::{intent, key};
use parking_lot::Mutex;
use recording::reader::entries;
use recording::spool::faulty::FaultyStorage;
use recording::verify::{Verdict, verify};
use recording::{Durability, Writer, WriterConfig};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

const SCHEDULES: usize = 2_000;
const CALLERS: u64 = 3;
const EACH: u64 = 2;

fn lines(storage: &FaultyStorage) -> u64 {
    let bytes = storage.files().into_iter().flat_map(|(_, content)| content);
    u64::try_from(bytes.filter(|byte| *byte == b'\n').count()).unwrap()
}

/// What callers heard, in this order: caller, its entry, the place of it.
#[derive(Default)]
struct Heard {
    order: Mutex<Vec<(u64, u64, u64)>>,
    refused: Mutex<u64>,
}

/// One caller: the first wants it synced, and all but the last wait for each answer, as the gate does.
fn call(caller: u64, writer: &Writer, storage: &FaultyStorage, heard: &Arc<Heard>) {
    for n in 0..EACH {
        let durability = if caller == 0 { Durability::Synced } else { Durability::Written };
        let (seen, told) = (storage.clone(), Arc::clone(heard));
        let (answered, answer) = shuttle::sync::mpsc::sync_channel(1);
        let done = move |result: Result<recording::Position, _>| {
            match result {
                Ok(position) => {
                    let kept = if durability == Durability::Synced { seen.power_lost() } else { seen.killed() };
                    assert!(lines(&kept) > position.seq, "{} was answered and is not there", position.seq);
                    told.order.lock().push((caller, n, position.seq));
                }
                Err(_) => *told.refused.lock() += 1,
            }
            // The last caller has gone.
            let _ = answered.send(());
        };
        match writer.submit(intent(caller * EACH + n), durability, done) {
            Err(_) => *heard.refused.lock() += 1,
            Ok(()) if caller + 1 < CALLERS => answer.recv().unwrap(),
            Ok(()) => {}
        }
    }
}

/// Callers, and perhaps somebody who closes meanwhile.
fn group_commit(fast: bool, closing: bool) {
    let storage = FaultyStorage::new();
    storage.set(|faults| faults.fast = fast);
    let key = key();
    let public = key.public().clone();
    let (writer, _) = Writer::open(WriterConfig::default(), Arc::new(storage.clone()), key, Box::new(|_| ())).unwrap();
    let heard = Arc::new(Heard::default());
    let callers = (0..CALLERS).map(|caller| {
        let (writer, storage, heard) = (writer.clone(), storage.clone(), Arc::clone(&heard));
        shuttle::thread::spawn(move || call(caller, &writer, &storage, &heard))
    });
    let callers: Vec<_> = callers.collect();
    if closing {
        writer.close().unwrap();
    }
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    if !closing {
        writer.close().unwrap();
    }
    let (order, refused) = (heard.order.lock().clone(), *heard.refused.lock());
    assert_eq!(u64::try_from(order.len()).unwrap() + refused, CALLERS * EACH, "each is answered once");
    assert!(closing || refused == 0, "{refused} refused");
    assert!(order.is_sorted_by(|(_, _, a), (_, _, b)| a < b), "answers in order of seq: {order:?}");
    for caller in 0..CALLERS {
        let own = order.iter().filter(|(of, ..)| *of == caller).map(|(_, n, _)| n);
        assert!(own.is_sorted(), "a caller overtook itself: {order:?}");
    }
    assert_eq!(verify(&storage, &public, None).unwrap().verdict, Verdict::Intact);
    let recorded = entries(&storage).unwrap().map(Result::unwrap).filter(|line| line.code == "OP_INTENT").count();
    assert_eq!(recorded, order.len(), "what was answered, and nothing else");
}

fn schedules(scheduler: impl Scheduler + 'static, fast: bool, closing: bool) {
    let mut config = Config::new();
    // Cryptography and JSON on the stack of a caller.
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(move || group_commit(fast, closing));
}

#[test]
fn whoever_goes_first_is_answered_in_order_and_never_before_it_is_there() {
    for fast in [true, false] {
        schedules(RandomScheduler::new(SCHEDULES), fast, false);
        schedules(PctScheduler::new(3, SCHEDULES), fast, false);
    }
}

#[test]
fn who_closes_meanwhile_loses_nothing_that_was_answered() {
    for fast in [true, false] {
        schedules(RandomScheduler::new(SCHEDULES), fast, true);
        schedules(PctScheduler::new(3, SCHEDULES), fast, true);
    }
}
