//! `balanced`: the best sum of quality, price and speed, each at its weight. What looks hard gains by an abler model and gets one;
//! what looks easy does not, and gets a cheap one.
use super::decision::{Features, Field};
use crate::endpoint::{Priority, Weights};

/// What counts how much unless a request says otherwise: urgent work may cost more, work that can wait should cost less.
pub fn weights(priority: Priority) -> Weights {
    match priority {
        Priority::Low => Weights { quality: 0.3, cost: 0.6, latency: 0.1 },
        Priority::Normal => Weights { quality: 0.5, cost: 0.3, latency: 0.2 },
        Priority::High => Weights { quality: 0.6, cost: 0.1, latency: 0.3 },
    }
}

/// The least quality, as a share of the best there is.
pub const FLOOR: f64 = 0.8;

pub fn score(candidate: &Features, field: &Field) -> f64 {
    let weights = field.weights;
    let cost = 1.0 - Field::place(field.cost, candidate.log_cost);
    let latency = 1.0 - Field::place(field.time, candidate.log_time);
    let whole = weights.quality + weights.cost + weights.latency;
    let sum = weights.quality * candidate.quality + weights.cost * cost + weights.latency * latency;
    candidate.success * sum / whole
}
