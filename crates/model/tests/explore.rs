//! Every state that the model can reach within its bounds keeps every promise, and each way to be wrong is found.
//!
//! Bounds are chosen so that each exploration ends: it prints how many different states there are. Two sessions that
//! want the same are enough for all that two can do to each other. Four policies: one asks, one asks and is another
//! revision, one allows, one denies. One change of policy and one kill with two sessions, two changes and two kills
//! with one; each kill is followed by a start under any policy that is still to come.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Instant;

use model::{
    Action, Bounds, Digest, Flaw, Machine, Promise, Registry, Revision, Rules, Stage, State, Verdict, Witness, step,
};
use stateright::{Checker, Expectation, Model, Property};

const ASKS: Revision = Revision(0);
const ALLOWS: Revision = Revision(1);
const DENIES: Revision = Revision(2);
/// As the first, and another revision.
const ASKS_ANEW: Revision = Revision(3);

const A: Digest = Digest(0);
const B: Digest = Digest(1);
/// The script says only that it goes on with what its session did before.
const ON: Stage = Stage::Continue(model::OpId(0));

struct Explored {
    machine: Machine,
    bounds: Bounds,
    first: Revision,
    promises: Vec<Promise>,
    witnesses: Vec<Witness>,
}

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.first)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.bounds.actions(&self.machine, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        step(&self.machine, &self.bounds.forget(last), action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = Vec::new();
        // A property is a function of the model and carries nothing along: one for each.
        macro_rules! always {
            ($($promise:ident),*) => {$(
                if self.promises.contains(&Promise::$promise) {
                    all.push(Property::always(Promise::$promise.text(), |_: &Self, state| Promise::$promise.holds(state)));
                }
            )*};
        }
        macro_rules! sometimes {
            ($($witness:ident),*) => {$(
                if self.witnesses.contains(&Witness::$witness) {
                    all.push(Property::sometimes(stringify!($witness), |model: &Self, state| {
                        Witness::$witness.seen(&model.machine, state)
                    }));
                }
            )*};
        }
        always!(
            IntentBeforeUpstream,
            ApprovedWhereAsked,
            NoApprovalTwice,
            UsedOnlyWhenGranted,
            PolicyInForceAtPermit,
            NothingNewAfterDenial,
            UnfinishedIsInterrupted,
            OneOutcome
        );
        sometimes!(
            AllowedFinishes,
            ApprovedFinishes,
            OneOfTwo,
            KilledBetweenIntentAndSend,
            KilledAfterSend,
            KilledAfterUse,
            ApprovalWaits,
            ApprovalOutlivesAChange,
            ApprovalOutlivesAKill,
            StaleAfterUse,
            StaleAfterIntent,
            RefusedAfterIntent,
            TooLateIsNotSent,
            RevokedIsNotUsed,
            ContinuesUnderOneApproval,
            PreparedWithoutApproval
        );
        all
    }
}

fn rules() -> Rules {
    let rules = Rules::default().whole(ASKS, Verdict::Ask).whole(ALLOWS, Verdict::Allow);
    rules.whole(DENIES, Verdict::Deny).whole(ASKS_ANEW, Verdict::Ask)
}

fn machine(registry: Registry) -> Machine {
    Machine { rules: rules(), registry, flaw: None }
}

/// Explores all of it: no promise is broken anywhere, each witness is seen, and nothing was left out.
fn explore(name: &str, machine: Machine, bounds: Bounds, witnesses: &[Witness]) {
    let begun = Instant::now();
    let model =
        Explored { machine, bounds, first: ASKS, promises: Promise::ALL.to_vec(), witnesses: witnesses.to_vec() };
    assert_eq!(model.properties().len(), Promise::ALL.len() + witnesses.len(), "a property is missing in the lists");
    let checker = model.checker().spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps, depth {}, {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Sometimes, None) => panic!("{name}: never seen: {}", property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                panic!("{name}: broken: {}: {:#?}", property.name, path.into_actions())
            }
            (Expectation::Sometimes, Some(_)) | (Expectation::Always | Expectation::Eventually, None) => {}
        }
    }
    assert!(checker.is_done(), "{name}: not all of it was explored");
}

fn bounds(scripts: &[&[(Digest, Stage)]], swaps: u8, crashes: u8) -> Bounds {
    let scripts = scripts.iter().map(|script| script.to_vec()).collect();
    Bounds { scripts, swaps, crashes, age: false, faults: false }
}

const RUN: (Digest, Stage) = (A, Stage::Run);
const OTHER: (Digest, Stage) = (B, Stage::Run);

#[test]
fn two_sessions_want_the_same_and_the_process_is_killed() {
    explore(
        "two sessions, a kill",
        machine(Registry::Inside),
        bounds(&[&[RUN], &[RUN]], 1, 1),
        &[
            Witness::AllowedFinishes,
            Witness::ApprovedFinishes,
            Witness::OneOfTwo,
            Witness::KilledBetweenIntentAndSend,
            Witness::KilledAfterSend,
            Witness::KilledAfterUse,
            Witness::ApprovalWaits,
            Witness::StaleAfterUse,
            Witness::StaleAfterIntent,
            Witness::RefusedAfterIntent,
        ],
    );
}

#[test]
fn policy_goes_and_comes_back() {
    let twice = bounds(&[&[RUN, RUN]], 2, 0);
    let witnesses = [Witness::ApprovalOutlivesAChange, Witness::StaleAfterUse, Witness::StaleAfterIntent];
    explore("two changes", machine(Registry::Inside), twice, &witnesses);
}

#[test]
fn two_sessions_where_writes_fail_and_people_change_their_minds() {
    let bounds = Bounds { faults: true, ..bounds(&[&[RUN], &[RUN]], 0, 1) };
    explore(
        "two sessions, faults",
        machine(Registry::Inside),
        bounds,
        &[
            Witness::ApprovedFinishes,
            Witness::TooLateIsNotSent,
            Witness::RevokedIsNotUsed,
            Witness::KilledBetweenIntentAndSend,
        ],
    );
}

#[test]
fn two_requests_and_three_operations() {
    explore(
        "two requests",
        machine(Registry::Inside),
        bounds(&[&[RUN], &[OTHER, RUN]], 0, 1),
        &[Witness::ApprovedFinishes, Witness::ApprovalWaits, Witness::KilledAfterUse],
    );
}

#[test]
fn two_in_a_row_where_policies_age_and_writes_fail() {
    let bounds = Bounds { age: true, faults: true, ..bounds(&[&[RUN, RUN]], 1, 0) };
    explore(
        "one session",
        machine(Registry::Inside),
        bounds,
        &[
            Witness::AllowedFinishes,
            Witness::ApprovedFinishes,
            Witness::ApprovalWaits,
            Witness::StaleAfterUse,
            Witness::RefusedAfterIntent,
            Witness::TooLateIsNotSent,
        ],
    );
}

#[test]
fn one_operation_over_two_kills_and_two_changes() {
    let bounds = Bounds { age: true, faults: true, ..bounds(&[&[RUN]], 2, 2) };
    explore(
        "one operation",
        machine(Registry::Inside),
        bounds,
        &[Witness::KilledBetweenIntentAndSend, Witness::ApprovalOutlivesAChange, Witness::RefusedAfterIntent],
    );
}

#[test]
fn what_is_prepared_and_what_goes_on() {
    let script: &[_] = &[(A, Stage::Prepare), RUN, (A, ON), (A, Stage::Plan)];
    explore(
        "stages",
        machine(Registry::Inside),
        bounds(&[script], 1, 1),
        &[Witness::PreparedWithoutApproval, Witness::ContinuesUnderOneApproval, Witness::ApprovedFinishes],
    );
}

#[test]
fn requests_that_outlive_the_process() {
    explore(
        "outside",
        machine(Registry::Outside),
        bounds(&[&[RUN], &[RUN]], 1, 1),
        &[Witness::ApprovalOutlivesAKill, Witness::KilledAfterUse, Witness::OneOfTwo],
    );
}

/// Which promise each flaw breaks, and the least that has to happen for that. Others may be broken with it.
fn breaks() -> [(Flaw, Promise, Bounds); 16] {
    let one = || Bounds { age: true, faults: true, ..bounds(&[&[RUN]], 2, 1) };
    let again = |swaps, crashes| bounds(&[&[RUN, RUN]], swaps, crashes);
    let same = || bounds(&[&[RUN], &[RUN]], 0, 0);
    [
        (Flaw::PermitBeforeDurable, Promise::IntentBeforeUpstream, one()),
        (Flaw::PermitUnrecorded, Promise::IntentBeforeUpstream, one()),
        (Flaw::UseAfterSend, Promise::ApprovedWhereAsked, one()),
        (Flaw::UseUnchecked, Promise::NoApprovalTwice, same()),
        (Flaw::UseUnchecked, Promise::UsedOnlyWhenGranted, Bounds { faults: true, ..same() }),
        (Flaw::AnyDigest, Promise::ApprovedWhereAsked, bounds(&[&[RUN], &[OTHER]], 0, 0)),
        (Flaw::AnyRevision, Promise::ApprovedWhereAsked, again(1, 0)),
        (Flaw::KeptOverRestart, Promise::NoApprovalTwice, again(0, 1)),
        (Flaw::PolicyAtPlanning, Promise::NothingNewAfterDenial, one()),
        (Flaw::NoLookAfterApproval, Promise::NothingNewAfterDenial, one()),
        (Flaw::NoLookAfterIntent, Promise::NothingNewAfterDenial, one()),
        (Flaw::NoLookAfterIntent, Promise::PolicyInForceAtPermit, one()),
        (Flaw::AgeAtTheBegin, Promise::PolicyInForceAtPermit, one()),
        (Flaw::ContinueUnderAnyPolicy, Promise::ApprovedWhereAsked, bounds(&[&[RUN, (A, ON)]], 1, 0)),
        (Flaw::ForgetsUnfinished, Promise::UnfinishedIsInterrupted, one()),
        (Flaw::TwoOutcomes, Promise::OneOutcome, one()),
    ]
}

fn discover(flaw: Option<Flaw>, promise: Promise, bounds: Bounds) -> Option<Vec<Action>> {
    let machine = Machine { flaw, ..machine(Registry::Inside) };
    let promises = Promise::ALL.iter().filter(|one| **one == promise).copied().collect();
    let model = Explored { machine, bounds, first: ASKS, promises, witnesses: Vec::new() };
    // Breadth first: the shortest way there, for people to read.
    let path = model.checker().spawn_bfs().join().discovery(promise.text())?;
    Some(path.into_actions())
}

#[test]
fn every_flaw_breaks_a_promise_and_every_promise_can_be_broken() {
    let all = breaks();
    assert_eq!(all.iter().map(|(flaw, ..)| *flaw).collect::<BTreeSet<_>>(), Flaw::ALL.into());
    assert_eq!(all.iter().map(|(_, promise, _)| *promise).collect::<BTreeSet<_>>(), Promise::ALL.into());
    for (flaw, promise, bounds) in all {
        let Some(steps) = discover(Some(flaw), promise, bounds.clone()) else {
            panic!("{flaw:?} breaks nothing of: {}", promise.text())
        };
        println!("{flaw:?}: not `{}` after {} steps: {steps:?}", promise.text(), steps.len());
        assert_eq!(discover(None, promise, bounds), None, "{flaw:?}: not by this flaw");
    }
}
