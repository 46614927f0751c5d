//! What outcomes teach of models: how well each does on which text, for one organisation.
//!
//! There are several ways to estimate: the prior, the length of the text alone, and ridge regressions over the words and figures of
//! its sketch. Each is held to what comes before it learns from it, and their estimates are blended by how well they went along with
//! the outcomes so far: where the prior does not help, it does not count. A regression's weights are the sum of its examples, each with a
//! multiplier of its own; multipliers are improved one at a time (dual coordinate ascent, Shalev-Shwartz and Zhang 2013,
//! <https://jmlr.org/papers/v14/shalev-shwartz13a.html>), a few for each outcome, so that no turn is long and the sum comes to the
//! exact solution all the same.
//!
//! Until a model has [`TEXT_FROM`] outcomes only means count: those of its cluster, backed off to all of the organisation's, backed
//! off to the prior.
use super::{
    Prior, expected,
    sketch::{BUCKETS, FIGURES, Sketch},
};
use crate::id::Dice;
use std::collections::{HashMap, VecDeque};

/// Examples that are kept; the oldest is forgotten.
pub const EXAMPLES_MAX: usize = 2_000;
/// Models an account learns about.
pub const MODELS_MAX: usize = 32;
/// Outcomes of a model from which the text counts.
pub const TEXT_FROM: u32 = 50;
/// The cell of a model over all clusters, and the cluster of a request that has none.
pub const EVERYWHERE: u32 = 0;

/// Cells that are kept.
const CELLS_MAX: usize = 4_096;
/// The ridges. More doubt is better with few labels, less with many; which is found out.
const RIDGES: [f32; 3] = [3.0, 12.0, 60.0];
/// Ways to estimate: the prior, the length alone, the ridges.
pub const WAYS: usize = 2 + RIDGES.len();
/// How well each way is believed to go along with outcomes before any came: a correlation, and how many outcomes it is worth.
const BELIEF: [f32; WAYS] = [0.05, 0.05, 0.12, 0.14, 0.10];
const BELIEF_OUTCOMES: f32 = 300.0;
/// Multipliers improved for each outcome.
const REPLAYS: usize = 24;
/// What a figure of shape, the hardness and the bias weigh beside the words, whose vector has length one.
const FIGURE: f32 = 0.1;
const HARD: f32 = 2.0;
const BIAS: f32 = 2.0;
/// What being of one cluster weighs.
const CLUSTER: f32 = 1.0;
/// Outcomes a cell needs to count half, of a cluster and of all.
const DOUBT_CLUSTER: f32 = 6.0;
const DOUBT_ALL: f32 = 4.0;
/// What is left of the weight of older outcomes with each new one.
const MEMORY: f32 = 0.998;
/// Weights of one model: a word each, the figures, hardness and bias.
const WIDTH: usize = BUCKETS + FIGURES + 2;

/// A request as the learner sees it.
#[derive(Clone, Debug)]
pub struct Case {
    words: Vec<(u16, i8)>,
    figures: [f32; FIGURES + 2],
    /// How hard it looks: what the prior makes of the text and what stands around it; and of the length alone.
    pub hardness: f32,
    pub length_alone: f32,
    /// What kind of request it is, by everything but its text.
    pub cluster: u32,
}

impl Case {
    #[must_use]
    /// `structure` is how hard it looks by what stands around the text, 0 to 1.
    pub fn new(prior: &Prior, sketch: &Sketch, structure: f32, cluster: u32) -> Self {
        let harder = |hardness: f32| hardness + (1.0 - hardness) * structure;
        let hardness = harder(prior.hardness(sketch));
        let mut words: Vec<(u16, i8)> = sketch.words.iter().map(|(bucket, value)| (*bucket, fixed(*value))).collect();
        if cluster != EVERYWHERE {
            #[expect(clippy::cast_possible_truncation, reason = "the bucket is below 2^13")]
            words.push(((cluster as usize & (BUCKETS - 1)) as u16, fixed(CLUSTER)));
        }
        let mut figures = [0.0; FIGURES + 2];
        let normal = prior.normal(&sketch.shape).map(|figure| figure * FIGURE);
        let rest = [(hardness - 0.5) * HARD, BIAS];
        figures.iter_mut().zip(normal.into_iter().chain(rest)).for_each(|(figure, value)| *figure = value);
        Self { words, figures, hardness, length_alone: harder(prior.length_alone(sketch)), cluster }
    }

    fn dot(&self, weights: &[f32]) -> f32 {
        let at = |bucket: &u16| weights.get(usize::from(*bucket)).copied().unwrap_or_default();
        let words: f32 = self.words.iter().map(|(bucket, value)| float(*value) * at(bucket)).sum();
        let figures = weights.get(BUCKETS..).unwrap_or_default();
        words + self.figures.iter().zip(figures).map(|(figure, weight)| figure * weight).sum::<f32>()
    }

    fn square(&self) -> f32 {
        let words: f32 = self.words.iter().map(|(_, value)| float(*value) * float(*value)).sum();
        words + self.figures.iter().map(|figure| figure * figure).sum::<f32>()
    }

    fn add(&self, weights: &mut [f32], times: f32) {
        for (bucket, value) in &self.words {
            if let Some(weight) = weights.get_mut(usize::from(*bucket)) {
                *weight += times * float(*value);
            }
        }
        let figures = weights.get_mut(BUCKETS..).unwrap_or_default();
        figures.iter_mut().zip(self.figures).for_each(|(weight, figure)| *weight += times * figure);
    }
}

/// A value of a word in 1/127.
fn fixed(value: f32) -> i8 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let fixed = (value * 127.0).round().clamp(-127.0, 127.0) as i8;
    fixed
}

fn float(value: i8) -> f32 {
    f32::from(value) / 127.0
}

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
    multipliers: [f32; RIDGES.len()],
}

#[derive(Clone, Debug)]
struct Example {
    case: Case,
    square: f32,
    marks: Vec<Mark>,
}

/// A mean that forgets slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    weight: f32,
    mean: f32,
}

impl Mean {
    fn take(&mut self, value: f32) {
        self.weight = self.weight * MEMORY + 1.0;
        self.mean += (value - self.mean) / self.weight;
    }

    /// The mean, drawn towards `back` by as much as it is in doubt.
    fn shrunk(self, doubt: f32, back: f32) -> f32 {
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
    weights: [Vec<f32>; RIDGES.len()],
}

impl Model {
    /// One way's estimate as it is.
    fn guess(&self, way: usize, case: &Case) -> f32 {
        let by_text = |weights: &Vec<f32>| expected(self.ability, case.hardness) + case.dot(weights);
        match way {
            0 => expected(self.ability, case.hardness),
            1 => expected(self.ability, case.length_alone),
            _ => self.weights.get(way - 2).map_or(0.0, by_text),
        }
    }

    /// Where a way's estimates lie on average. A regression's lie where the outcomes do.
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
    cells: HashMap<(u32, usize), Mean>,
    examples: VecDeque<Example>,
    dice: Dice,
}

impl Default for Learner {
    fn default() -> Self {
        Self { models: Vec::new(), cells: HashMap::new(), examples: VecDeque::new(), dice: Dice::new(1) }
    }
}

impl Learner {
    /// Takes in how models did on a request.
    pub fn learn(&mut self, case: Case, outcomes: &[Outcome<'_>]) {
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
        self.examples.push_back(Example { square: case.square(), case, marks });
        if self.examples.len() > EXAMPLES_MAX {
            self.forget();
        }
        self.improve(self.examples.len().saturating_sub(1));
        for _ in 0..REPLAYS {
            let place = usize::try_from(self.dice.roll() % self.examples.len() as u64).unwrap_or_default();
            self.improve(place);
        }
    }

    fn mark(&mut self, case: &Case, outcome: &Outcome<'_>) -> Option<Mark> {
        let known = self.models.iter().position(|model| model.name == outcome.model);
        let model = match known {
            Some(place) => place,
            None if self.models.len() >= MODELS_MAX => return None,
            None => {
                self.models.push(Model {
                    name: outcome.model.to_owned(),
                    ability: outcome.ability,
                    labels: 0,
                    mean: Mean::default(),
                    trials: <[Trial; WAYS]>::default(),
                    weights: std::array::from_fn(|_| vec![0.0; WIDTH]),
                });
                self.models.len() - 1
            }
        };
        let score = outcome.score.clamp(0.0, 1.0);
        let gain = score - expected(outcome.ability, case.hardness);
        Some(Mark { model, score, gain, multipliers: [0.0; RIDGES.len()] })
    }

    fn note(&mut self, cluster: u32, mark: &Mark) {
        let place = (cluster, mark.model);
        if self.cells.len() < CELLS_MAX || self.cells.contains_key(&place) {
            self.cells.entry(place).or_default().take(mark.gain);
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

    /// The oldest example goes, and what it added to the weights.
    fn forget(&mut self) {
        let Some(oldest) = self.examples.pop_front() else { return };
        for mark in oldest.marks {
            if let Some(model) = self.models.get_mut(mark.model) {
                for (weights, multiplier) in model.weights.iter_mut().zip(mark.multipliers) {
                    oldest.case.add(weights, -multiplier);
                }
                model.labels = model.labels.saturating_sub(1);
            }
        }
    }

    /// Sets the multipliers of one example to what is best while all others stay.
    fn improve(&mut self, place: usize) {
        let Some(example) = self.examples.get_mut(place) else { return };
        for mark in &mut example.marks {
            let Some(model) = self.models.get_mut(mark.model) else { continue };
            for ((weights, multiplier), ridge) in model.weights.iter_mut().zip(&mut mark.multipliers).zip(RIDGES) {
                let missing = mark.gain - example.case.dot(weights) - ridge * *multiplier;
                let step = missing / (example.square + ridge);
                *multiplier += step;
                example.case.add(weights, step);
            }
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

    /// The quality to expect of a model on a request: the prior where nothing was learned.
    #[must_use]
    pub fn estimate(&self, case: &Case, name: &str, ability: f32) -> f32 {
        let Some(place) = self.models.iter().position(|model| model.name == name) else {
            return expected(ability, case.hardness);
        };
        match self.models.get(place) {
            Some(model) if model.labels >= TEXT_FROM => {
                let parts = self.worth().into_iter().enumerate();
                let part = |(way, worth): (usize, Worth)| {
                    worth.share * worth.stretch * (model.guess(way, case) - model.centre(way))
                };
                model.mean.mean + parts.map(part).sum::<f32>()
            }
            _ => expected(ability, case.hardness) + self.by_cells(case.cluster, place),
        }
    }

    /// By how much a model does better than the prior says, by the means alone.
    fn by_cells(&self, cluster: u32, model: usize) -> f32 {
        let cell = |cluster| self.cells.get(&(cluster, model)).copied().unwrap_or_default();
        cell(cluster).shrunk(DOUBT_CLUSTER, cell(EVERYWHERE).shrunk(DOUBT_ALL, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::sketch::Reader;

    fn case(text: &str, cluster: u32) -> Case {
        let prior = Prior::shipped();
        let mut reader = Reader::default();
        reader.text(text);
        Case::new(&prior, &reader.finish(&prior.rarity), 0.0, cluster)
    }

    fn outcome(model: &str, ability: f32, score: f32) -> Outcome<'_> {
        Outcome { model, ability, score }
    }

    const SMALL: f32 = 0.2;
    const LARGE: f32 = 0.8;

    fn gain(learner: &Learner, case: &Case) -> f32 {
        learner.estimate(case, "large", LARGE) - learner.estimate(case, "small", SMALL)
    }

    #[test]
    fn nothing_learned_is_the_prior() {
        let asked = case("Sort these numbers.", 7);
        let learner = Learner::default();
        assert!((learner.estimate(&asked, "small", SMALL) - expected(SMALL, asked.hardness)).abs() < 1e-6);
    }

    #[test]
    fn a_few_outcomes_of_a_cluster_count_there_first() {
        let mut learner = Learner::default();
        for _ in 0..20 {
            learner.learn(case("Translate this letter.", 7), &[outcome("small", SMALL, 0.0)]);
            learner.learn(case("Translate this letter.", 8), &[outcome("small", SMALL, 1.0)]);
        }
        let told = |cluster| learner.estimate(&case("Translate this letter.", cluster), "small", SMALL);
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
                learner.learn(case(&text(hard, turn), EVERYWHERE), &outcomes);
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
            learner.learn(case(&text, EVERYWHERE), &[outcome("small", SMALL, score)]);
        }
        learner.settle(2_000);
        for (place, ridge) in RIDGES.into_iter().enumerate() {
            let weights = &learner.models[0].weights[place];
            let mut gradient: Vec<f32> = weights.iter().map(|weight| ridge * weight).collect();
            for example in &learner.examples {
                let error = example.case.dot(weights) - example.marks[0].gain;
                example.case.add(&mut gradient, error);
            }
            let size = gradient.iter().map(|part| part * part).sum::<f32>().sqrt();
            assert!(size < 0.02, "ridge {ridge}: {size}");
        }
    }

    #[test]
    fn what_is_forgotten_leaves_the_weights() {
        let mut learner = Learner::default();
        for turn in 0..EXAMPLES_MAX {
            let score = if turn < 100 { 0.0 } else { 1.0 };
            let text = if turn < 100 { "an old topic" } else { "a new topic" };
            learner.learn(case(text, EVERYWHERE), &[outcome("small", SMALL, score)]);
        }
        for _ in 0..100 {
            learner.learn(case("a new topic", EVERYWHERE), &[outcome("small", SMALL, 1.0)]);
        }
        assert_eq!(learner.examples.len(), EXAMPLES_MAX);
        let mut sum = vec![0.0_f32; WIDTH];
        for example in &learner.examples {
            example.case.add(&mut sum, example.marks[0].multipliers[0]);
        }
        let apart = sum.iter().zip(&learner.models[0].weights[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
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
            learner.learn(case(&text(long, turn), EVERYWHERE), &outcomes);
        }
        assert!(
            gain(&learner, &case(&text(false, 1_000), EVERYWHERE))
                > gain(&learner, &case(&text(true, 1_000), EVERYWHERE))
        );
    }

    #[test]
    fn models_and_cells_are_bounded() {
        let mut learner = Learner::default();
        for turn in 0..200_u32 {
            let name = format!("model-{turn}");
            learner.learn(case("x", turn + 1), &[outcome(&name, SMALL, 1.0)]);
        }
        assert_eq!(learner.models.len(), MODELS_MAX);
        assert!(learner.cells.len() <= CELLS_MAX);
    }
}
