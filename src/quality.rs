//! How good an answer a deployment is likely to give, before anything is known of it: a prior, 0 to 1.
//!
//! Today the prior is the market's own estimate: the logarithm of the blended price, from $0.05 to $50 per million tokens.
//! It says which of two models is likely the better one, not by how much, and it learns nothing yet.
use crate::catalog::{Deployment, When};

/// The price at which the prior is 0, and the one at which it is 1, in dollars per million tokens.
const CHEAPEST: f64 = 0.05;
const DEAREST: f64 = 50.0;

/// The prior of a deployment.
#[must_use]
pub fn prior(deployment: &Deployment) -> f64 {
    let rates = deployment.rates.at(0, When::default());
    #[expect(clippy::cast_precision_loss, reason = "a rank, not an amount")]
    let blended = (3 * rates.input.0 + rates.output.0) as f64 / 4.0 / 1e6;
    ((blended.max(CHEAPEST) / CHEAPEST).ln() / (DEAREST / CHEAPEST).ln()).clamp(0.0, 1.0)
}
