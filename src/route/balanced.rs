//! `balanced`: quality as far as the task looks hard enough to need it, then price, then speed.
use super::{Candidate, Field};
use crate::endpoint::{Priority, Weights};

/// What counts how much unless a request says otherwise: urgent work may cost more, work that can wait should cost less.
pub fn weights(priority: Priority) -> Weights {
    match priority {
        Priority::Low => Weights { quality: 0.3, cost: 0.6, latency: 0.1 },
        Priority::Normal => Weights { quality: 0.5, cost: 0.3, latency: 0.2 },
        Priority::High => Weights { quality: 0.6, cost: 0.1, latency: 0.3 },
    }
}

/// The quality prior an easy request is content with, and how much more the hardest one wants.
const QUALITY_EASY: f64 = 0.3;
const QUALITY_SPAN: f64 = 0.5;

pub fn score(candidate: &Candidate, field: &Field) -> f64 {
    let weights = field.weights;
    let wanted = QUALITY_EASY + QUALITY_SPAN * field.difficulty;
    let quality = (candidate.quality / wanted).min(1.0);
    let cost = 1.0 - Field::place(field.cost, candidate.log_cost());
    let latency = 1.0 - Field::place(field.ttft, candidate.ttft_ms.max(1.0).ln());
    let whole = weights.quality + weights.cost + weights.latency;
    candidate.success * (weights.quality * quality + weights.cost * cost + weights.latency * latency) / whole
}
