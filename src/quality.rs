//! How good an answer a deployment is likely to give, 0 to 1: a prior, from the request's text and the market's estimate of the
//! model, and what an organisation's own outcomes have taught ([`learner`], [`taught`]).
//!
//! The prior has one figure of a text, its *hardness*: how much a weak model is likely to lose on it against the strongest. It is
//! linear in hashed words and figures of shape, trained by `tools/router` on public data (docs/quality.md), and knows no task by
//! name. On one homogeneous task a text says little beyond its length; what a task is like has to be learned from outcomes.
use crate::catalog::{Deployment, When};

pub mod case;
mod check;
pub mod learner;
pub mod lift;
pub mod packed;
mod schema;
pub mod seen;
pub mod sketch;
pub mod taught;

pub use check::{Check, Checks, agree};
use sketch::{BUCKETS, FIGURES, Rarity, Sketch};

/// The weights: made by `tools/router`, see docs/quality.md for what is in them and what they were trained on.
static SHIPPED: &[u8] = include_bytes!("../schema/quality.bin");

/// The layout of the weights; another one is refused.
pub const LAYOUT: u32 = 1;
/// Kinds of text whose lengths are compared with each other.
pub const KINDS: usize = 5;
/// Floats after the two tables: scale and bias of the words, then centre, spread and weight of each figure, the usual length of
/// each kind, and what a text that is e times as long adds.
const FLOATS: usize = 2 + 3 * FIGURES + 2 * KINDS;
/// Bytes of the weights as they are stored.
pub const STORED_BYTES: usize = 4 + 2 * BUCKETS + 4 * FLOATS;

/// The hardness of a text like any other: about what the weakest quarter of models loses against the strongest.
pub const USUAL_HARDNESS: f32 = 0.35;
/// Different words and marks from which on they say as much as they can.
const WORDS_ENOUGH: f32 = 10.0;
/// The hardness of a text that says nothing but its length.
const FEW_WORDS_HARDNESS: f32 = 0.3;
/// Hardness is never certain.
const HARDNESS: (f32, f32) = (0.05, 0.95);

/// The weights of the prior.
#[derive(Clone, Debug)]
pub struct Prior {
    pub rarity: Box<Rarity>,
    pub words: Box<[i8; BUCKETS]>,
    pub scale: f32,
    pub bias: f32,
    pub centre: [f32; FIGURES],
    pub spread: [f32; FIGURES],
    pub figures: [f32; FIGURES],
    /// The usual logarithm of the length of each kind.
    pub usual: [f32; KINDS],
    /// What a text of each kind that is e times as long as usual gains in hardness.
    pub length: [f32; KINDS],
}

impl Default for Prior {
    fn default() -> Self {
        Self::shipped()
    }
}

impl Prior {
    /// The weights this build ships.
    ///
    /// # Panics
    /// Never: a build whose weights cannot be read fails its tests; here it would judge all texts alike.
    #[must_use]
    pub fn shipped() -> Self {
        Self::read(SHIPPED).unwrap_or_else(Self::blank)
    }

    /// Weights that tell nothing.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            rarity: Box::new([128; BUCKETS]),
            words: Box::new([0; BUCKETS]),
            scale: 0.0,
            bias: 0.5,
            centre: [0.0; FIGURES],
            spread: [1.0; FIGURES],
            figures: [0.0; FIGURES],
            usual: [0.0; KINDS],
            length: [0.0; KINDS],
        }
    }

    /// Reads stored weights; `None` for those of another layout.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (layout, rest) = bytes.split_first_chunk::<4>()?;
        let (rarity, rest) = rest.split_first_chunk::<BUCKETS>()?;
        let (words, rest) = rest.split_first_chunk::<BUCKETS>()?;
        if u32::from_le_bytes(*layout) != LAYOUT || rest.len() != 4 * FLOATS {
            return None;
        }
        let mut floats = rest.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut next = || floats.next().unwrap_or_default();
        let (scale, bias) = (next(), next());
        let mut read = Self { rarity: Box::new(*rarity), scale, bias, ..Self::blank() };
        read.words.iter_mut().zip(words).for_each(|(weight, byte)| *weight = byte.cast_signed());
        for figures in [&mut read.centre, &mut read.spread, &mut read.figures] {
            figures.fill_with(&mut next);
        }
        read.usual.fill_with(&mut next);
        read.length.fill_with(&mut next);
        Some(read)
    }

    /// The weights as they are stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = LAYOUT.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.rarity[..]);
        bytes.extend(self.words.iter().map(|weight| weight.cast_unsigned()));
        let figures = [self.centre, self.spread, self.figures];
        let floats = [self.scale, self.bias].into_iter().chain(figures.into_iter().flatten());
        let floats = floats.chain(self.usual).chain(self.length);
        bytes.extend(floats.flat_map(f32::to_le_bytes));
        bytes
    }

    /// The figures of a text's shape in units of their spread, not beyond three of them.
    #[must_use]
    pub fn normal(&self, shape: &[f32; FIGURES]) -> [f32; FIGURES] {
        let mut normal = *shape;
        for ((figure, centre), spread) in normal.iter_mut().zip(self.centre).zip(self.spread) {
            *figure = ((*figure - centre) / spread).clamp(-3.0, 3.0);
        }
        normal
    }

    /// How much a weak model is likely to lose on a text, 0 to 1.
    #[must_use]
    pub fn hardness(&self, sketch: &Sketch) -> f32 {
        let words: f32 = sketch.words.iter().map(|(bucket, value)| value * self.word(*bucket)).sum();
        let normal = self.normal(&sketch.shape);
        let shape: f32 = normal.iter().zip(self.figures).map(|(figure, weight)| figure * weight).sum();
        // Of a text of a few words only the length is known: its figures are far from those of any text that was learned from.
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let heard = (sketch.words.len() as f32 / WORDS_ENOUGH).min(1.0);
        let said = self.bias + self.scale * words + shape;
        (FEW_WORDS_HARDNESS + heard * (said - FEW_WORDS_HARDNESS) + self.lengthy(sketch)).clamp(HARDNESS.0, HARDNESS.1)
    }

    /// What the hardness would be if only the length were known.
    #[must_use]
    pub fn length_alone(&self, sketch: &Sketch) -> f32 {
        (USUAL_HARDNESS + self.lengthy(sketch)).clamp(HARDNESS.0, HARDNESS.1)
    }

    /// What a text gains in hardness by being longer than others of its kind.
    fn lengthy(&self, sketch: &Sketch) -> f32 {
        let kind = kind(&sketch.shape);
        let of = |figures: &[f32; KINDS]| figures.get(kind).copied().unwrap_or_default();
        (sketch.shape[0] - of(&self.usual)).clamp(-2.0, 2.0) * of(&self.length)
    }

    fn word(&self, bucket: u16) -> f32 {
        f32::from(self.words.get(usize::from(bucket)).copied().unwrap_or_default())
    }
}

/// Which kind of text it is, by its shape alone: tools on offer, options to choose from, code, formulas, or plain.
#[must_use]
pub fn kind(shape: &[f32; FIGURES]) -> usize {
    let marks = [shape[15] > 0.0, shape[2] > 0.0, shape[11] > 0.0, shape[9] > 0.2];
    marks.iter().position(|mark| *mark).unwrap_or(KINDS - 1)
}

/// The quality to expect of a model of that ability on a text of that hardness, before anything was learned. The last step in price
/// buys less quality than the first.
#[must_use]
pub fn expected(ability: f32, hardness: f32) -> f32 {
    1.0 - (1.0 - ability).powi(2) * hardness
}

/// The price at which the ability is taken for 0, and the one at which it is 1, in dollars per million tokens.
const CHEAPEST: f32 = 0.05;
const DEAREST: f32 = 50.0;

/// How able a deployment's model is taken to be, 0 to 1, before anything is known of it: the market's own estimate, the logarithm
/// of the blended price.
#[must_use]
pub fn ability(deployment: &Deployment) -> f32 {
    let rates = deployment.rates.at(0, When::default());
    #[expect(clippy::cast_precision_loss, reason = "a rank, not an amount")]
    let blended = (3 * rates.input.0 + rates.output.0) as f32 / 4.0 / 1e6;
    ability_at(blended)
}

/// The same of a price in dollars per million tokens, three quarters of them input.
#[must_use]
pub fn ability_at(blended: f32) -> f32 {
    ((blended.max(CHEAPEST) / CHEAPEST).ln() / (DEAREST / CHEAPEST).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::sketch::Reader;

    fn sketch(text: &str) -> Sketch {
        let mut reader = Reader::default();
        reader.text(text);
        reader.finish(&Prior::shipped().rarity)
    }

    #[test]
    fn the_shipped_weights_can_be_read_and_written() {
        let read = Prior::read(SHIPPED).expect("weights of this layout");
        assert_eq!(read.write(), SHIPPED);
        assert_eq!(SHIPPED.len(), STORED_BYTES);
        assert!(Prior::read(&SHIPPED[1..]).is_none() && Prior::read(b"").is_none());
    }

    #[test]
    fn case_spacing_politeness_and_numbers_leave_no_trace() {
        let plain = sketch("What is the boiling point of water at 1013 hPa, in kelvin?");
        for other in [
            "WHAT IS THE BOILING POINT OF WATER AT 1013 HPA, IN KELVIN?",
            "What  is the\n boiling point of water at\t1013 hPa, in kelvin?  ",
            "Hi, could you please help me: What is the boiling point of water at 1013 hPa, in kelvin?",
            "What is the boiling point of water at 2027 hPa, in kelvin?",
            "Good morning! I'd like to know the answer to this question:\nWhat is the boiling point of water at 1013 hPa, in kelvin?",
        ] {
            let (a, b) = (Prior::shipped().hardness(&plain), Prior::shipped().hardness(&sketch(other)));
            assert!((a - b).abs() < 0.03, "{other}: {a} {b}");
        }
    }

    #[test]
    fn a_lead_in_says_nothing_and_a_question_is_none() {
        let plain = sketch("Name a sour fruit.");
        for lead_in in ["I would like to know: ", "Hi! Could you answer the following? ", "Please help me with this: "]
        {
            assert_eq!(sketch(&format!("{lead_in}Name a sour fruit.")), plain);
        }
        for whole in ["Is this it?", "Hello.", "A dog: what is it?", "The following, in order, without a mark"] {
            let words = sketch(whole).words.len();
            assert!(words == sketch(&format!("Good day. {whole}")).words.len() && words > 0, "{whole}");
        }
    }

    #[test]
    fn any_text_has_a_hardness() {
        let long = "ß∂ƒ".repeat(20_000);
        for text in
            ["", " \n", "?", "日本語の質問です。", "A. B. C) D:", "\u{0}\u{7f}", long.as_str(), "```\n$\\int$\n```"]
        {
            let hardness = Prior::shipped().hardness(&sketch(text));
            assert!((HARDNESS.0..=HARDNESS.1).contains(&hardness), "{text:.20}: {hardness}");
        }
    }

    #[test]
    fn options_are_counted_in_order_and_cut_off_the_stem() {
        let shape = sketch("Which one?\nA. iron\nB. gold\nC. a) tin\nD. zinc").shape;
        assert!((shape[2] - 0.4).abs() < 1e-6, "{shape:?}");
        assert!(shape[1] < shape[0]);
        assert!(sketch("Mr. B. said A is a.").shape[2] < 0.01);
    }

    #[test]
    fn the_abler_model_is_expected_to_do_better_the_harder_the_text() {
        let gain = |hardness| expected(0.8, hardness) - expected(0.2, hardness);
        assert!(gain(0.1) > 0.0 && gain(0.9) > gain(0.5));
        assert!(ability_at(0.01) < 0.01 && ability_at(100.0) > 0.99 && ability_at(1.0) < ability_at(2.0));
    }
}
