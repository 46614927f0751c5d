//! `cost-first`: the cheapest expected cost among those whose answer is likely to be of use.
use super::decision::{Features, Field};

/// The least quality, as a share of the best there is.
pub const FLOOR: f64 = 0.5;

pub fn score(candidate: &Features, field: &Field) -> f64 {
    1.0 - Field::place(field.cost, candidate.log_cost)
}
