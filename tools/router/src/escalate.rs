//! Verified escalation in a pool: two cheap models answer, and where they disagree the strong one is asked as well.
use crate::{data::Row, judge::Judged, score::Policy};

/// The policies of a sweep of how sure the cheap models must look before they are tried, for the two cheapest models that are
/// half as good as the strong one on the labelled rows.
pub fn policies(judged: &Judged<'_>, expected: &dyn Fn(&Row, usize) -> Option<f64>) -> Vec<Policy> {
    let strong = judged.field.strong;
    let score = |row: &Row, model: usize| f64::from(row.scores[judged.field.columns[model]].unwrap_or_default());
    let mean_score = |model: usize| judged.labelled.iter().map(|row| score(row, model)).sum::<f64>();
    let mean_cost = |model: usize| judged.labelled.iter().filter_map(|row| expected(row, model)).sum::<f64>();
    let good = |model: &usize| *model != strong && mean_score(*model) >= 0.5 * mean_score(strong);
    let mut cheap: Vec<usize> = (0..judged.field.columns.len()).filter(good).collect();
    // By what an answer costs for each that is right.
    cheap.sort_by(|a, b| (mean_cost(*a) / mean_score(*a)).total_cmp(&(mean_cost(*b) / mean_score(*b))));
    let mut policies = Vec::new();
    for (place, first) in cheap.iter().enumerate().take(6) {
        for second in cheap.iter().skip(place + 1).take(5) {
            let bounds = (0..=20).flat_map(|low| (low..=21).map(move |high| (low, high)));
            policies.extend(
                bounds.map(|(low, high)| {
                    policy(judged, (*first, *second), f64::from(low) / 20.0, f64::from(high) / 20.0)
                }),
            );
        }
    }
    policies
}

/// Below the floor of hope the strong model is asked at once; from `trust` on the first cheap one alone.
fn policy(judged: &Judged<'_>, (first, second): (usize, usize), floor: f64, trust: f64) -> Policy {
    let strong = judged.field.strong;
    let cost = |row: &Row, model: usize| judged.field.real_cost(row, model).unwrap_or(f32::NAN);
    let score = |row: &Row, model: usize| row.scores[judged.field.columns[model]].unwrap_or_default();
    let mut policy = Policy::default();
    for (row, estimates) in judged.rows.iter().zip(&judged.estimates) {
        let answer = |model: usize| row.answers[judged.field.columns[model]].as_ref();
        // One where the strong model is expected to gain nothing, none where it gains half of all there is: a text on which both are
        // likely to fail needs no second look.
        let hope = 1.0 - 2.0 * f64::from((estimates[strong] - estimates[first]).clamp(0.0, 0.5));
        let (paid, taken) = if hope < floor {
            (cost(row, strong), strong)
        } else if hope >= trust {
            (cost(row, first), first)
        } else if answer(first).is_some() && answer(first) == answer(second) {
            (cost(row, first) + cost(row, second), first)
        } else {
            (cost(row, first) + cost(row, second) + cost(row, strong), strong)
        };
        policy.paid.push(paid);
        policy.scores.push(score(row, taken));
    }
    policy
}
