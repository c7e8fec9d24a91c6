//! Bytes as choices. Each part of a world has four of them as its seed: who changes one of them changes this part alone.

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

pub(super) struct Dice<'a>(pub(super) &'a [u8]);

impl Dice<'_> {
    /// One byte; 0 where no more are.
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub(super) fn draw<S: Strategy>(&mut self, of: S) -> S::Value {
        let mut seed = [0; 32];
        seed.iter_mut().take(4).for_each(|place| *place = self.byte());
        let config = Config { failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        of.new_tree(&mut runner).expect("nothing is filtered").current()
    }
}
