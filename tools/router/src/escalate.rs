//! Verified escalation in a pool: two cheap models answer, and where they disagree the strong one is asked as well.
use crate::{data::Row, judge::Judged, score::Point};

/// Cost and quality over a sweep of how sure the cheap models must look before they are tried, for the two cheapest models that are
/// half as good as the strong one on the labelled rows.
pub fn points(judged: &Judged<'_>, expected: &dyn Fn(&Row, usize) -> Option<f64>) -> Vec<Point> {
    let strong = judged.field.strong;
    let score = |row: &Row, model: usize| f64::from(row.scores[judged.field.columns[model]].unwrap_or_default());
    let cost = |row: &Row, model: usize| judged.field.real_cost(row, model).map_or(f64::NAN, f64::from);
    let mean_score = |model: usize| judged.labelled.iter().map(|row| score(row, model)).sum::<f64>();
    let mean_cost = |model: usize| judged.labelled.iter().filter_map(|row| expected(row, model)).sum::<f64>();
    let good = |model: &usize| *model != strong && mean_score(*model) >= 0.5 * mean_score(strong);
    let mut cheap: Vec<usize> = (0..judged.field.columns.len()).filter(good).collect();
    // By what an answer costs for each that is right.
    cheap.sort_by(|a, b| (mean_cost(*a) / mean_score(*a)).total_cmp(&(mean_cost(*b) / mean_score(*b))));
    let most: f64 = judged.rows.iter().map(|row| cost(row, strong)).sum();
    let best: f64 = judged.rows.iter().map(|row| score(row, strong)).sum();
    let mut points = Vec::new();
    for (place, first) in cheap.iter().enumerate().take(6) {
        for second in cheap.iter().skip(place + 1).take(5) {
            points.extend((0..=20).flat_map(|low| (low..=21).map(move |high| (low, high))).map(|(low, high)| {
                let (floor, trust) = (f64::from(low) / 20.0, f64::from(high) / 20.0);
                let (mut paid, mut reached) = (0.0, 0.0);
                for (place, row) in judged.rows.iter().enumerate() {
                    let hope = f64::from(judged.estimates[place][*first]);
                    if hope < floor {
                        paid += cost(row, strong);
                        reached += score(row, strong);
                        continue;
                    }
                    if hope >= trust {
                        paid += cost(row, *first);
                        reached += score(row, *first);
                        continue;
                    }
                    paid += cost(row, *first) + cost(row, *second);
                    let answer = |model: usize| row.answers[judged.field.columns[model]].as_ref();
                    if answer(*first).is_some() && answer(*first) == answer(*second) {
                        reached += score(row, *first);
                    } else {
                        paid += cost(row, strong);
                        reached += score(row, strong);
                    }
                }
                (paid / most, reached / best)
            }));
        }
    }
    points
}
