//! Trains and judges the worker's estimate of answer quality, by the worker's own code.
pub mod baselines;
pub mod data;
pub mod escalate;
pub mod judge;
pub mod perturb;
pub mod protocol;
pub mod report;
pub mod score;
pub mod table;
pub mod train;
