//! `availability-first`: the highest recent share of good answers; what balanced likes decides between equals.
use super::{
    balanced,
    decision::{Features, Field},
};

/// No floor: an answer is what counts.
pub const FLOOR: f64 = 0.0;
/// How much the rest counts: less than one failure in the last hundred.
const REST: f64 = 0.01;

pub fn score(candidate: &Features, field: &Field) -> f64 {
    candidate.success + REST * balanced::score(candidate, field)
}
