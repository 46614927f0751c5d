//! What a learner knows, as a decision needs it: made where the outcomes are, read wherever requests are decided.
use super::{
    case::{BESIDE, Case, EVERYWHERE, fixed},
    expected,
    packed::{Unpack, put_i8s, put_text},
    seen::Stretches,
    sketch::{BUCKETS, Fnv},
};
use crate::base64;

/// The estimate of one model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub model: String,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum How {
    /// By how much it does better than the prior says, by cluster.
    Means(Vec<(u32, f32)>),
    /// By the text.
    Text(Box<Text>),
}

/// A sum of what the prior says of the text, of what its length says, and of its words and figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub constant: f32,
    pub prior: f32,
    pub length: f32,
    /// What one step of a word's weight is worth.
    pub step: f32,
    pub words: Vec<i8>,
    /// In steps as well.
    pub beside: [f32; BESIDE],
}

impl Text {
    /// Rounds weights to steps.
    pub(super) fn new(constant: f32, prior: f32, length: f32, weights: &[f32]) -> Self {
        let (words, rest) = weights.split_at_checked(BUCKETS).unwrap_or_default();
        let step = words.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs())) / 127.0;
        let mut beside = [0.0; BESIDE];
        beside.iter_mut().zip(rest).for_each(|(to, weight)| *to = weight / step);
        Self { constant, prior, length, step, words: words.iter().map(|weight| fixed(weight / step)).collect(), beside }
    }

    fn estimate(&self, case: &Case, ability: f32) -> f32 {
        self.constant
            + self.prior * expected(ability, case.hardness)
            + self.length * expected(ability, case.length_alone)
            + self.step * case.dot_fixed(&self.words, &self.beside)
    }
}

/// What was learned of all models; nothing by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taught {
    /// Names this state; empty for nothing learned.
    pub version: String,
    /// Sorted by name.
    pub(super) models: Vec<Known>,
    pub(super) stretches: Stretches,
    /// Somebody gave a verdict.
    pub judged: bool,
}

impl Taught {
    /// Whether nothing was learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// The quality to expect of a model on a request, 0 to 1: the prior where nothing was learned of it.
    #[must_use]
    pub fn estimate(&self, case: &Case, model: &str, ability: f32) -> f32 {
        let prior = expected(ability, case.hardness);
        let Ok(place) = self.models.binary_search_by(|known| known.model.as_str().cmp(model)) else { return prior };
        let estimate = match self.models.get(place).map(|known| &known.how) {
            Some(How::Text(text)) => text.estimate(case, ability),
            Some(How::Means(means)) => {
                let of = |cluster| means.iter().find(|(other, _)| *other == cluster).map(|(_, gain)| *gain);
                prior + of(case.cluster).or_else(|| of(EVERYWHERE)).unwrap_or_default()
            }
            None => prior,
        };
        estimate.clamp(0.0, 1.0)
    }

    /// How many times the expected tokens a model's answers take.
    #[must_use]
    pub fn stretch(&self, cluster: u32, model: &str) -> f32 {
        let place = self.stretches.binary_search_by(|(known, _)| known.as_str().cmp(model));
        let Some((_, known)) = place.ok().and_then(|place| self.stretches.get(place)) else { return 1.0 };
        let of = |wanted: u32| known.iter().find(|(cluster, _)| *cluster == wanted).map(|(_, by)| by.exp());
        of(cluster).or_else(|| of(EVERYWHERE)).unwrap_or(1.0)
    }

    /// As text, to be sent: the version, what is known of models, and how long their answers are, with points between. A model of which
    /// the text counts takes 11 kB, another 11 bytes a cluster, and the lengths as many.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        for Known { model, how } in &self.models {
            put_text(&mut bytes, model);
            match how {
                How::Means(means) => {
                    bytes.extend(u16::try_from(means.len()).unwrap_or(u16::MAX).to_le_bytes());
                    for (cluster, gain) in means {
                        bytes.extend(cluster.to_le_bytes());
                        bytes.extend(gain.to_le_bytes());
                    }
                }
                How::Text(text) => {
                    bytes.extend(0_u16.to_le_bytes());
                    let numbers = [text.constant, text.prior, text.length, text.step].into_iter().chain(text.beside);
                    bytes.extend(numbers.flat_map(f32::to_le_bytes));
                    put_i8s(&mut bytes, &text.words);
                }
            }
        }
        let mut lengths = vec![u8::from(self.judged)];
        for (model, clusters) in &self.stretches {
            put_text(&mut lengths, model);
            lengths.extend(u16::try_from(clusters.len()).unwrap_or(u16::MAX).to_le_bytes());
            for (cluster, by) in clusters {
                lengths.extend(cluster.to_le_bytes());
                lengths.extend(by.to_le_bytes());
            }
        }
        let mut version = Fnv::default();
        for byte in bytes.iter().chain(&lengths) {
            version.byte(*byte);
        }
        format!("{:08x}.{}.{}", version.0, base64::url_safe(&bytes), base64::url_safe(&lengths))
    }

    /// Reads what [`Self::to_text`] wrote.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('.')?;
        // Before lengths were told there were two parts.
        let (known, lengths) = rest.split_once('.').unwrap_or((rest, ""));
        let (bytes, lengths) = (base64::of_url_safe(known)?, base64::of_url_safe(lengths)?);
        let (mut rest, mut models) = (Unpack(&bytes), Vec::new());
        while !rest.0.is_empty() {
            let model = rest.text()?.to_owned();
            let how = match rest.u16()? {
                0 => {
                    let (constant, prior, length, step) = (rest.f32()?, rest.f32()?, rest.f32()?, rest.f32()?);
                    let mut beside = [0.0; BESIDE];
                    for number in &mut beside {
                        *number = rest.f32()?;
                    }
                    How::Text(Box::new(Text { constant, prior, length, step, words: rest.i8s(BUCKETS)?, beside }))
                }
                count => {
                    let means = (0..count).map(|_| Some((rest.u32()?, rest.f32()?)));
                    How::Means(means.collect::<Option<_>>()?)
                }
            };
            models.push(Known { model, how });
        }
        let (mut rest, mut stretches) = (Unpack(&lengths), Stretches::new());
        let judged = rest.u8() == Some(1);
        while !rest.0.is_empty() {
            let (model, count) = (rest.text()?.to_owned(), rest.u16()?);
            let clusters = (0..count).map(|_| Some((rest.u32()?, rest.f32()?)));
            stretches.push((model, clusters.collect::<Option<_>>()?));
        }
        Some(Self { version: version.to_owned(), models, stretches, judged })
    }
}
