//! `cost-first`: the cheapest expected cost.
use super::{Candidate, Field};

pub fn score(candidate: &Candidate, field: &Field) -> f64 {
    1.0 - Field::place(field.cost, candidate.log_cost())
}
