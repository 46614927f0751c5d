//! What answers tell without anybody judging them: whether they held what a machine can check, and how long they were.
//!
//! A failed check says that an answer was of no use. A passed one says a little more than nothing: some bad answers would have failed.
//! Both are taken as how much better the answer was than the prior said, such that they come to nothing where the prior is right. They
//! stand below verdicts: what a verdict says of a model is drawn towards them, no longer towards the prior alone.
use super::{
    case::EVERYWHERE,
    learner::Mean,
    packed::{Unpack, put_text},
};
use crate::{base64, table::Table};

/// One answer of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed<'a> {
    pub cluster: u32,
    pub model: &'a str,
    /// By how much it was better than the prior said, if it was checked.
    pub gain: Option<f32>,
    /// The logarithm of how many times the expected output tokens it took, if that is known.
    pub stretch: Option<f32>,
}

/// The share of bad answers that fail a check of structure, of calls or of JSON: 56 % of a weak model's failures on BFCL v2.
pub const CAUGHT_BY_STRUCTURE: f32 = 0.56;
/// The same of a check that only looks how an answer ended: assumed, and low.
pub const CAUGHT_BY_END: f32 = 0.1;

/// By how much better than expected an answer is that passed or failed a check: what is left of the doubt once it passed.
#[must_use]
pub fn gain(expected: f32, caught: f32, passed: bool) -> f32 {
    let left = expected / (expected + (1.0 - expected) * (1.0 - caught)).max(f32::MIN_POSITIVE);
    if passed { left - expected } else { -expected }
}

/// Answers as text, to be sent.
#[must_use]
pub fn told(answers: &[Observed<'_>]) -> String {
    let mut bytes = Vec::new();
    for Observed { cluster, model, gain, stretch } in answers {
        put_cell(&mut bytes, *cluster, model, &[gain.unwrap_or(f32::NAN), stretch.unwrap_or(f32::NAN)]);
    }
    base64::url_safe(&bytes)
}

fn put_cell(bytes: &mut Vec<u8>, cluster: u32, model: &str, numbers: &[f32]) {
    bytes.extend(cluster.to_le_bytes());
    put_text(bytes, model);
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

/// Cells that are kept, and those of them that outlive a restart.
const CELLS_MAX: usize = 1_024;
const CELLS_STORED: usize = 256;
/// Answers that a cell needs to count half, of a cluster and of all.
const DOUBT: f32 = 8.0;
/// An answer is not taken for more than so many times shorter or longer than expected, as a logarithm: 20 times.
const STRETCH_MAX: f32 = 3.0;
/// What is left of the weight of what is kept when others are forgotten.
const FADES: f32 = 0.5;
/// A change is told when it is a quarter of all, and these at least: all that is known goes to everybody. What is older than so many
/// has faded.
const NEWS_MIN: usize = 20;
const NEWS_OF_MAX: usize = 5_000;

/// What was seen, by cluster and model, with how many answers it stands on.
#[derive(Debug, Default)]
pub struct Seen {
    cells: Table<(u32, String), (Mean, Mean)>,
    all: usize,
    since: usize,
}

/// Of each model, sorted by name, by cluster the logarithm of how many times the expected tokens its answers take.
pub type Stretches = Vec<(String, Vec<(u32, f32)>)>;

impl Seen {
    /// Takes in answers as they were [`told`]. Returns cluster and model of the last of them.
    pub fn take(&mut self, text: &str) -> Option<(u32, String)> {
        let bytes = base64::of_url_safe(text).unwrap_or_default();
        let (mut rest, mut last) = (Unpack(&bytes), None);
        while let (Some(cluster), Some(model)) = (rest.u32(), rest.text()) {
            let numbers = [rest.f32(), rest.f32()].map(|number| number.filter(|number| number.is_finite()));
            self.note(EVERYWHERE, model, numbers);
            if cluster != EVERYWHERE {
                self.note(cluster, model, numbers);
            }
            (self.all, self.since) = (self.all + 1, self.since + 1);
            last = Some((cluster, model.to_owned()));
        }
        last
    }

    /// Takes in one answer of a model.
    pub fn note(&mut self, cluster: u32, model: &str, [gain, stretch]: [Option<f32>; 2]) {
        let place = (cluster, model.to_owned());
        if self.cells.len() >= CELLS_MAX && !self.cells.contains_key(&place) {
            self.forget();
        }
        if self.cells.len() < CELLS_MAX || self.cells.contains_key(&place) {
            self.cells.change(&place, |cell| {
                if let Some(gain) = gain {
                    cell.0.take(gain.clamp(-1.0, 1.0));
                }
                if let Some(stretch) = stretch {
                    cell.1.take(stretch.clamp(-STRETCH_MAX, STRETCH_MAX));
                }
            });
        }
    }

    /// The lighter half of the clusters makes room; all of them fade, so that what is not seen any more goes in time.
    fn forget(&mut self) {
        let weight = |(gain, stretch): &(Mean, Mean)| gain.weight.max(stretch.weight);
        let mut weights: Vec<f32> = self.cells.values().map(weight).collect();
        weights.sort_unstable_by(f32::total_cmp);
        let least = weights.get(weights.len() / 2).copied().unwrap_or_default();
        let mut room = CELLS_MAX / 2;
        self.cells.retain(|(cluster, _), cell| {
            let goes = *cluster != EVERYWHERE && weight(cell) <= least && room > 0;
            room -= usize::from(goes);
            !goes
        });
        for (_, (gain, stretch)) in self.cells.iter_mut() {
            gain.weight *= FADES;
            stretch.weight *= FADES;
        }
    }

    /// Whether there is news worth telling; asked once for each telling.
    pub fn has_news(&mut self) -> bool {
        let news = self.since * 4 > self.all.min(NEWS_OF_MAX) && self.since >= NEWS_MIN.min(self.all);
        if news {
            self.since = 0;
        }
        news
    }

    /// By how much a model's answers are better than the prior says.
    #[must_use]
    pub fn gain(&self, cluster: u32, model: &str) -> f32 {
        self.shrunk(cluster, model, |(gain, _)| *gain)
    }

    fn shrunk(&self, cluster: u32, model: &str, which: fn(&(Mean, Mean)) -> Mean) -> f32 {
        let of = |cluster: u32| self.cells.get(&(cluster, model.to_owned())).map_or_default(which);
        let everywhere = of(EVERYWHERE).shrunk(DOUBT, 0.0);
        if cluster == EVERYWHERE { everywhere } else { of(cluster).shrunk(DOUBT, everywhere) }
    }

    /// On how many answers a cell stands; older ones count less.
    #[cfg(test)]
    pub fn weight(&self, cluster: u32, model: &str) -> f32 {
        self.cells.get(&(cluster, model.to_owned())).map_or(0.0, |(gain, _)| gain.weight)
    }

    /// The clusters that something was seen of, with their models.
    pub fn places(&self) -> impl Iterator<Item = (u32, &str)> {
        self.cells.iter().map(|((cluster, model), _)| (*cluster, model.as_str()))
    }

    /// How much longer than expected answers are.
    #[must_use]
    pub fn stretches(&self) -> Stretches {
        let mut stretches = Stretches::new();
        // The cells of all clusters together come first, in the order of their models.
        for (cluster, model) in self.places() {
            let stretch = (cluster, self.shrunk(cluster, model, |(_, stretch)| *stretch));
            match stretches.iter_mut().find(|(known, _)| known == model) {
                Some((_, of)) => of.push(stretch),
                None => stretches.push((model.to_owned(), vec![stretch])),
            }
        }
        stretches
    }

    /// What outlives a restart: the cells that stand on the most answers.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_unstable_by(|(a, one), (b, other)| other.1.weight.total_cmp(&one.1.weight).then(a.cmp(b)));
        let mut bytes = Vec::new();
        for ((cluster, model), (gain, stretch)) in cells.into_iter().take(CELLS_STORED) {
            put_cell(&mut bytes, *cluster, model, &[gain.weight, gain.mean, stretch.weight, stretch.mean]);
        }
        base64::url_safe(&bytes)
    }

    /// Reads what [`Self::to_text`] wrote; what cannot be read was never seen.
    pub fn restore(&mut self, text: &str) {
        let bytes = base64::of_url_safe(text).unwrap_or_default();
        let mut rest = Unpack(&bytes);
        let mut next = || {
            let place = (rest.u32()?, rest.text()?.to_owned());
            let mut mean = || Some(Mean { weight: rest.f32()?, mean: rest.f32()? });
            Some((place, (mean()?, mean()?)))
        };
        while let Some((place, cell)) = next() {
            self.cells.insert(place, cell);
        }
        // They are told once more.
        let everywhere = self.cells.iter().filter(|((cluster, _), _)| *cluster == EVERYWHERE);
        let seen: f32 = everywhere.map(|(_, (_, stretch))| stretch.weight).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand")]
        let seen = seen as usize;
        (self.all, self.since) = (seen.max(NEWS_MIN), NEWS_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(model: &str, cluster: u32, gain: f32, stretch: f32) -> Observed<'_> {
        Observed { cluster, model, gain: Some(gain), stretch: Some(stretch) }
    }

    #[test]
    fn checks_come_to_nothing_where_the_prior_is_right() {
        for (expected, caught) in [(0.8, 0.56), (0.3, 0.1), (1.0, 0.56), (0.0, 0.1)] {
            let passes = expected + (1.0 - expected) * (1.0 - caught);
            let mean = passes * gain(expected, caught, true) + (1.0 - passes) * gain(expected, caught, false);
            assert!(mean.abs() < 1e-6, "{expected} {caught}: {mean}");
            assert!(gain(expected, caught, true) >= 0.0 && gain(expected, caught, false) <= 0.0);
        }
    }

    #[test]
    fn a_cluster_counts_first_and_all_together_where_it_is_new() {
        let mut seen = Seen::default();
        for _ in 0..40 {
            seen.take(&told(&[answer("m", 7, -0.5, 1.0), answer("m", 8, 0.1, -1.0)]));
        }
        assert!(seen.gain(7, "m") < -0.35 && seen.gain(8, "m") > 0.0, "{} {}", seen.gain(7, "m"), seen.gain(8, "m"));
        assert!((seen.gain(9, "m") + 0.18).abs() < 0.03 && seen.gain(7, "other").abs() < 1e-9);
        let stretches = seen.stretches();
        let of = |wanted: u32| stretches[0].1.iter().find(|(cluster, _)| *cluster == wanted).map_or(0.0, |(_, by)| *by);
        assert!(of(7) > 0.7 && of(8) < -0.7 && of(EVERYWHERE).abs() < 0.1, "{stretches:?}");
    }

    #[test]
    fn it_outlives_a_restart_and_what_cannot_be_read_does_no_harm() {
        let mut seen = Seen::default();
        seen.take(&told(&[
            answer("m", 7, -0.5, 1.0),
            Observed { cluster: 9, model: "n", gain: None, stretch: Some(f32::INFINITY) },
        ]));
        for broken in ["", "*", "AAAA", told(&[answer("m", 7, 0.0, 0.0)]).get(..9).expect("long")] {
            seen.take(broken);
            seen.restore(broken);
        }
        let mut again = Seen::default();
        again.restore(&seen.to_text());
        assert_eq!(again.to_text(), seen.to_text());
        assert!((again.gain(7, "m") - seen.gain(7, "m")).abs() < 1e-9 && seen.gain(9, "n").abs() < 1e-9);
    }

    #[test]
    fn cells_are_bounded_and_news_grow_rarer() {
        let (mut seen, mut news) = (Seen::default(), 0);
        for turn in 0..10_000 {
            seen.take(&told(&[answer("m", turn + 1, 0.0, 0.0)]));
            news += u32::from(seen.has_news());
        }
        assert!(seen.cells.len() <= CELLS_MAX && seen.to_text().len() < CELLS_STORED * 40);
        assert!((10..60).contains(&news), "{news}");
        // However much was seen of others, what is new finds room.
        let mut full = Seen::default();
        for turn in 0..40_000 {
            full.take(&told(&[answer("m", turn % 2_000 + 1, 0.0, 0.0)]));
        }
        full.take(&told(&[answer("new", 1_000_000, -0.5, 1.0)]));
        assert!(full.weight(1_000_000, "new") > 0.9 && full.weight(EVERYWHERE, "new") > 0.9);
    }
}
