//! What choosing is worth: what the router chose lately, to draw from, and how the requests it chose for did beside those that
//! were drawn for.
use super::{Account, letter::Grant};
use crate::{
    base64,
    ledger::{Arm, CallRecord, Comparison},
    quality::{
        lift::ArmRow,
        packed::{Unpack, put_text},
    },
    table::Table,
    time::Millis,
};
use std::collections::VecDeque;

/// Choices that are drawn from, over all modes.
const CHOICES_MAX: usize = 256;
/// Deployments that are told of a pool, the most frequent.
const POOL_MAX: usize = 8;
/// Deployments that are counted, over both sides and both periods.
const ROWS_MAX: usize = 200;

/// What is counted together: four weeks. The present ones and those before are kept.
const PERIOD_MS: u64 = 28 * 86_400_000;

/// The layout of what is stored.
const LAYOUT: u8 = 1;

/// See the head of this room.
#[derive(Debug, Default)]
pub(super) struct Arms {
    /// Of the router's own choices: mode and deployment, the latest last.
    choices: VecDeque<(String, String)>,
    rows: Vec<ArmRow>,
}

impl Arms {
    /// What outlives a restart, as of a moment. The choices lose their order.
    pub fn to_text(&self, at: Millis) -> String {
        if self.rows.is_empty() && self.choices.is_empty() {
            return String::new();
        }
        let mut bytes = vec![LAYOUT];
        bytes.extend(at.0.to_le_bytes());
        let mut modes: Vec<&String> = self.choices.iter().map(|(mode, _)| mode).collect();
        modes.sort_unstable();
        modes.dedup();
        let pools: Vec<_> =
            modes.into_iter().flat_map(|mode| self.pool(mode).into_iter().map(move |one| (mode, one))).collect();
        bytes.extend(u16::try_from(pools.len()).unwrap_or(u16::MAX).to_le_bytes());
        for (mode, (deployment, times)) in pools {
            put_text(&mut bytes, mode);
            put_text(&mut bytes, &deployment);
            bytes.extend(times.to_le_bytes());
        }
        self.rows.iter().for_each(|row| row.put(&mut bytes));
        base64::url_safe(&bytes)
    }

    /// Reads what [`Self::to_text`] wrote, and tells of when it was. What cannot be read was never counted.
    pub fn restore(&mut self, text: &str) -> Option<Millis> {
        let bytes = base64::of_url_safe(text)?;
        let mut rest = Unpack(&bytes);
        let at = (rest.u8()? == LAYOUT).then_some(Millis(rest.u64()?))?;
        for _ in 0..rest.u16()? {
            let choice = (rest.text()?.to_owned(), rest.text()?.to_owned());
            for _ in 0..rest.u64()?.min(CHOICES_MAX as u64) {
                self.choices.push_back(choice.clone());
            }
        }
        self.rows.extend(std::iter::from_fn(|| ArmRow::read(&mut rest)));
        Some(at)
    }

    /// Of the present period and the one before.
    pub fn rows(&mut self, now: Millis) -> &[ArmRow] {
        self.rows.retain(|row| row.period + 1 >= now.0 / PERIOD_MS);
        &self.rows
    }

    /// The deployments that were chosen lately in a mode, and how often.
    fn pool(&self, mode: &str) -> Vec<(String, u64)> {
        let mut counts: Table<&String, u64> = Table::default();
        for (_, deployment) in self.choices.iter().filter(|(other, _)| *other == mode) {
            counts.change(&deployment, |count| *count += 1);
        }
        let mut pool: Vec<(String, u64)> = counts.iter().map(|(id, count)| ((*id).clone(), *count)).collect();
        pool.sort_unstable_by(|(a, one), (b, other)| (other, a).cmp(&(one, b)));
        pool.truncate(POOL_MAX);
        pool
    }

    fn row(&mut self, comparison: &Comparison, at: Millis) -> Option<&mut ArmRow> {
        let (period, arm) = (at.0 / PERIOD_MS, comparison.arm);
        let deployment = &comparison.deployment;
        let same = |row: &ArmRow| (row.period, row.arm) == (period, arm) && row.deployment == *deployment;
        let place = match self.rows(at).iter().position(same) {
            // Where so many are asked nobody of them is asked often enough.
            None if arm == Arm::Alone || self.rows.len() >= ROWS_MAX => return None,
            None => {
                self.rows.push(ArmRow { period, arm, deployment: deployment.clone(), ..ArmRow::default() });
                self.rows.len() - 1
            }
            Some(place) => place,
        };
        self.rows.get_mut(place)
    }

    /// Takes in a call that was answered.
    pub fn note(&mut self, call: &CallRecord, at: Millis) {
        let Some(comparison) = &call.comparison else { return };
        if comparison.arm != Arm::Control {
            self.choices.push_back((call.mode.clone(), comparison.deployment.clone()));
            if self.choices.len() > CHOICES_MAX {
                self.choices.pop_front();
            }
        }
        let [weight, own_weight] = weights(comparison);
        let Some(row) = self.row(comparison, at) else { return };
        #[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
        let cost = comparison.cost_usd.0 as f64 / 1e9;
        let worth = |passed: bool| if passed { 1.0 } else { 0.0 };
        row.side.cost.take(cost, weight);
        row.own.cost.take(cost, own_weight);
        if let Some(passed) = comparison.passed {
            row.side.passed.take(worth(passed), weight);
        }
        if let Some(passed) = comparison.own_passed {
            row.own.passed.take(worth(passed), own_weight);
        }
    }

    /// Takes in a verdict on such a call.
    pub fn judge(&mut self, comparison: &Comparison, score: f64, at: Millis) {
        let [weight, own_weight] = weights(comparison);
        if let Some(row) = self.row(comparison, at) {
            row.side.score.take(score, weight);
            row.own.score.take(score, own_weight);
        }
    }
}

fn weights(comparison: &Comparison) -> [f64; 2] {
    #[expect(clippy::cast_precision_loss, reason = "at most some millions")]
    [comparison.weight, comparison.own_weight].map(|weight| weight as f64 / 1e3)
}

impl Account {
    /// A grant with what may be drawn from.
    pub(super) fn with_pool(&self, grant: Grant, mode: &str) -> Grant {
        let pool = if mode.is_empty() { Vec::new() } else { self.arms.pool(mode) };
        Grant { pool, ..grant }
    }
}
