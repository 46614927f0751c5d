//! The protocol: one file of labelled prompts, judged by the worker's own estimate of quality. The first rows reveal their scores
//! through the feedback path; the rest reveal nothing.
use crate::{
    baselines,
    data::{Data, Failure, Prices, Row},
    perturb,
    score::{self, Pair, Point, Policy, apgr, cost_at, interval, mean, mixed_cost_at, order, share_for},
};
use megarouter::{
    analysis::analyse,
    chat::Request,
    endpoint::Overrides,
    quality::{
        Prior,
        case::Case,
        expected,
        learner::{Learner, Outcome},
        seen::Seen,
        taught::Taught,
    },
};
use serde_json::{Value, json};
use std::time::Instant;

/// What is asked.
pub struct Asked {
    pub models: Vec<String>,
    /// The strong model: the last of a pair, the target of a pool.
    pub strong: String,
    pub labels: usize,
    pub escalate: bool,
    pub seed: u64,
    /// The rows come as they are in the file; else shuffled by the seed.
    pub shuffled: bool,
}

/// The models of the question, with what they cost and are taken to be able to.
pub struct Field {
    /// Columns of the data.
    pub columns: Vec<usize>,
    pub names: Vec<String>,
    pub abilities: Vec<f32>,
    pub strong: usize,
    pub prices: Vec<Option<(f32, f32)>>,
    pub hidden: Vec<f32>,
}

/// Ability of a pair's models that have no price.
const WEAK: f32 = 0.3;
const STRONG: f32 = 0.7;

impl Field {
    fn of(asked: &Asked, data: &Data, prices: &Prices) -> Result<Self, Failure> {
        let column = |name: &String| {
            let found = data.models.iter().position(|model| model == name);
            found.ok_or_else(|| format!("{name:?} is no model of this file. There are: {}", data.models.join(", ")))
        };
        let columns = asked.models.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let strong = asked.models.iter().position(|name| *name == asked.strong);
        let strong = strong.ok_or_else(|| format!("TARGET {:?} is not in the pool", asked.strong))?;
        let mut abilities: Vec<f32> = asked.models.iter().map(|name| prices.ability(name).unwrap_or(WEAK)).collect();
        abilities[strong] = prices.ability(&asked.strong).unwrap_or(STRONG);
        // Who asks says which of two is the strong one.
        if let ([weak, _], true) = (abilities.as_slice(), asked.models.len() == 2)
            && abilities[strong] < weak + 0.1
        {
            abilities[strong] = weak + 0.1;
        }
        Ok(Self {
            columns,
            names: asked.models.clone(),
            abilities,
            strong,
            prices: asked.models.iter().map(|name| prices.of(name)).collect(),
            hidden: asked.models.iter().map(|name| prices.hidden(name)).collect(),
        })
    }

    /// What a model's answer to a row cost, in dollars; by the number of output tokens given where the row does not tell.
    fn cost(&self, row: &Row, model: usize, output_tokens: f32) -> Option<f32> {
        let (input, output) = self.prices[model]?;
        Some((row.input_tokens * input + output_tokens * output * self.hidden[model]) / 1e6)
    }

    /// The real cost.
    pub fn real_cost(&self, row: &Row, model: usize) -> Option<f32> {
        let column = self.columns[model];
        row.costs[column].or_else(|| self.cost(row, model, row.output_tokens[column].unwrap_or(OUTPUT_TOKENS)))
    }
}

/// An answer's length where nothing is known.
const OUTPUT_TOKENS: f32 = 200.0;

/// The judged rows with all that was estimated of them.
pub struct Judged<'a> {
    pub field: Field,
    pub labelled: Vec<&'a Row>,
    pub rows: Vec<&'a Row>,
    /// For each row, the quality expected of each model.
    pub estimates: Vec<Vec<f32>>,
    pub taught: Taught,
}

/// The weights that judge a row: those that never saw its file.
pub type PriorOf<'p> = &'p dyn Fn(&Row) -> &'p Prior;

/// Runs the protocol.
///
/// # Errors
/// A question the file has no answer to.
pub fn judge(asked: &Asked, data: &Data, prior: PriorOf<'_>, prices: &Prices) -> Result<Value, Failure> {
    let field = Field::of(asked, data, prices)?;
    let whole = |row: &&Row| field.columns.iter().all(|column| row.scores[*column].is_some());
    let mut rows: Vec<&Row> = data.rows.iter().filter(whole).collect();
    if asked.shuffled {
        rows = order(&vec![0.0; rows.len()], asked.seed).into_iter().map(|place| rows[place]).collect();
    }
    if rows.len() < asked.labels + 10 {
        return Err(format!("{} rows have scores of all models; {} labels leave too few", rows.len(), asked.labels));
    }
    let judged = Judged::new(field, rows, asked.labels, prior);
    let mut told = json!({
        "n": judged.rows.len(), "labels": asked.labels, "models": judged.field.names, "strong": asked.strong,
        "decision_us": judged.decision_us(prior), "decision_16kb_us": judged.decision_16kb_us(prior),
        "flip_rate": Value::Null,
    });
    if judged.field.columns.len() == 2 {
        judged.pair_told(asked, prior, &mut told);
    } else {
        judged.pool_told(asked, &mut told);
    }
    Ok(told)
}

impl<'a> Judged<'a> {
    fn new(field: Field, mut rows: Vec<&'a Row>, labels: usize, prior: PriorOf<'_>) -> Self {
        let judged = rows.split_off(labels);
        let mut judged = Self { field, labelled: rows, rows: judged, estimates: Vec::new(), taught: Taught::default() };
        judged.taught = judged.learned(prior, false);
        judged.estimates = judged.rows.iter().map(|row| judged.estimate(&case(row, prior(row)))).collect();
        judged
    }

    /// What the labelled rows teach, as it would travel to where requests are decided. With `checked` a model counts as good as what
    /// the caller gets: an answer that is not valid by its schema is asked of the strong model again.
    fn learned(&self, prior: PriorOf<'_>, checked: bool) -> Taught {
        let field = &self.field;
        let mut learner = Learner::default();
        for (number, row) in self.labelled.iter().enumerate() {
            let outcome = |model: usize| {
                let again = checked && row.valid[field.columns[model]] == Some(false);
                let served = if again { field.strong } else { model };
                let score = row.scores[field.columns[served]].unwrap_or_default();
                Outcome { model: field.names[model].as_str(), ability: field.abilities[model], score }
            };
            let outcomes: Vec<_> = (0..field.columns.len()).map(outcome).collect();
            learner.learn(&number.to_string(), case(row, prior(row)), &outcomes);
        }
        Taught::of_text(&learner.taught(&Seen::default()).to_text()).unwrap_or_default()
    }

    fn estimate(&self, case: &Case) -> Vec<f32> {
        self.estimate_by(&self.taught, case)
    }

    fn estimate_by(&self, taught: &Taught, case: &Case) -> Vec<f32> {
        let field = &self.field;
        let of = |model: usize| taught.estimate(case, &field.names[model], field.abilities[model]);
        (0..field.columns.len()).map(of).collect()
    }

    /// The order in which rows go to the strong model at once where the weak one's answers are checked.
    fn ranked_with_checks(&self, prior: PriorOf<'_>, seed: u64) -> Vec<usize> {
        let taught = self.learned(prior, true);
        let of = |row: &&Row| self.estimate_by(&taught, &case(row, prior(row)));
        let gains: Vec<f32> =
            self.rows.iter().map(of).map(|of| of[self.field.strong] - of[1 - self.field.strong]).collect();
        order(&gains, seed)
    }

    /// How much better the strong model of a pair is expected to do.
    fn gain(&self, case: &Case) -> f32 {
        let estimate = self.estimate(case);
        estimate[self.field.strong] - estimate[1 - self.field.strong]
    }

    /// What the models of a pair scored.
    fn pair(&self) -> Pair {
        let column = |model: usize| {
            let column = self.field.columns[model];
            self.rows.iter().map(|row| row.scores[column].unwrap_or_default()).collect()
        };
        Pair { weak: column(1 - self.field.strong), strong: column(self.field.strong) }
    }

    fn pair_told(&self, asked: &Asked, prior: PriorOf<'_>, told: &mut Value) {
        let pair = self.pair();
        let gains: Vec<f32> =
            self.estimates.iter().map(|of| of[self.field.strong] - of[1 - self.field.strong]).collect();
        let ranked = order(&gains, asked.seed);
        let (low, high) = interval(&pair, &ranked, asked.seed);
        told["quality"] = json!({"weak": rounded(mean(&pair.weak)), "strong": rounded(mean(&pair.strong))});
        told["apgr"] = rounded(apgr(&pair, &ranked)).into();
        told["ci"] = json!([rounded(low), rounded(high)]);
        told["cpt50"] = share_for(&pair, &ranked, 0.5).map(rounded).into();
        told["cpt80"] = share_for(&pair, &ranked, 0.8).map(rounded).into();
        let paid = if asked.escalate { &self.ranked_with_checks(prior, asked.seed) } else { &ranked };
        told["cost_at"] = costs_told(&self.pair_points(&pair, paid, asked.escalate), cost_at);
        told["held"] = self.held_told(&pair, &ranked, asked.seed);
        let (flip_rate, flips) = self.flips(prior, &gains);
        told["flip_rate"] = rounded(flip_rate).into();
        told["flips"] = flips;
        let mut baselines = serde_json::Map::new();
        for (name, scores) in baselines::pair(self, &pair, prior) {
            let of_baseline = order(&scores, asked.seed);
            let points = self.pair_points(&pair, &of_baseline, false);
            let (low, high) = score::interval_between(&pair, &ranked, &of_baseline, asked.seed);
            baselines.insert(
                name.to_owned(),
                json!({
                    "apgr": rounded(apgr(&pair, &of_baseline)), "cost_at": costs_told(&points, cost_at),
                    "router_above": json!([rounded(low), rounded(high)]),
                }),
            );
        }
        let singles = self.singles();
        baselines.insert("static_mix".into(), json!({"apgr": 0.5, "cost_at": costs_told(&singles, mixed_cost_at)}));
        told["baselines"] = baselines.into();
        if asked.escalate {
            told["escalation"] = self.escalation_told(&pair, &ranked);
        }
    }

    /// The shares of strong calls that reach parts of the strong model's quality, on rows they were not set on.
    fn held_told(&self, pair: &Pair, ranked: &[usize], seed: u64) -> Value {
        let column = self.field.columns[self.field.strong];
        let tokens = |row: &&Row| {
            let output = row.output_tokens[column].unwrap_or(OUTPUT_TOKENS);
            (f64::from(row.input_tokens), f64::from(output))
        };
        let tokens: Vec<(f64, f64)> = self.rows.iter().map(tokens).collect();
        let at = |quality: f64| {
            let held = score::held(pair, ranked, &tokens, quality, seed);
            json!({
                "calls": rounded(held.calls), "input": rounded(held.input), "output": rounded(held.output),
                "quality": rounded(held.quality), "mix": rounded(held.mix),
                "ahead": [rounded(held.ahead.0), rounded(held.ahead.1)],
            })
        };
        json!({"95": at(0.95), "98": at(0.98), "100": at(1.0)})
    }

    /// Cost and quality of every share of strong calls, in parts of the strong model's. With `escalate`, an answer of the weak
    /// model that is not valid by its schema is paid for and asked for again.
    fn pair_points(&self, pair: &Pair, ranked: &[usize], escalate: bool) -> Vec<Point> {
        let (weak, strong) = (1 - self.field.strong, self.field.strong);
        let price = |row: &Row, model: usize| self.field.real_cost(row, model).map(f64::from);
        let costs: Option<Vec<(f64, f64)>> =
            self.rows.iter().map(|row| Some((price(row, weak)?, price(row, strong)?))).collect();
        let Some(costs) = costs else { return Vec::new() };
        let most: f64 = costs.iter().map(|(_, strong)| strong).sum();
        let best: f64 = pair.strong.iter().map(|score| f64::from(*score)).sum();
        let invalid = |row: usize| escalate && self.rows[row].valid[self.field.columns[weak]] == Some(false);
        let cheap = |row: usize| {
            let (weak, strong) = costs[row];
            if invalid(row) { (weak + strong, pair.strong[row]) } else { (weak, pair.weak[row]) }
        };
        let (mut cost, mut quality) = (0.0, 0.0);
        for row in 0..pair.rows() {
            let (paid, score) = cheap(row);
            cost += paid;
            quality += f64::from(score);
        }
        let mut points = vec![(cost / most, quality / best)];
        for row in ranked {
            let (paid, score) = cheap(*row);
            cost += costs[*row].1 - paid;
            quality += f64::from(pair.strong[*row]) - f64::from(score);
            points.push((cost / most, quality / best));
        }
        points
    }

    fn escalation_told(&self, pair: &Pair, ranked: &[usize]) -> Value {
        let weak = self.field.columns[1 - self.field.strong];
        let invalid = self.rows.iter().filter(|row| row.valid[weak] == Some(false)).count();
        let points = self.pair_points(pair, ranked, true);
        let first = points.first().copied().unwrap_or_default();
        json!({
            "invalid_share": rounded(invalid as f64 / self.rows.len() as f64),
            "checks_only": {"cost": rounded(first.0), "quality": rounded(first.1)},
        })
    }

    /// Cost and quality of each model alone, in parts of the strong one's. None where a price is missing.
    fn singles(&self) -> Vec<Point> {
        let alone: Option<Vec<Policy>> = (0..self.field.columns.len()).map(|model| self.alone(model)).collect();
        let alone = alone.unwrap_or_default();
        alone.iter().map(|policy| policy.point(&alone[self.field.strong], |_| true)).collect()
    }

    /// Output tokens to expect of a model: as those of its labelled rows.
    fn usual_output(&self, model: usize) -> f32 {
        let column = self.field.columns[model];
        let seen: Vec<f32> = self.labelled.iter().filter_map(|row| row.output_tokens[column]).collect();
        #[expect(clippy::cast_possible_truncation, reason = "tokens")]
        let usual = mean(&seen) as f32;
        if seen.is_empty() { OUTPUT_TOKENS } else { usual }
    }

    fn pool_told(&self, asked: &Asked, told: &mut Value) {
        let usual: Vec<f32> = (0..self.field.columns.len()).map(|model| self.usual_output(model)).collect();
        let expected = |row: &Row, model: usize| self.field.cost(row, model, usual[model]).map(f64::from);
        let Some(strong) = self.alone(self.field.strong) else { return };
        let points = |policies: &[Policy]| -> Vec<Point> {
            policies.iter().map(|policy| policy.point(&strong, |_| true)).collect()
        };
        let mut policies = self.sweep(&|place, model| f64::from(self.estimates[place][model]), &expected);
        if asked.escalate {
            let escalating = crate::escalate::policies(self, &expected);
            told["escalation"] = json!({"cost_at": costs_told(&points(&escalating), cost_at)});
            policies.extend(escalating);
        }
        told["cost_at"] = costs_told(&points(&policies), cost_at);
        let held = |quality: f64| {
            let (cost, kept) = score::chosen(&policies, &strong, quality, asked.seed);
            // Where no mix keeps as much, the strong model's cost.
            let mix = mixed_cost_at(&self.singles(), kept).map_or(1.0, rounded);
            json!({"cost": rounded(cost), "quality": rounded(kept), "mix": mix})
        };
        told["held"] = json!({"95": held(0.95), "98": held(0.98), "100": held(1.0)});
        let mut baselines = serde_json::Map::new();
        baselines.insert("static_mix".into(), json!({"cost_at": costs_told(&self.singles(), mixed_cost_at)}));
        for (name, estimates) in baselines::pool(self) {
            let policies = self.sweep(&|place, model| f64::from(estimates[place][model]), &expected);
            baselines.insert(name.to_owned(), json!({"cost_at": costs_told(&points(&policies), cost_at)}));
        }
        told["baselines"] = baselines.into();
    }

    /// One model for everything; `None` without its price.
    fn alone(&self, model: usize) -> Option<Policy> {
        let score = |row: &&Row| row.scores[self.field.columns[model]].unwrap_or_default();
        Some(Policy {
            paid: self.rows.iter().map(|row| self.field.real_cost(row, model)).collect::<Option<_>>()?,
            scores: self.rows.iter().map(score).collect(),
        })
    }

    /// The policies of a sweep of what a dollar is worth: each row goes to the model with the best quality less cost. None where a
    /// price is missing.
    fn sweep(
        &self,
        quality: &dyn Fn(usize, usize) -> f64,
        expected: &dyn Fn(&Row, usize) -> Option<f64>,
    ) -> Vec<Policy> {
        let models = 0..self.field.columns.len();
        let alone: Option<Vec<Policy>> = models.clone().map(|model| self.alone(model)).collect();
        let costs: Option<Vec<Vec<f64>>> =
            self.rows.iter().map(|row| models.clone().map(|model| expected(row, model)).collect()).collect();
        let (Some(alone), Some(costs)) = (alone, costs) else { return Vec::new() };
        let strong = self.field.strong;
        let usual = costs.iter().map(|row| row[strong]).sum::<f64>() / costs.len() as f64;
        // From a dollar that is worth everything to one that is worth nothing, in steps of 3 %.
        let worths = std::iter::once(0.0).chain((0..400).map(|step| 1e-5 * 1.03_f64.powi(step)));
        let policy = |worth: f64| {
            let mut policy = Policy::default();
            for (place, costs) in costs.iter().enumerate() {
                let value = |model: usize| quality(place, model) - worth * costs[model] / usual;
                let taken = models.clone().max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap_or(strong);
                policy.paid.push(alone[taken].paid[place]);
                policy.scores.push(alone[taken].scores[place]);
            }
            policy
        };
        worths.map(policy).collect()
    }

    /// The share of decisions at the median threshold that small changes of the text flip: the mean over the changes, and each.
    fn flips(&self, prior: PriorOf<'_>, gains: &[f32]) -> (f64, Value) {
        let mut sorted = gains.to_vec();
        sorted.sort_by(f32::total_cmp);
        let threshold = sorted[sorted.len() / 2];
        let mut told = serde_json::Map::new();
        let mut sum = 0.0;
        for (name, change) in perturb::CHANGES {
            let flipped = self.rows.iter().zip(gains).enumerate().filter(|(place, (row, gain))| {
                let request = crate::data::asking(&change(&row.prompt, *place as u64), &row.tools);
                let changed = self.gain(&seen(&request, prior(row)));
                (changed >= threshold) != (**gain >= threshold)
            });
            let share = flipped.count() as f64 / self.rows.len() as f64;
            told.insert((*name).to_owned(), rounded(share).into());
            sum += share;
        }
        (sum / perturb::CHANGES.len() as f64, told.into())
    }

    /// Microseconds of one decision on these rows, natively: the sketch and the estimates of all models.
    fn decision_us(&self, prior: PriorOf<'_>) -> f64 {
        let requests: Vec<_> = self.rows.iter().take(500).map(|row| (row.request(), prior(row))).collect();
        let begun = Instant::now();
        for (request, prior) in &requests {
            std::hint::black_box(self.estimate(&seen(request, prior)));
        }
        rounded(begun.elapsed().as_secs_f64() * 1e6 / requests.len() as f64)
    }

    fn decision_16kb_us(&self, prior: PriorOf<'_>) -> f64 {
        let mut text = String::new();
        while text.len() < 16_384 {
            let row = self.rows[text.len() % self.rows.len()];
            text.push_str(&row.prompt);
            text.push('\n');
        }
        let request = crate::data::asking(text.get(..16_384).unwrap_or(&text), &[]);
        let prior = prior(self.rows[0]);
        let begun = Instant::now();
        for _ in 0..200 {
            std::hint::black_box(self.estimate(&seen(&request, prior)));
        }
        rounded(begun.elapsed().as_secs_f64() * 1e6 / 200.0)
    }
}

/// A row as the learner sees it.
pub fn case(row: &Row, prior: &Prior) -> Case {
    seen(&row.request(), prior)
}

/// A request as the worker reads it.
fn seen(request: &Request, prior: &Prior) -> Case {
    analyse(request, &Overrides::default(), prior).case
}

/// The prior's estimate alone.
pub fn prior_gain(case: &Case, field: &Field) -> f32 {
    expected(field.abilities[field.strong], case.hardness) - expected(field.abilities[1 - field.strong], case.hardness)
}

fn costs_told(points: &[Point], cost: fn(&[Point], f64) -> Option<f64>) -> Value {
    let at = |quality: f64| cost(points, quality).map(rounded);
    json!({"95": at(0.95), "98": at(0.98), "99": at(0.99), "100": at(1.0)})
}

pub fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
