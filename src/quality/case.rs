//! A request as quality is estimated of it. It is small, and so coarse that what is kept of it later is what was decided by.
use super::{
    Prior,
    packed::{Unpack, put_i8s},
    sketch::{BUCKETS, FIGURES, Sketch},
};
use crate::base64;

/// The cluster of a request that has none, and of all together.
pub const EVERYWHERE: u32 = 0;
/// Words that are kept, those that say the most.
const WORDS_MAX: usize = 256;
/// Steps of a figure of shape in one unit of its spread.
const STEPS: f32 = 40.0;
/// What a figure of shape, the hardness and the bias weigh beside the words, whose vector has length one.
const FIGURE: f32 = 0.1;
const HARD: f32 = 2.0;
const BIAS: f32 = 2.0;
/// What being of one cluster weighs.
const CLUSTER: i8 = 127;

/// Numbers beside the words: the figures, hardness and bias.
pub const BESIDE: usize = FIGURES + 2;
/// Weights of a model: a word each, and the numbers beside them.
pub const WIDTH: usize = BUCKETS + BESIDE;

/// See the head of this room.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Buckets of words, with values in 1/127.
    words: Vec<(u16, i8)>,
    figures: [i8; FIGURES],
    /// How hard it looks, 0 to 1: what the prior makes of the text and what stands around it.
    pub hardness: f32,
    /// The same, if of the text only the length were known.
    pub length_alone: f32,
    /// What kind of request it is, by everything but its text.
    pub cluster: u32,
}

impl Case {
    /// `structure` is how hard it looks by what stands around the text, 0 to 1.
    #[must_use]
    pub fn new(prior: &Prior, sketch: &Sketch, structure: f32, cluster: u32) -> Self {
        let harder = |hardness: f32| hardness + (1.0 - hardness) * structure;
        let mut words: Vec<(u16, i8)> =
            sketch.words.iter().map(|(bucket, value)| (*bucket, fixed(value * 127.0))).collect();
        if words.len() > WORDS_MAX {
            words.sort_unstable_by_key(|(bucket, value)| (-i16::from(*value).abs(), *bucket));
            words.truncate(WORDS_MAX);
        }
        Self {
            words,
            figures: prior.normal(&sketch.shape).map(|figure| fixed(figure * STEPS)),
            hardness: harder(prior.hardness(sketch)),
            length_alone: harder(prior.length_alone(sketch)),
            cluster,
        }
    }

    /// As text, to be kept. What it says of the request's own words is which of some thousand buckets they fall in.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = self.cluster.to_le_bytes().to_vec();
        bytes.extend(self.hardness.to_le_bytes());
        bytes.extend(self.length_alone.to_le_bytes());
        put_i8s(&mut bytes, &self.figures);
        for (bucket, value) in &self.words {
            bytes.extend(bucket.to_le_bytes());
            bytes.push(value.cast_unsigned());
        }
        base64::url_safe(&bytes)
    }

    /// Reads what [`Self::to_text`] wrote.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let bytes = base64::of_url_safe(text)?;
        let mut rest = Unpack(&bytes);
        let (cluster, hardness, length_alone) = (rest.u32()?, rest.f32()?, rest.f32()?);
        let figures = rest.i8s(FIGURES)?.try_into().ok()?;
        let words = rest.0.as_chunks::<3>().0.iter();
        let words = words.map(|[low, high, value]| (u16::from_le_bytes([*low, *high]), value.cast_signed())).collect();
        Some(Self { words, figures, hardness, length_alone, cluster })
    }

    /// The values, each with the place of its weight.
    fn values(&self) -> impl Iterator<Item = (usize, f32)> {
        let cluster = (self.cluster != EVERYWHERE).then_some((self.cluster as usize % BUCKETS, CLUSTER));
        let words = self.words.iter().map(|(bucket, value)| (usize::from(*bucket), *value)).chain(cluster);
        let words = words.map(|(place, value)| (place, f32::from(value) / 127.0));
        let figures = self.figures.iter().map(|figure| f32::from(*figure) / STEPS * FIGURE);
        let beside = figures.chain([(self.hardness - 0.5) * HARD, BIAS]);
        words.chain(beside.enumerate().map(|(place, value)| (BUCKETS + place, value)))
    }

    pub(super) fn dot(&self, weights: &[f32]) -> f32 {
        self.values().map(|(place, value)| value * weights.get(place).copied().unwrap_or_default()).sum()
    }

    /// The same with weights in steps of 1/127 of the largest, and others beside them.
    pub(super) fn dot_fixed(&self, words: &[i8], beside: &[f32]) -> f32 {
        let weight = |place: usize| match place.checked_sub(BUCKETS) {
            None => words.get(place).map_or(0.0, |weight| f32::from(*weight)),
            Some(place) => beside.get(place).copied().unwrap_or_default(),
        };
        self.values().map(|(place, value)| value * weight(place)).sum()
    }

    pub(super) fn square(&self) -> f32 {
        self.values().map(|(_, value)| value * value).sum()
    }

    pub(super) fn add(&self, weights: &mut [f32], times: f32) {
        for (place, value) in self.values() {
            if let Some(weight) = weights.get_mut(place) {
                *weight += times * value;
            }
        }
    }
}

/// To the nearest whole number that a byte holds.
pub(super) fn fixed(value: f32) -> i8 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let fixed = value.round().clamp(-127.0, 127.0) as i8;
    fixed
}
