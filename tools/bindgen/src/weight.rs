//! What a text weighs when it is compressed after the text before it, nearly as gzip would: each time the longest piece that
//! stood before, and a Huffman code for what occurs in the module.
use std::array;

/// How far back gzip looks.
const REACH: usize = 32_768;
/// The shortest piece (the platform's gzip looks for none of three bytes) and the longest, and the length from which it is not asked
/// whether the next byte begins a longer one.
const LEAST: usize = 4;
const LONGEST: usize = 258;
const LONG: usize = 64;
/// How many places are tried that may begin as the text at hand does.
const TRIED: usize = 64;
/// Bits of a hash of four bytes.
const HASH_BITS: u32 = 15;
/// No place.
const NONE: u32 = u32::MAX;
/// What a change may cost at any place, for what follows to be asked whether it gains more.
const HOPE: u32 = 400;
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
    /// What all weighs.
    weight: u64,
    /// Where the last text begins, and what of it weighs how much, up to where a piece may begin.
    start: usize,
    marks: Vec<u32>,
    symbols: [u32; SYMBOLS],
    distances: [u32; DISTANCES],
}

/// What comes next: a byte, or a piece that stood before.
type Piece = (usize, Option<usize>);

impl Scales {
    /// Those for texts like these.
    pub fn learnt<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut scales = Self::of(array::from_fn(first_symbol), array::from_fn(first_distance));
        for _ in 0..2 {
            let (mut symbols, mut distances) = ([1; SYMBOLS], [1; DISTANCES]);
            for text in texts.clone() {
                scales.text.extend_from_slice(text);
                let (mut at, mut ready) = (scales.before.len(), None);
                while at < scales.text.len() {
                    let (next, (symbol, distance)) = scales.piece(at, &mut ready);
                    symbols[symbol] += 1;
                    if let Some(distance) = distance {
                        distances[distance] += 1;
                    }
                    at = next;
                }
            }
            scales = Self::of(weights(&symbols, symbol_extra), weights(&distances, distance_extra));
        }
        scales
    }

    fn of(symbols: [u32; SYMBOLS], distances: [u32; DISTANCES]) -> Self {
        let (text, before, marks) = (Vec::new(), Vec::new(), Vec::new());
        let last = vec![NONE; 1 << HASH_BITS];
        Self { text, last, before, weight: 0, start: 0, marks, symbols, distances }
    }

    /// What all weighs that was put.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Puts a text behind what is there.
    pub fn put(&mut self, text: &[u8]) {
        self.reach(self.text.len());
        self.start = self.text.len();
        self.text.extend_from_slice(text);
        self.marks = vec![NONE; text.len() + 1];
        let (mut at, mut weight, mut ready) = (0, 0, None);
        while at < text.len() {
            if ready.is_none() {
                self.marks[at] = weight;
            }
            let (next, piece) = self.piece(self.start + at, &mut ready);
            weight += self.piece_weight(piece);
            at = next - self.start;
        }
        self.marks[at] = weight;
        self.weight += u64::from(weight);
    }

    /// The text that was put last.
    pub fn last(&self) -> &[u8] {
        &self.text[self.start..]
    }

    /// Changes bytes of the last text, the first of them first, if it weighs less then.
    pub fn change(&mut self, changes: &mut [(usize, u8)]) -> bool {
        let Some(&(first, _)) = changes.first() else { return false };
        let size = self.marks.len() - 1;
        // What is before the change is as it was, but for pieces that may now go on into it.
        let from = (0..first.saturating_sub(2 * LEAST)).rev().find(|&at| self.marks[at] != NONE).unwrap_or(0);
        self.reach(self.start + from);
        self.swap(changes);
        let (mut at, mut weight, mut ready, mut marks) = (from, self.marks[from], None, Vec::new());
        let mut lighter = true;
        while at < size && lighter {
            if ready.is_none() {
                marks.push((at, weight));
                lighter = self.marks[at] == NONE || weight <= self.marks[at] + HOPE;
            }
            let (next, piece) = self.piece(self.start + at, &mut ready);
            weight += self.piece_weight(piece);
            at = next - self.start;
        }
        if lighter && weight < self.marks[size] {
            self.weight -= u64::from(self.marks[size] - weight);
            self.marks[from..].fill(NONE);
            marks.into_iter().chain([(size, weight)]).for_each(|(at, weight)| self.marks[at] = weight);
            return true;
        }
        self.reach(self.start + from);
        self.swap(changes);
        false
    }

    fn swap(&mut self, changes: &mut [(usize, u8)]) {
        for (at, byte) in changes {
            std::mem::swap(&mut self.text[self.start + *at], byte);
        }
    }

    /// Makes the places up to here known, and those behind it unknown.
    fn reach(&mut self, to: usize) {
        while let Some(at) = self.before.len().checked_sub(1).filter(|&at| at >= to) {
            if let Some(hash) = self.hash(at) {
                self.last[hash] = self.before[at];
            }
            self.before.pop();
        }
        (self.before.len()..to).for_each(|at| self.enter(at));
    }

    /// What comes next at a place that is reached, and where it ends; what is longer from the next place on is made ready.
    fn piece(&mut self, at: usize, ready: &mut Option<(usize, usize)>) -> (usize, Piece) {
        let found = ready.take().or_else(|| self.longest(at));
        self.enter(at);
        if let Some((length, distance)) = found {
            *ready = self.longest(at + 1).filter(|&(next, _)| length < LONG && next > length);
            if ready.is_none() {
                (at + 1..at + length).for_each(|at| self.enter(at));
                return (at + length, (length_code(length), Some(distance_code(distance))));
            }
        }
        (at + 1, (usize::from(self.text[at]), None))
    }

    fn piece_weight(&self, (symbol, distance): Piece) -> u32 {
        self.symbols[symbol] + distance.map_or(0, |distance| self.distances[distance])
    }

    fn hash(&self, at: usize) -> Option<usize> {
        let &[a, b, c, d] = self.text.get(at..at + 4)? else { return None };
        Some((u32::from_le_bytes([a, b, c, d]).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize)
    }

    fn enter(&mut self, at: usize) {
        let before = self.hash(at).map_or(NONE, |hash| std::mem::replace(&mut self.last[hash], at as u32));
        self.before.push(before);
    }

    /// The longest piece from here on that stood before: its length, and how far back.
    fn longest(&self, at: usize) -> Option<(usize, usize)> {
        let mut place = self.last[self.hash(at)?];
        let here = &self.text[at..self.text.len().min(at + LONGEST)];
        let (mut length, mut distance) = (LEAST - 1, 0);
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
        (distance > 0).then_some((length, distance))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_if_it_weighs_less() {
        let mut scales = Scales::learnt([&b"as it was before, and as it is now"[..]].into_iter());
        scales.put(b"one two three four five six seven");
        scales.put(b"----- three four -ive six -----");
        let before = scales.weight();
        assert!(!scales.change(&mut [(12, b'y')]));
        assert_eq!((scales.last(), scales.weight()), (&b"----- three four -ive six -----"[..], before));
        assert!(scales.change(&mut [(17, b'f')]));
        assert_eq!(scales.last(), b"----- three four five six -----");
        assert!(scales.weight() < before);
    }
}
