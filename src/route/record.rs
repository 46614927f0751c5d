//! What a decision rested on, as it is kept with the charge: enough to make it again, bit for bit, and to ask what another mode or
//! other prices would have chosen. It holds figures and names of deployments, nothing of the request's content.
use super::decision::{Choice, Features, Field, Hints, Judged, Standing, Terms, Why};
use crate::{
    analysis::{Depth, Needs, Signals},
    base64,
    endpoint::{Priority, Weights},
    mode::Mode,
    money::Nanos,
    quality::packed::{Unpack, put_text},
};

/// The layout of a record.
const LAYOUT: u8 = 1;

/// A candidate as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// `provider/model`.
    pub id: String,
    pub features: Features,
    pub judged: Judged,
    /// Output tokens that were expected of it, hidden ones too.
    pub output_tokens: u64,
}

impl Standing for Kept {
    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> &Features {
        &self.features
    }

    fn judged(&self) -> &Judged {
        &self.judged
    }

    fn judge(&mut self, judged: Judged) {
        self.judged = judged;
    }
}

/// What the request was, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub prompt_tokens: u64,
    /// Those of a plain answer, of one choice.
    pub output_tokens: u64,
    pub choices: u64,
    /// 0 none, 1 low, 2 high.
    pub depth: u8,
    pub priority: Priority,
    pub needs: Needs,
    /// The request or its key narrows what may be asked beyond its needs, or only some names were meant.
    pub narrowed: bool,
}

impl Asked {
    /// What signals come to.
    #[must_use]
    pub fn of(signals: &Signals, narrowed: bool) -> Self {
        let depth = match signals.depth {
            Depth::None => 0,
            Depth::Low => 1,
            Depth::High => 2,
        };
        let Signals { prompt_tokens, output_tokens, choices, priority, needs, .. } = *signals;
        Self { prompt_tokens, output_tokens, choices, depth, priority, needs, narrowed }
    }
}

/// See the head of this room.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub terms: Terms,
    pub asked: Asked,
    /// The ids of the health that was known, and of what had been taught; empty for none. The catalog's stands in the ledger entry.
    pub health_id: String,
    pub taught_id: String,
    /// In the order they were offered.
    pub candidates: Vec<Kept>,
    pub allowed: Vec<usize>,
    pub warm: String,
    pub pool: Vec<(String, u64)>,
    pub choice: Choice,
}

const WHYS: [Why; 4] = [Why::Best, Why::Warm, Why::Explored, Why::Control];
const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

impl Record {
    /// Makes the choice again: the candidates in order, and who is asked first. Equal to what is kept, where nothing was changed.
    #[must_use]
    pub fn replayed(&self) -> (Vec<Kept>, Option<Choice>) {
        let mut candidates = self.candidates.clone();
        self.terms.rank(&mut candidates);
        self.terms.spread(&mut candidates);
        let hints = Hints { allowed: &self.allowed, warm: &self.warm, pool: &self.pool };
        let choice = self.terms.choose(&candidates, &hints);
        (candidates, choice)
    }

    /// As text: what is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Terms { mode, field, seed, in_given_order, stays, explore, control } = self.terms;
        let Asked { prompt_tokens, output_tokens, choices, depth, priority, needs, narrowed } = self.asked;
        let mut bytes = vec![LAYOUT, place(&Mode::ALL, mode), place(&PRIORITIES, priority), depth];
        bytes.push(bits(&[in_given_order, stays, narrowed, self.choice.compares]));
        let Needs { tools, vision, audio, files, json_schema, prefill } = needs;
        bytes.push(bits(&[tools, vision, audio, files, json_schema, prefill]));
        for number in [seed, prompt_tokens, output_tokens, choices] {
            bytes.extend(number.to_le_bytes());
        }
        put_text(&mut bytes, &self.health_id);
        put_text(&mut bytes, &self.taught_id);
        let Weights { quality, cost, latency } = field.weights;
        let spans = [field.cost.0, field.cost.1, field.time.0, field.time.1, field.quality];
        put_f64s(&mut bytes, &[quality, cost, latency]);
        put_f64s(&mut bytes, &spans);
        put_f64s(&mut bytes, &[explore, control, self.choice.propensity, self.choice.side, self.choice.drawn]);
        bytes.extend([place(&WHYS, self.choice.why), small(self.choice.place)]);
        bytes.push(small(self.candidates.len()));
        for Kept { id, features, judged, output_tokens } in &self.candidates {
            put_text(&mut bytes, id);
            for place in [features.rank, features.wish] {
                bytes.extend(u16::try_from(place).unwrap_or(u16::MAX).to_le_bytes());
            }
            bytes.push(bits(&[features.open, judged.shut, judged.poor]));
            bytes.extend(features.expected.0.to_le_bytes());
            bytes.extend(output_tokens.to_le_bytes());
            let Features { log_cost, log_cost_warm, log_time, quality, success, throttled, .. } = *features;
            put_f64s(&mut bytes, &[log_cost, log_cost_warm, log_time, quality, success, throttled]);
            put_f64s(&mut bytes, &[judged.score, judged.score_warm]);
        }
        bytes.push(small(self.allowed.len()));
        bytes.extend(self.allowed.iter().map(|place| small(*place)));
        put_text(&mut bytes, &self.warm);
        bytes.push(small(self.pool.len()));
        for (id, times) in &self.pool {
            put_text(&mut bytes, id);
            bytes.extend(times.to_le_bytes());
        }
        base64::url_safe(&bytes)
    }

    /// Reads what [`Self::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let bytes = base64::of_url_safe(text)?;
        let mut rest = Unpack(&bytes);
        let [layout, mode, priority, depth, flags, needs] = *rest.bytes(6)? else { return None };
        if layout != LAYOUT {
            return None;
        }
        let flag = |place: u8| flags >> place & 1 == 1;
        let need = |place: u8| needs >> place & 1 == 1;
        let (seed, prompt_tokens) = (rest.u64()?, rest.u64()?);
        let (output_tokens, choices) = (rest.u64()?, rest.u64()?);
        let asked = Asked {
            prompt_tokens,
            output_tokens,
            choices,
            depth,
            priority: *PRIORITIES.get(usize::from(priority))?,
            needs: Needs {
                tools: need(0),
                vision: need(1),
                audio: need(2),
                files: need(3),
                json_schema: need(4),
                prefill: need(5),
            },
            narrowed: flag(2),
        };
        let (health_id, taught_id) = (rest.text()?.to_owned(), rest.text()?.to_owned());
        let weights = Weights { quality: rest.f64()?, cost: rest.f64()?, latency: rest.f64()? };
        let field =
            Field { weights, cost: (rest.f64()?, rest.f64()?), time: (rest.f64()?, rest.f64()?), quality: rest.f64()? };
        let (explore, control, propensity) = (rest.f64()?, rest.f64()?, rest.f64()?);
        let (side, drawn) = (rest.f64()?, rest.f64()?);
        let mode = *Mode::ALL.get(usize::from(mode))?;
        let terms = Terms { mode, field, seed, in_given_order: flag(0), stays: flag(1), explore, control };
        let why = *WHYS.get(usize::from(rest.u8()?))?;
        let choice = Choice { why, place: rest.u8()?.into(), propensity, compares: flag(3), side, drawn };
        let candidates = (0..rest.u8()?).map(|_| kept(&mut rest)).collect::<Option<_>>()?;
        let allowed = (0..rest.u8()?).map(|_| Some(rest.u8()?.into())).collect::<Option<_>>()?;
        let warm = rest.text()?.to_owned();
        let pool = (0..rest.u8()?).map(|_| Some((rest.text()?.to_owned(), rest.u64()?))).collect::<Option<_>>()?;
        Some(Self { terms, asked, health_id, taught_id, candidates, allowed, warm, pool, choice })
    }
}

fn kept(rest: &mut Unpack<'_>) -> Option<Kept> {
    let id = rest.text()?.to_owned();
    let (rank, wish, flags) = (rest.u16()?.into(), rest.u16()?.into(), rest.u8()?);
    let flag = |place: u8| flags >> place & 1 == 1;
    let (expected, output_tokens) = (Nanos(rest.u64()?.cast_signed()), rest.u64()?);
    let mut next = || rest.f64();
    let features = Features {
        rank,
        wish,
        expected,
        log_cost: next()?,
        log_cost_warm: next()?,
        log_time: next()?,
        quality: next()?,
        success: next()?,
        throttled: next()?,
        open: flag(0),
    };
    let judged = Judged { score: next()?, score_warm: next()?, shut: flag(1), poor: flag(2) };
    Some(Kept { id, features, judged, output_tokens })
}

fn put_f64s(bytes: &mut Vec<u8>, numbers: &[f64]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn bits(flags: &[bool]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

/// A number that is small by its nature.
fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn place<T: PartialEq>(all: &[T], one: T) -> u8 {
    small(all.iter().position(|other| *other == one).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, prop_assert, prop_assert_eq, proptest, sample::select};

    fn features() -> impl Strategy<Value = (Features, u64)> {
        let figures = (0.0..1.0_f64, 0.0..1.0_f64, select(vec![0.0, 0.0, 0.3]), proptest::bool::weighted(0.1));
        (0..2_usize, 0..2_usize, 1..2_000_000_u32, 1.0..12.0_f64, figures, 1..5_000_u64).prop_map(
            |(rank, wish, nanos, log_time, (quality, success, throttled, open), output_tokens)| {
                let (expected, log_cost) = (Nanos(nanos.into()), f64::from(nanos).ln());
                let log_cost_warm = log_cost - 0.5;
                let of = Features {
                    rank,
                    wish,
                    expected,
                    log_cost,
                    log_cost_warm,
                    log_time,
                    quality,
                    success,
                    open,
                    throttled,
                };
                (of, output_tokens)
            },
        )
    }

    prop_compose! {
        /// A decision as it is made: judged, ordered, cut, chosen.
        fn record()(
            rows in vec(features(), 1..20),
            mode in select(Mode::ALL.to_vec()),
            seed in any::<u64>(),
            shares in (0.0..0.2_f64, 0.0..0.2_f64),
            stays in any::<bool>(),
            allowed in vec(any::<bool>(), 8),
            pool in vec((0..20_usize, 1..50_u64), 0..4),
            warm in 0..20_usize,
        ) -> Record {
            let id = |place: usize| format!("{}/m{place}", ["a", "b", "c"][place % 3]);
            let kept = |(place, (features, output_tokens)): (usize, (Features, u64))| {
                Kept { id: id(place), features, judged: Judged::default(), output_tokens }
            };
            let mut candidates: Vec<Kept> = rows.into_iter().enumerate().map(kept).collect();
            let weights = Weights { quality: 0.5, cost: 0.3, latency: 0.2 };
            let field = Field::of(&candidates, weights);
            let (explore, control) = shares;
            let terms = Terms { mode, field, seed, in_given_order: false, stays, explore, control };
            terms.rank(&mut candidates);
            terms.spread(&mut candidates);
            candidates.truncate(8);
            let mut places: Vec<usize> = (0..candidates.len()).filter(|place| allowed[*place]).collect();
            if places.is_empty() {
                places.push(0);
            }
            let pool: Vec<(String, u64)> = pool.into_iter().map(|(place, times)| (id(place), times)).collect();
            let (warm, asked) = (id(warm), Asked { prompt_tokens: 9, narrowed: true, ..Asked::default() });
            let hints = Hints { allowed: &places, warm: &warm, pool: &pool };
            let choice = terms.choose(&candidates, &hints).expect("somebody may be asked");
            let (health_id, taught_id) = ("h".into(), String::new());
            Record { terms, asked, health_id, taught_id, candidates, allowed: places, warm, pool, choice }
        }
    }

    proptest! {
        #[test]
        fn a_decision_is_made_again_from_its_record_bit_for_bit(record in record()) {
            let read = Record::of_text(&record.to_text()).expect("as it was written");
            prop_assert_eq!(&read, &record);
            let (candidates, choice) = read.replayed();
            prop_assert_eq!(candidates, read.candidates);
            prop_assert_eq!(choice, Some(read.choice));
        }

        #[test]
        fn whoever_is_drawn_may_be_asked_and_is_as_good_as_its_mode_wants(record in record()) {
            let Choice { place, why, propensity, .. } = record.choice;
            prop_assert!(record.allowed.contains(&place));
            prop_assert!(propensity > 0.0 && propensity <= 1.0 + 1e-12);
            let (chosen, first) = (&record.candidates[place], &record.candidates[record.allowed[0]]);
            if matches!(why, Why::Control | Why::Explored) {
                prop_assert!(!chosen.judged.shut && !chosen.judged.poor);
                prop_assert_eq!(chosen.features.rank, first.features.rank);
            }
            if why == Why::Control {
                prop_assert!(record.pool.iter().any(|(id, _)| *id == chosen.id));
            }
            if why == Why::Explored {
                prop_assert!(chosen.id != first.id);
                prop_assert!(chosen.features.expected.0 / 4 <= first.features.expected.0);
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in vec(any::<u8>(), 0..400), record in record(), cut in 0..400_usize) {
            let mut text = record.to_text();
            text.truncate(cut);
            for text in [base64::url_safe(&bytes), text] {
                if let Some(read) = Record::of_text(&text) {
                    drop(read.replayed());
                }
            }
        }
    }

    /// What was drawn comes as often as its propensity says, and propensities of all seeds sum to one.
    #[test]
    fn draws_keep_their_shares() {
        let row = |id: &str, cost: u32, quality: f64| {
            let (expected, log_cost) = (Nanos(cost.into()), f64::from(cost).ln());
            let features =
                Features { expected, log_cost, log_cost_warm: log_cost, quality, success: 1.0, ..Features::default() };
            Kept { id: id.into(), features, ..Kept::default() }
        };
        let mut rows = vec![row("a/x", 100, 0.8), row("b/y", 150, 0.8), row("c/z", 300, 0.9), row("d/dear", 900, 0.9)];
        let field = Field::of(&rows, Weights { quality: 0.5, cost: 0.3, latency: 0.2 });
        let pool = [("a/x".to_owned(), 3), ("c/z".to_owned(), 1), ("e/gone".to_owned(), 9)];
        let mut seen = std::collections::BTreeMap::<(usize, u8), (u32, f64)>::new();
        let seeds = 40_000_u32;
        for seed in 0..seeds {
            let mode = Mode::CostFirst;
            let seed = seed.into();
            let terms = Terms { mode, field, seed, in_given_order: false, stays: false, explore: 0.1, control: 0.2 };
            terms.rank(&mut rows);
            let hints = Hints { allowed: &[0, 1, 2, 3], warm: "", pool: &pool };
            let choice = terms.choose(&rows, &hints).expect("somebody");
            assert_eq!(choice.compares, choice.why != Why::Explored);
            let place = seen.entry((choice.place, place(&WHYS, choice.why))).or_default();
            *place = (place.0 + 1, choice.propensity);
        }
        let often =
            |place, why: u8| f64::from(seen.get(&(place, why)).map_or(0, |(times, _)| *times)) / f64::from(seeds);
        let near = |a: f64, b: f64| (a - b).abs() < 0.01;
        assert!(near(often(0, 0), 0.7) && near(often(0, 3), 0.15) && near(often(2, 3), 0.05), "{seen:?}");
        assert!(near(often(1, 2), 0.05) && near(often(2, 2), 0.05) && often(3, 2) == 0.0, "the dear one is spared");
        let propensity = |at: usize| seen.iter().find(|((place, _), _)| *place == at).map_or(0.0, |(_, (_, p))| *p);
        assert!(near((0..4).map(propensity).sum(), 1.0));
        assert!(near(propensity(0), 0.85) && near(propensity(1), 0.05) && near(propensity(2), 0.1));
    }
}
