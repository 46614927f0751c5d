//! What a text weighs when it is compressed after the text before it, nearly as gzip would: each time the longest piece that
//! stood before, and a Huffman code for what occurs in the module.
use std::array;

/// How far back gzip looks, and how far for a piece of three bytes.
const REACH: usize = 32_768;
const REACH_OF_THREE: usize = 4096;
/// The longest piece, and the length from which it is not asked whether the next byte begins a longer one.
const LONGEST: usize = 258;
const LONG: usize = 64;
/// How many places are tried that may begin as the text at hand does.
const TRIED: usize = 64;
/// Bits of a hash of three bytes.
const HASH_BITS: u32 = 15;
/// No place.
const NONE: u32 = u32::MAX;
/// Weights are whole numbers, so that they are the same each time: a bit weighs eight.
const BIT: u32 = 8;

/// The codes of deflate: bytes and lengths, and distances.
const SYMBOLS: usize = 286;
const DISTANCES: usize = 30;

pub struct Scales {
    text: Vec<u8>,
    /// The last place with each hash, and for each place the one before it.
    last: Vec<u32>,
    before: Vec<u32>,
    /// What the text weighs.
    weight: u64,
    symbols: [u32; SYMBOLS],
    distances: [u32; DISTANCES],
}

impl Scales {
    /// Those for texts like these.
    pub fn learnt<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut scales = Self::of(array::from_fn(first_symbol), array::from_fn(first_distance));
        for _ in 0..2 {
            let (mut symbols, mut distances) = ([1; SYMBOLS], [1; DISTANCES]);
            for text in texts.clone() {
                scales.walk(text, u32::MAX, |symbol, distance| {
                    symbols[symbol] += 1;
                    if let Some(distance) = distance {
                        distances[distance] += 1;
                    }
                });
            }
            scales = Self::of(weights(&symbols, symbol_extra), weights(&distances, distance_extra));
        }
        scales
    }

    fn of(symbols: [u32; SYMBOLS], distances: [u32; DISTANCES]) -> Self {
        Self { text: Vec::new(), last: vec![NONE; 1 << HASH_BITS], before: Vec::new(), weight: 0, symbols, distances }
    }

    /// Puts a text behind what is there.
    pub fn put(&mut self, text: &[u8]) {
        self.weight += u64::from(self.walk(text, u32::MAX, |_, _| {}));
    }

    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// What a text would weigh behind what is there, if it is less than `most`.
    pub fn less(&mut self, text: &[u8], most: u32) -> Option<u32> {
        let length = self.text.len();
        let weight = self.walk(text, most, |_, _| {});
        for at in (length..self.before.len()).rev() {
            if let Some(hash) = self.hash(at) {
                self.last[hash] = self.before[at];
            }
        }
        self.before.truncate(length);
        self.text.truncate(length);
        (weight < most).then_some(weight)
    }

    fn walk(&mut self, text: &[u8], most: u32, mut told: impl FnMut(usize, Option<usize>)) -> u32 {
        let mut at = self.text.len();
        self.text.extend_from_slice(text);
        let (mut weight, mut ready) = (0, None);
        while at < self.text.len() && weight < most {
            let found = ready.take().or_else(|| self.longest(at));
            self.enter(at);
            let better = |length| self.longest(at + 1).filter(|&(next, _)| length < LONG && next > length);
            if let Some((length, distance)) = found {
                ready = better(length);
                if ready.is_none() {
                    let (symbol, distance) = (length_code(length), distance_code(distance));
                    weight += self.symbols[symbol] + self.distances[distance];
                    told(symbol, Some(distance));
                    (at + 1..at + length).for_each(|at| self.enter(at));
                    at += length;
                    continue;
                }
            }
            let byte = usize::from(self.text[at]);
            weight += self.symbols[byte];
            told(byte, None);
            at += 1;
        }
        weight
    }

    fn hash(&self, at: usize) -> Option<usize> {
        let &[a, b, c] = self.text.get(at..at + 3)? else { return None };
        Some((u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize)
    }

    fn enter(&mut self, at: usize) {
        let before = self.hash(at).map_or(NONE, |hash| std::mem::replace(&mut self.last[hash], at as u32));
        self.before.push(before);
    }

    /// The longest piece from here on that stood before: its length, and how far back.
    fn longest(&self, at: usize) -> Option<(usize, usize)> {
        let mut place = self.last[self.hash(at)?];
        let here = &self.text[at..self.text.len().min(at + LONGEST)];
        let (mut length, mut distance) = (2, 0);
        for _ in 0..TRIED {
            let from = place as usize;
            if place == NONE || at - from > REACH || length == here.len() {
                break;
            }
            if self.text[from + length] == here[length] {
                let alike = here.iter().zip(&self.text[from..]).take_while(|(a, b)| a == b).count();
                if alike > length {
                    (length, distance) = (alike, at - from);
                }
            }
            place = self.before[from];
        }
        (distance > 0 && (length > 3 || distance <= REACH_OF_THREE)).then_some((length, distance))
    }
}

/// Of what is not known yet.
fn first_symbol(symbol: usize) -> u32 {
    if symbol < 256 { 62 } else { 30 + symbol_extra(symbol) }
}

fn first_distance(code: usize) -> u32 {
    30 + distance_extra(code)
}

/// A code is as long as what it stands for is rare; some are followed by more bits.
fn weights<const N: usize>(counts: &[u32; N], extra: fn(usize) -> u32) -> [u32; N] {
    let all: u32 = counts.iter().sum();
    array::from_fn(|code| (f64::from(BIT) * (f64::from(all) / f64::from(counts[code])).log2()) as u32 + extra(code))
}

fn symbol_extra(symbol: usize) -> u32 {
    if (265..285).contains(&symbol) { BIT * ((symbol as u32 - 261) / 4) } else { 0 }
}

fn distance_extra(code: usize) -> u32 {
    BIT * (code as u32 / 2).saturating_sub(1)
}

fn length_code(length: usize) -> usize {
    match length - 3 {
        255 => 285,
        short @ 0..8 => 257 + short,
        long => {
            let bits = long.ilog2() as usize - 2;
            257 + 4 * bits + (long >> bits)
        }
    }
}

fn distance_code(distance: usize) -> usize {
    match distance - 1 {
        near @ 0..4 => near,
        far => {
            let bits = far.ilog2() as usize - 1;
            2 * bits + (far >> bits)
        }
    }
}
