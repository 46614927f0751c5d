//! `latency-first`: the shortest recent time to the first token; price decides between equals.
use super::{Candidate, Field};

/// How little price counts: it only breaks ties.
const COST: f64 = 0.001;

pub fn score(candidate: &Candidate, field: &Field) -> f64 {
    let slow = Field::place(field.ttft, candidate.ttft_ms.max(1.0).ln());
    1.0 - slow - COST * Field::place(field.cost, candidate.log_cost())
}
