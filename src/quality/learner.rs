//! What outcomes teach of models: how well each does on which text, for one organisation.
//!
//! There are three ways to estimate: the prior, the length of the text alone, and a ridge regression over the words and figures of
//! its sketch. Each is held to what comes before it learns from it, and their estimates are blended by how well they went along with
//! the outcomes so far: where the prior does not help, it does not count. The regression's weights are the sum of its examples, each
//! with a multiplier of its own; multipliers are improved one at a time (dual coordinate ascent, Shalev-Shwartz and Zhang 2013,
//! <https://jmlr.org/papers/v14/shalev-shwartz13a.html>), a few for each outcome, so that no turn is long and the sum comes to the
//! exact solution all the same.
//!
//! Until a model has [`TEXT_FROM`] outcomes only means count: those of its cluster, backed off to all of the organisation's, backed
//! off to the prior.
use super::{
    case::{Case, EVERYWHERE, WIDTH},
    expected,
    seen::Seen,
    taught::{How, Known, Taught, Text},
};
use crate::{id::Dice, table::Table};
use std::collections::VecDeque;

/// Examples that are kept; the oldest is forgotten.
pub const EXAMPLES_MAX: usize = 2_000;
/// Outcomes that are kept, over all examples.
const MARKS_MAX: usize = 8_000;
/// Models an account learns about.
pub const MODELS_MAX: usize = 32;
/// Outcomes of a model from which the text counts.
pub const TEXT_FROM: u32 = 20;

/// Cells that are kept.
const CELLS_MAX: usize = 4_096;
/// The ridge: a weight is in as much doubt as so many examples would settle. Several ridges side by side were no better.
const RIDGE: f32 = 5.0;
/// Ways to estimate: the prior, the length alone, the regression.
pub const WAYS: usize = 3;
/// How well each way is believed to go along with outcomes before any came: a correlation, and how many outcomes it is worth. Many:
/// correlations of a few hundred are mostly luck.
const BELIEF: [f32; WAYS] = [0.05, 0.05, 0.16];
const BELIEF_OUTCOMES: f32 = 1_000.0;
/// Multipliers improved for each outcome, and for each that is learned again after a restart.
const REPLAYS: usize = 24;
const REPLAYS_AGAIN: usize = 4;
/// Outcomes a cell needs to count half, of a cluster and of all.
const DOUBT_CLUSTER: f32 = 6.0;
const DOUBT_ALL: f32 = 4.0;
/// What is left of the weight of older outcomes with each new one.
const MEMORY: f32 = 0.998;

/// How one model did on a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    pub model: &'a str,
    /// What the market takes it to be able to, 0 to 1.
    pub ability: f32,
    /// 0 to 1.
    pub score: f32,
}

#[derive(Clone, Debug)]
struct Mark {
    model: usize,
    score: f32,
    /// By how much it was better than the prior said.
    gain: f32,
    multiplier: f32,
}

#[derive(Clone, Debug)]
struct Example {
    id: String,
    case: Case,
    square: f32,
    marks: Vec<Mark>,
}

/// A mean that forgets slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mean {
    pub weight: f32,
    pub mean: f32,
}

impl Mean {
    pub fn take(&mut self, value: f32) {
        self.weight = self.weight * MEMORY + 1.0;
        self.mean += (value - self.mean) / self.weight;
    }

    /// The mean, drawn towards `back` by as much as it is in doubt.
    pub fn shrunk(self, doubt: f32, back: f32) -> f32 {
        (self.weight * self.mean + doubt * back) / (self.weight + doubt)
    }
}

/// How the estimates of one way went along with outcomes.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    count: f32,
    guess: f32,
    score: f32,
    guess_guess: f32,
    score_score: f32,
    guess_score: f32,
    /// The estimates themselves, where `guess` is their difference from other models'.
    plain: f32,
}

impl Trial {
    fn take(&mut self, guess: f32, score: f32, plain: f32) {
        let sums = [
            (&mut self.count, 1.0),
            (&mut self.guess, guess),
            (&mut self.score, score),
            (&mut self.guess_guess, guess * guess),
            (&mut self.score_score, score * score),
            (&mut self.guess_score, guess * score),
            (&mut self.plain, plain),
        ];
        for (sum, more) in sums {
            *sum = *sum * MEMORY + more;
        }
    }

    /// Sums of products of what deviates from the means: both, the estimates', the outcomes'.
    fn spread(&self) -> [f32; 3] {
        let count = self.count.max(1.0);
        [
            self.guess_score - self.guess * self.score / count,
            self.guess_guess - self.guess * self.guess / count,
            self.score_score - self.score * self.score / count,
        ]
    }
}

#[derive(Clone, Debug)]
struct Model {
    name: String,
    ability: f32,
    labels: u32,
    mean: Mean,
    trials: [Trial; WAYS],
    weights: Vec<f32>,
}

impl Model {
    /// One way's estimate as it is.
    fn guess(&self, way: usize, case: &Case) -> f32 {
        match way {
            0 => expected(self.ability, case.hardness),
            1 => expected(self.ability, case.length_alone),
            _ => expected(self.ability, case.hardness) + case.dot(&self.weights),
        }
    }

    /// Where a way's estimates lie on average. The regression's lie where the outcomes do.
    fn centre(&self, way: usize) -> f32 {
        let trial = self.trials.get(way).copied().unwrap_or_default();
        if way < 2 && trial.count > 0.0 { trial.plain / trial.count } else { self.mean.mean }
    }
}

/// How much a way counts, and by how much its deviations are stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Worth {
    share: f32,
    stretch: f32,
}

/// See the head of this room.
#[derive(Clone, Debug)]
pub struct Learner {
    models: Vec<Model>,
    cells: Table<(u32, usize), Mean>,
    examples: VecDeque<Example>,
    dice: Dice,
}

impl Default for Learner {
    fn default() -> Self {
        Self { models: Vec::new(), cells: Table::default(), examples: VecDeque::new(), dice: Dice::new(1) }
    }
}

impl Learner {
    /// Takes in how models did on a request; what was said of the same id before is taken back. Returns the ids of examples that
    /// are forgotten for it.
    pub fn learn(&mut self, id: &str, case: Case, outcomes: &[Outcome<'_>]) -> Vec<String> {
        self.take(id, case, outcomes, REPLAYS)
    }

    /// The same for what was learned before a restart: quicker, because all of it is gone over together afterwards.
    pub fn recall(&mut self, id: &str, case: Case, outcomes: &[Outcome<'_>]) {
        self.take(id, case, outcomes, REPLAYS_AGAIN);
    }

    fn take(&mut self, id: &str, case: Case, outcomes: &[Outcome<'_>], replays: usize) -> Vec<String> {
        if let Some(place) = self.examples.iter().position(|example| example.id == id) {
            self.forget(place);
        }
        let marks: Vec<Mark> = outcomes.iter().filter_map(|outcome| self.mark(&case, outcome)).collect();
        self.try_ways(&case, &marks);
        for mark in &marks {
            if let Some(model) = self.models.get_mut(mark.model) {
                model.labels += 1;
                model.mean.take(mark.score);
            }
            self.note(EVERYWHERE, mark);
            if case.cluster != EVERYWHERE {
                self.note(case.cluster, mark);
            }
        }
        self.examples.push_back(Example { id: id.to_owned(), square: case.square(), case, marks });
        let mut forgotten = Vec::new();
        let marks = |examples: &VecDeque<Example>| examples.iter().map(|example| example.marks.len()).sum::<usize>();
        while self.examples.len() > EXAMPLES_MAX || (self.examples.len() > 1 && marks(&self.examples) > MARKS_MAX) {
            forgotten.extend(self.forget(0));
        }
        self.improve(self.examples.len().saturating_sub(1));
        for _ in 0..replays {
            let place = usize::try_from(self.dice.roll() % self.examples.len() as u64).unwrap_or_default();
            self.improve(place);
        }
        forgotten
    }

    /// Whether something was said of that request before.
    pub fn knows(&self, id: &str) -> bool {
        self.examples.iter().any(|example| example.id == id)
    }

    /// The examples that are kept.
    pub fn examples(&self) -> usize {
        self.examples.len()
    }

    fn mark(&mut self, case: &Case, outcome: &Outcome<'_>) -> Option<Mark> {
        let known = self.models.iter().position(|model| model.name == outcome.model);
        let model = known.or_else(|| self.room())?;
        if known.is_none() {
            let fresh = Model {
                name: outcome.model.to_owned(),
                ability: outcome.ability,
                labels: 0,
                mean: Mean::default(),
                trials: <[Trial; WAYS]>::default(),
                weights: vec![0.0; WIDTH],
            };
            match self.models.get_mut(model) {
                Some(place) => *place = fresh,
                None => self.models.push(fresh),
            }
        }
        let score = outcome.score.clamp(0.0, 1.0);
        let gain = score - expected(outcome.ability, case.hardness);
        Some(Mark { model, score, gain, multiplier: 0.0 })
    }

    /// A place for one model more: a new one, else that of a model nothing is kept of any more.
    fn room(&mut self) -> Option<usize> {
        if self.models.len() < MODELS_MAX {
            return Some(self.models.len());
        }
        let place = self.models.iter().position(|model| model.labels == 0)?;
        self.cells.retain(|(_, model), _| *model != place);
        Some(place)
    }

    fn note(&mut self, cluster: u32, mark: &Mark) {
        let place = (cluster, mark.model);
        if self.cells.len() >= CELLS_MAX {
            // Clusters that hardly anything was said of make room.
            self.cells.retain(|(cluster, _), cell| *cluster == EVERYWHERE || cell.weight >= 2.0);
        }
        if self.cells.len() < CELLS_MAX || self.cells.contains_key(&place) {
            self.cells.change(&place, |cell| cell.take(mark.gain));
        }
    }

    /// Notes what each way would have said, before any learns from the outcome. Where several models were judged only their
    /// differences count: that all fail on a hard text chooses nobody.
    fn try_ways(&mut self, case: &Case, marks: &[Mark]) {
        for way in 0..WAYS {
            let known = marks.iter().filter_map(|mark| Some((mark, self.models.get(mark.model)?)));
            let guesses: Vec<(&Mark, f32)> = known.map(|(mark, model)| (mark, model.guess(way, case))).collect();
            let mean = |values: &mut dyn Iterator<Item = f32>| {
                #[expect(clippy::cast_precision_loss, reason = "a few models")]
                let count = guesses.len() as f32;
                if guesses.len() > 1 { values.sum::<f32>() / count } else { 0.0 }
            };
            let usual_guess = mean(&mut guesses.iter().map(|(_, guess)| *guess));
            let usual_score = mean(&mut guesses.iter().map(|(mark, _)| mark.score));
            for (mark, guess) in guesses {
                let trial = self.models.get_mut(mark.model).and_then(|model| model.trials.get_mut(way));
                if let Some(trial) = trial {
                    trial.take(guess - usual_guess, mark.score - usual_score, guess);
                }
            }
        }
    }

    /// An example goes, and what it added to the weights. Means fade by themselves.
    fn forget(&mut self, place: usize) -> Option<String> {
        let gone = self.examples.remove(place)?;
        for mark in gone.marks {
            if let Some(model) = self.models.get_mut(mark.model) {
                gone.case.add(&mut model.weights, -mark.multiplier);
                model.labels = model.labels.saturating_sub(1);
            }
        }
        Some(gone.id)
    }

    /// Sets the multiplier of each outcome of one example to what is best while all others stay.
    fn improve(&mut self, place: usize) {
        let Some(example) = self.examples.get_mut(place) else { return };
        for mark in &mut example.marks {
            let Some(model) = self.models.get_mut(mark.model) else { continue };
            let missing = mark.gain - example.case.dot(&model.weights) - RIDGE * mark.multiplier;
            let step = missing / (example.square + RIDGE);
            mark.multiplier += step;
            example.case.add(&mut model.weights, step);
        }
    }

    /// Goes over all examples, so that the weights are all but those of the exact solution.
    pub fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for place in 0..self.examples.len() {
                self.improve(place);
            }
        }
    }

    /// What each way is worth, over all models.
    fn worth(&self) -> [Worth; WAYS] {
        let mut worth = [Worth::default(); WAYS];
        for ((way, worth), belief) in worth.iter_mut().enumerate().zip(BELIEF) {
            let trials = self.models.iter().filter_map(|model| model.trials.get(way));
            let mut sums = [0.0_f32; 4];
            for trial in trials {
                let [along, guesses, scores] = trial.spread();
                sums.iter_mut().zip([along, guesses, scores, trial.count]).for_each(|(sum, more)| *sum += more);
            }
            let [along, guesses, scores, count] = sums;
            let found = along / (guesses * scores).sqrt().max(1e-6);
            let believed = (found * count + belief * BELIEF_OUTCOMES) / (count + BELIEF_OUTCOMES);
            // The fourth power: the best counts most, and others that are as good count as much.
            *worth = Worth { share: believed.max(0.0).powi(4), stretch: (along / guesses.max(1e-6)).clamp(0.3, 1.2) };
        }
        let whole: f32 = worth.iter().map(|worth| worth.share).sum();
        for worth in &mut worth {
            worth.share /= whole.max(f32::MIN_POSITIVE);
        }
        worth
    }

    /// What is known of all models, as decisions need it: by verdicts, and below them by what was seen.
    #[must_use]
    pub fn taught(&self, seen: &Seen) -> Taught {
        let worth = self.worth();
        let known = |(place, model): (usize, &Model)| Known {
            model: model.name.clone(),
            how: if model.labels < TEXT_FROM {
                self.by_means(place, &model.name, seen)
            } else {
                How::Text(Box::new(model.text(&worth)))
            },
        };
        let mut models: Vec<Known> = self.models.iter().enumerate().map(known).collect();
        for (_, model) in seen.places().filter(|(cluster, _)| *cluster == EVERYWHERE) {
            if models.iter().all(|known| known.model != model) {
                models.push(Known { model: model.to_owned(), how: self.by_means(usize::MAX, model, seen) });
            }
        }
        models.sort_unstable_by(|a, b| a.model.cmp(&b.model));
        Taught { models, stretches: seen.stretches(), judged: !self.models.is_empty(), ..Taught::default() }
    }

    /// By how much a model does better than the prior says: the means of its clusters, and that of all for any other.
    fn by_means(&self, place: usize, name: &str, seen: &Seen) -> How {
        let of = |cluster| self.cells.get(&(cluster, place)).copied().unwrap_or_default();
        let everywhere = of(EVERYWHERE).shrunk(DOUBT_ALL, seen.gain(EVERYWHERE, name));
        let judged = self.cells.iter().filter(|((_, model), _)| *model == place).map(|((cluster, _), _)| *cluster);
        let mut clusters: Vec<u32> =
            judged.chain(seen.places().filter(|(_, model)| *model == name).map(|(cluster, _)| cluster)).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let mean = |cluster: u32| {
            // What verdicts say of all clusters moves what was seen in this one.
            let back = everywhere + seen.gain(cluster, name) - seen.gain(EVERYWHERE, name);
            (cluster, of(cluster).shrunk(DOUBT_CLUSTER, back))
        };
        let clusters = clusters.into_iter().filter(|cluster| *cluster != EVERYWHERE).map(mean);
        How::Means([(EVERYWHERE, everywhere)].into_iter().chain(clusters).collect())
    }
}

impl Model {
    /// The ways' blend as one sum: each counts by its share, stretched, around where its estimates lie.
    fn text(&self, worth: &[Worth; WAYS]) -> Text {
        let mut by_text = 0.0;
        let (mut constant, mut prior, mut length) = (self.mean.mean, 0.0, 0.0);
        for (way, worth) in worth.iter().enumerate() {
            let part = worth.share * worth.stretch;
            constant -= part * self.centre(way);
            match way {
                0 => prior += part,
                1 => length += part,
                _ => by_text += part,
            }
        }
        // The regression learns what the prior misses.
        prior += by_text;
        let weights: Vec<f32> = self.weights.iter().map(|weight| by_text * weight).collect();
        Text::new(constant, prior, length, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{Prior, sketch::Reader};

    fn case(text: &str, cluster: u32) -> Case {
        let prior = Prior::shipped();
        let mut reader = Reader::default();
        reader.text(text);
        Case::new(&prior, &reader.finish(&prior.rarity), 0.0, cluster)
    }

    fn next_id() -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed).to_string()
    }

    fn outcome(model: &str, ability: f32, score: f32) -> Outcome<'_> {
        Outcome { model, ability, score }
    }

    const SMALL: f32 = 0.2;
    const LARGE: f32 = 0.8;

    fn gain(learner: &Learner, case: &Case) -> f32 {
        let taught = learner.taught(&Seen::default());
        taught.estimate(case, "large", LARGE) - taught.estimate(case, "small", SMALL)
    }

    #[test]
    fn nothing_learned_is_the_prior() {
        let asked = case("Sort these numbers.", 7);
        let learner = Learner::default();
        assert!(
            (learner.taught(&Seen::default()).estimate(&asked, "small", SMALL) - expected(SMALL, asked.hardness)).abs()
                < 1e-6
        );
    }

    #[test]
    fn a_few_outcomes_of_a_cluster_count_there_first() {
        let mut learner = Learner::default();
        for _ in 0..20 {
            learner.learn(&next_id(), case("Translate this letter.", 7), &[outcome("small", SMALL, 0.0)]);
            learner.learn(&next_id(), case("Translate this letter.", 8), &[outcome("small", SMALL, 1.0)]);
        }
        let told = |cluster| {
            learner.taught(&Seen::default()).estimate(&case("Translate this letter.", cluster), "small", SMALL)
        };
        assert!(told(7) < 0.35 && told(8) > 0.7, "{} {}", told(7), told(8));
        assert!(told(7) < told(9) && told(9) < told(8), "a new cluster lies between");
    }

    #[test]
    fn words_tell_which_text_needs_the_large_model() {
        let mut learner = Learner::default();
        let text = |hard: bool, turn: u32| {
            let topic = if hard { "the torsion of a warped lattice" } else { "the name of a garden flower" };
            format!("Tell us about {topic} number {turn} of the list")
        };
        for turn in 0..120 {
            for hard in [false, true] {
                let small = if hard { 0.0 } else { 1.0 };
                let outcomes = [outcome("small", SMALL, small), outcome("large", LARGE, 1.0)];
                learner.learn(&next_id(), case(&text(hard, turn), EVERYWHERE), &outcomes);
            }
        }
        let (hard, easy) = (case(&text(true, 900), EVERYWHERE), case(&text(false, 900), EVERYWHERE));
        assert!(gain(&learner, &hard) > gain(&learner, &easy) + 0.3);
    }

    /// The multipliers come to the solution of the normal equations: its gradient is zero.
    #[test]
    fn the_regression_is_the_exact_one() {
        let mut learner = Learner::default();
        let words = ["alpha", "beta", "gamma", "delta", "epsilon"];
        for turn in 0..60_usize {
            let text = format!("{} {} {}", words[turn % 5], words[(turn / 5) % 5], words[(turn / 3) % 5]);
            let score = if turn % 5 < 2 { 1.0 } else { 0.0 };
            learner.learn(&next_id(), case(&text, EVERYWHERE), &[outcome("small", SMALL, score)]);
        }
        learner.settle(2_000);
        let weights = &learner.models[0].weights;
        let mut gradient: Vec<f32> = weights.iter().map(|weight| RIDGE * weight).collect();
        for example in &learner.examples {
            let error = example.case.dot(weights) - example.marks[0].gain;
            example.case.add(&mut gradient, error);
        }
        let size = gradient.iter().map(|part| part * part).sum::<f32>().sqrt();
        assert!(size < 0.02, "{size}");
    }

    #[test]
    fn what_is_forgotten_leaves_the_weights() {
        let mut learner = Learner::default();
        for turn in 0..EXAMPLES_MAX {
            let score = if turn < 100 { 0.0 } else { 1.0 };
            let text = if turn < 100 { "an old topic" } else { "a new topic" };
            learner.learn(&next_id(), case(text, EVERYWHERE), &[outcome("small", SMALL, score)]);
        }
        for _ in 0..100 {
            learner.learn(&next_id(), case("a new topic", EVERYWHERE), &[outcome("small", SMALL, 1.0)]);
        }
        assert_eq!(learner.examples.len(), EXAMPLES_MAX);
        let mut sum = vec![0.0_f32; WIDTH];
        for example in &learner.examples {
            example.case.add(&mut sum, example.marks[0].multiplier);
        }
        let apart = sum.iter().zip(&learner.models[0].weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.01, "{apart}");
    }

    /// A prior that is wrong about a task is overruled, whatever it says.
    #[test]
    fn where_the_prior_does_not_help_it_does_not_count() {
        let mut learner = Learner::default();
        let text = |long: bool, turn: u32| {
            let more =
                if long { "and then the rest of it, word for word as it was said. ".repeat(8) } else { String::new() };
            format!("Note {turn}. {more}")
        };
        for turn in 0..300 {
            let long = turn % 2 == 0;
            // Here the short ones are hard: the length leads the wrong way.
            let small = if long { 1.0 } else { 0.0 };
            let outcomes = [outcome("small", SMALL, small), outcome("large", LARGE, 1.0)];
            learner.learn(&next_id(), case(&text(long, turn), EVERYWHERE), &outcomes);
        }
        assert!(
            gain(&learner, &case(&text(false, 1_000), EVERYWHERE))
                > gain(&learner, &case(&text(true, 1_000), EVERYWHERE))
        );
    }

    #[test]
    fn what_is_said_of_a_request_again_takes_the_place_of_what_was_said() {
        let mut learner = Learner::default();
        for turn in 0..80 {
            learner.learn(
                "the same",
                case("a topic", EVERYWHERE),
                &[outcome("small", SMALL, if turn < 79 { 1.0 } else { 0.0 })],
            );
        }
        assert_eq!((learner.examples(), learner.models[0].labels), (1, 1));
        assert!(learner.models[0].weights.iter().map(|weight| weight.abs()).fold(0.0, f32::max) < 1.0);
    }

    #[test]
    fn what_is_taught_travels_as_text() {
        let mut learner = Learner::default();
        for turn in 0..60 {
            let outcomes = [outcome("large", LARGE, 1.0), outcome("small", SMALL, 0.0)];
            let some = if turn < 10 { &outcomes[..] } else { &outcomes[1..] };
            learner.learn(&next_id(), case(&format!("topic {turn}"), turn % 3), some);
        }
        let taught = learner.taught(&Seen::default());
        assert!(matches!((&taught.models[0].how, &taught.models[1].how), (How::Means(_), How::Text(_))));
        let read = Taught::of_text(&taught.to_text()).expect("as it was written");
        assert!(read.models == taught.models && read.version.len() == 8);
        for broken in ["", "x.*", "x.AAAA", taught.to_text().get(..100).expect("long")] {
            assert_eq!(Taught::of_text(broken), None);
        }
        let asked = case("What a strange question, is it not?", 9);
        assert_eq!(Case::of_text(&asked.to_text()), Some(asked));
        assert_eq!(Case::of_text("AAAA"), None);
    }

    #[test]
    fn models_and_cells_are_bounded() {
        let mut learner = Learner::default();
        for turn in 0..200_u32 {
            let name = format!("model-{turn}");
            learner.learn(&next_id(), case("x", turn + 1), &[outcome(&name, SMALL, 1.0)]);
        }
        assert_eq!(learner.models.len(), MODELS_MAX);
        assert!(learner.cells.len() <= CELLS_MAX);
        // Names that were only made up do not keep real ones out for good.
        for _ in 0..EXAMPLES_MAX {
            learner.learn(&next_id(), case("x", EVERYWHERE), &[outcome("model-0", SMALL, 1.0)]);
        }
        learner.learn(&next_id(), case("x", EVERYWHERE), &[outcome("a real one", SMALL, 1.0)]);
        assert!(learner.models.len() == MODELS_MAX && learner.models.iter().any(|model| model.name == "a real one"));
    }
}
