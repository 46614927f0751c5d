//! Chance, as a function of a seed.
use megarouter::id::Dice;

pub struct Chance(Dice);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Dice::new(seed ^ 0x6d6f_6e65_7900_0000))
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.roll() % n.max(1)
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high + 1 - low)
    }

    /// Never for 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(list.len() as u64)).expect("a place in memory");
        &list[place]
    }

    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("a place in memory")
    }

    /// A span whose size is as uncertain as its length: mostly short, now and then very long.
    pub fn span(&mut self, scales: &[u64]) -> u64 {
        let scale = *self.of(scales);
        self.between(scale / 4, scale)
    }
}
