//! What another mode or other prices would have chosen for the requests of the past.
//!
//! Each request is planned again by the worker's own code, from the figures that are kept of it, a catalog, and what the records tell of
//! deployments. Of a deployment that was a candidate then, quality, time and share of good answers are those of then; of any other they
//! are what its other requests tell, else what is taken for usual. Costs are those of the catalog that is asked about.
use crate::Decided;
use megarouter::{
    analysis::{Depth, Signals, Task},
    catalog::{Catalog, When},
    chat::Effort,
    endpoint::{Overrides, Surface},
    id::Dice,
    mode::Mode,
    money::Nanos,
    price,
    quality::{Checks, ability, case::Case, expected},
    route::{
        Allowed, Candidate, Question,
        decision::{Field, Hints, Judged, Terms, Why},
        plan,
        record::Kept,
    },
    world::{Credential, Reach, Settings, World},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, rc::Rc};

/// What a deployment's other requests tell of it.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    count: f64,
    log_time: f64,
    success: f64,
    /// By how much its quality was above the prior's.
    gain: f64,
}

/// Figures of a choice, summed over requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// Expected, in US dollars.
    pub cost: f64,
    /// Expected until the answer is whole.
    pub seconds: f64,
    pub quality: f64,
}

impl Sum {
    fn take(&mut self, kept: &Kept) {
        self.cost += usd(kept.features.expected);
        self.seconds += kept.features.log_time.exp() / 1_000.0;
        self.quality += kept.features.quality;
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub requests: usize,
    /// Of no use here: their figures cannot be read, or nothing could serve them now.
    pub skipped: usize,
    /// Left to chance then, to explore or as control: no choice to compare with.
    pub drawn: usize,
    pub was: Sum,
    pub would: Sum,
    /// From which deployment to which, and how often.
    pub moves: BTreeMap<(String, String), usize>,
    /// Requests that went where they would go, weighted by one over the chance of it: the sums of weights, of their squares, and the
    /// weighted sums of what they really cost.
    pub same: usize,
    weights: f64,
    weights_square: f64,
    real_cost: f64,
    /// The same of those of which a check or a look at their end tells whether they held.
    checked_weights: f64,
    checked_passed: f64,
}

/// Asks what would have been, under a mode (that of each request where there is none) and a catalog.
pub fn backtest(rows: &[Decided], catalog: &Rc<Catalog>, mode: Option<Mode>) -> Report {
    let reach = |id: &str| (id.to_owned(), Reach { base_url: String::new(), credentials: vec![Credential::None] });
    let providers = catalog.deployments().iter().map(|deployment| reach(&deployment.provider.id)).collect();
    let settings = Rc::new(Settings { reach: providers, x402: None });
    let world = World { catalog: Rc::clone(catalog), settings, ..World::default() };
    let habits = habits(rows, catalog);
    let mut report = Report::default();
    for row in rows {
        if matches!(row.record.choice.why, Why::Explored | Why::Control) {
            report.drawn += 1;
            continue;
        }
        let mut chosen = row.record.candidates.get(row.record.choice.place).cloned();
        if let (Some(chosen), Why::Warm) = (&mut chosen, row.record.choice.why) {
            warm(chosen);
        }
        match (&chosen, would(row, &world, &habits, mode)) {
            (Some(chosen), Some(other)) => report.take(row, chosen, &other),
            _ => report.skipped += 1,
        }
    }
    report
}

fn habits(rows: &[Decided], catalog: &Catalog) -> BTreeMap<String, Habit> {
    let mut habits: BTreeMap<String, Habit> = BTreeMap::new();
    for row in rows {
        let Some(case) = Case::of_text(&row.call.case) else { continue };
        for kept in &row.record.candidates {
            let Some(deployment) = catalog.deployment(&kept.id) else { continue };
            let prior = f64::from(expected(ability(deployment), case.hardness));
            let habit = habits.entry(kept.id.clone()).or_default();
            habit.count += 1.0;
            habit.log_time += kept.features.log_time;
            habit.success += kept.features.success;
            habit.gain += kept.features.quality - prior;
        }
    }
    habits
}

/// Who would be asked first.
fn would(row: &Decided, world: &World, habits: &BTreeMap<String, Habit>, mode: Option<Mode>) -> Option<Kept> {
    let record = &row.record;
    let case = Case::of_text(&row.call.case)?;
    let mode = mode.unwrap_or(record.terms.mode);
    // What the key might not use or could not pay then is no choice now.
    let allowed = record.allowed.iter().filter_map(|place| record.candidates.get(*place));
    let mut candidates: Vec<Kept> = allowed.filter_map(|kept| repriced(kept, row, &world.catalog)).collect();
    let refused = |id: &String| {
        record.candidates.iter().enumerate().any(|(place, kept)| kept.id == *id && !record.allowed.contains(&place))
    };
    // A request that may go elsewhere as well is planned as if it came now.
    if !record.asked.narrowed {
        for other in planned(row, &case, world, mode) {
            let id = &other.deployment.id;
            if !refused(id) && candidates.iter().all(|kept| kept.id != *id) {
                candidates.push(usual(&other, habits));
            }
        }
    }
    let field = Field::of(&candidates, record.terms.field.weights);
    let terms = Terms { mode, field, in_given_order: false, explore: 0.0, control: 0.0, ..record.terms };
    terms.rank(&mut candidates);
    // A session stays with its cache now as then.
    let all: Vec<usize> = (0..candidates.len()).collect();
    let choice = terms.choose(&candidates, &Hints { allowed: &all, warm: &record.warm, pool: &[] })?;
    let mut chosen = candidates.into_iter().nth(choice.place)?;
    if choice.why == Why::Warm {
        warm(&mut chosen);
    }
    Some(chosen)
}

/// Expects the price of a cached prompt.
fn warm(kept: &mut Kept) {
    #[expect(clippy::cast_possible_truncation, reason = "an expectation, not an amount")]
    let expected = kept.features.log_cost_warm.exp() as i64;
    kept.features.expected = Nanos(expected);
}

/// A candidate of then at the prices of a catalog. `None` where that does not sell it any more.
fn repriced(kept: &Kept, row: &Decided, catalog: &Catalog) -> Option<Kept> {
    let mut kept = kept.clone();
    let provider = kept.id.split_once('/').map_or("", |(provider, _)| provider);
    if row.call.catalog_id == catalog.id || catalog.provider(provider).is_none() {
        // Nothing has changed; or it is an organisation's own, whose prices no catalog knows.
        return Some(kept);
    }
    let deployment = catalog.deployment(&kept.id)?;
    let tier = megarouter::chat::ServiceTier::of_word(&row.call.service_tier);
    let when = When { at: row.at, tier };
    let asked = row.record.asked;
    kept.features.expected = price::expected(&deployment.rates, when, asked.prompt_tokens, kept.output_tokens);
    let saved = kept.features.log_cost_warm - kept.features.log_cost;
    kept.features.log_cost = nanos(kept.features.expected).max(1.0).ln();
    // What a cached prompt saves is taken to be the same part.
    kept.features.log_cost_warm = kept.features.log_cost + saved;
    Some(kept)
}

fn planned(row: &Decided, case: &Case, world: &World, mode: Mode) -> Vec<Candidate> {
    let asked = row.record.asked;
    let depth = match asked.depth {
        0 => Depth::None,
        1 => Depth::Low,
        _ => Depth::High,
    };
    let signals = Signals {
        needs: asked.needs,
        task: Task::Chat,
        case: case.clone(),
        depth,
        // What was filled in is filled in again; what the caller asked for has the same depth.
        effort: None::<Effort>,
        tier_is_open: true,
        priority: asked.priority,
        prompt_tokens: asked.prompt_tokens,
        longest_prompt_tokens: asked.prompt_tokens,
        prompt_tokens_max: asked.prompt_tokens,
        output_tokens: asked.output_tokens,
        choices: asked.choices,
    };
    let overrides = Overrides {
        mode: Some(mode),
        weights: Some(row.record.terms.field.weights),
        priority: asked.priority,
        ..Overrides::default()
    };
    let question = Question {
        model: "auto",
        signals: &signals,
        overrides: &overrides,
        allowed: &Allowed::default(),
        output_cap: None,
        surface: Surface::ChatCompletions,
        stream: false,
        checks: Checks::default(),
        when: When { at: row.at, tier: None },
        now: row.at,
        seed: row.record.terms.seed,
    };
    plan(&question, world, &mut Dice::new(0)).map_or_else(|_| Vec::new(), |plan| plan.candidates)
}

/// A candidate that was none then, with what its other requests tell.
fn usual(candidate: &Candidate, habits: &BTreeMap<String, Habit>) -> Kept {
    let (id, mut features) = (candidate.deployment.id.clone(), candidate.features);
    if let Some(habit) = habits.get(&id).filter(|habit| habit.count > 0.0) {
        features.log_time = habit.log_time / habit.count;
        features.success = habit.success / habit.count;
        features.quality = (features.quality + habit.gain / habit.count).clamp(0.0, 1.0);
    }
    Kept { id, features, judged: Judged::default(), output_tokens: candidate.output_tokens }
}

impl Report {
    fn take(&mut self, row: &Decided, chosen: &Kept, would: &Kept) {
        self.requests += 1;
        self.was.take(chosen);
        self.would.take(would);
        if chosen.id != would.id {
            *self.moves.entry((chosen.id.clone(), would.id.clone())).or_default() += 1;
            return;
        }
        let weight = 1.0 / row.record.choice.propensity.max(1e-6);
        self.same += 1;
        self.weights += weight;
        self.weights_square += weight * weight;
        self.real_cost += weight * usd(row.cost);
        let verdict = row.call.attempts.first().map_or("", |first| first.verdict.as_str());
        if !verdict.is_empty() {
            self.checked_weights += weight;
            self.checked_passed += if verdict == "passed" { weight } else { 0.0 };
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let of = |sum: &Sum| {
            let count = count(self.requests).max(1.0);
            json!({"mean_cost_usd": format!("{:.9}", sum.cost / count), "mean_seconds": rounded(sum.seconds / count),
                "mean_quality": rounded(sum.quality / count)})
        };
        let moves: Vec<Value> =
            self.moves.iter().map(|((from, to), times)| json!({"from": from, "to": to, "requests": times})).collect();
        json!({
            "requests": self.requests,
            "skipped": self.skipped,
            "drawn": self.drawn,
            "was": of(&self.was),
            "would": of(&self.would),
            "cost_change": self.change(|sum| sum.cost),
            "seconds_change": self.change(|sum| sum.seconds),
            "quality_change": rounded((self.would.quality - self.was.quality) / count(self.requests).max(1.0)),
            "moves": moves,
            "off_policy": {
                "requests": self.same,
                "effective_requests": rounded(self.weights * self.weights / self.weights_square.max(f64::MIN_POSITIVE)),
                "mean_real_cost_usd": format!("{:.9}", self.real_cost / self.weights.max(f64::MIN_POSITIVE)),
                "passed": (self.checked_weights > 0.0).then(|| rounded(self.checked_passed / self.checked_weights)),
            },
        })
    }

    fn change(&self, of: fn(&Sum) -> f64) -> f64 {
        rounded(of(&self.would) / of(&self.was).max(f64::MIN_POSITIVE) - 1.0)
    }

    /// As lines to read.
    pub fn to_text(&self, undecided: usize) -> String {
        let (count, mut text) = (count(self.requests).max(1.0), String::new());
        let mut say = |line: String| text.extend([line.as_str(), "\n"]);
        say(format!(
            "{} decisions; {} were left to chance, {undecided} rows have none, {} cannot be planned again",
            self.requests, self.drawn, self.skipped
        ));
        if self.requests == 0 {
            return text;
        }
        say("                       as it was      as it would be    change".to_owned());
        let (was, would) = (self.was, self.would);
        say(format!(
            "cost, USD a request    {:<14.9} {:<17.9} {:+.1} %",
            was.cost / count,
            would.cost / count,
            100.0 * self.change(|sum| sum.cost)
        ));
        say(format!(
            "time, s to the whole   {:<14.2} {:<17.2} {:+.1} %",
            was.seconds / count,
            would.seconds / count,
            100.0 * self.change(|sum| sum.seconds)
        ));
        say(format!(
            "quality, 0 to 1        {:<14.3} {:<17.3} {:+.3}",
            was.quality / count,
            would.quality / count,
            (would.quality - was.quality) / count
        ));
        let mut moves: Vec<_> = self.moves.iter().collect();
        moves.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let elsewhere: usize = self.moves.values().sum();
        say(format!("{elsewhere} would go elsewhere{}", if elsewhere > 0 { ", most of them:" } else { "" }));
        for ((from, to), times) in moves.into_iter().take(8) {
            say(format!("  {times:>6}  {from} -> {to}"));
        }
        let told = self.to_json();
        say(format!(
            "{} went where they would go; weighted by their chance (worth {} at random) they really cost {} USD each",
            self.same,
            told.pointer("/off_policy/effective_requests").map_or_else(String::new, ToString::to_string),
            told.pointer("/off_policy/mean_real_cost_usd").and_then(Value::as_str).unwrap_or_default(),
        ));
        say("All but the last line are estimates: what was expected of each choice, not what it would have brought."
            .into());
        text
    }
}

fn usd(amount: Nanos) -> f64 {
    nanos(amount) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
fn nanos(amount: Nanos) -> f64 {
    amount.0 as f64
}

#[expect(clippy::cast_precision_loss, reason = "requests")]
fn count(requests: usize) -> f64 {
    requests as f64
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
