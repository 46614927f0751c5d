//! `latency-first`: the shortest time until the answer is whole, by how deployments did lately; price decides between equals.
use super::decision::{Features, Field};

/// The least quality, as a share of the best there is.
pub const FLOOR: f64 = 0.5;
/// How little price counts: it only breaks ties.
const COST: f64 = 0.001;

pub fn score(candidate: &Features, field: &Field) -> f64 {
    let slow = Field::place(field.time, candidate.log_time);
    1.0 - slow - COST * Field::place(field.cost, candidate.log_cost)
}
