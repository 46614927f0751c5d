//! What choosing is worth: what the router chose lately, to draw from, and how the requests it chose for did beside those that
//! were drawn for.
use super::{Account, letter::Grant};
use crate::{
    ledger::{Arm, CallRecord},
    money::Nanos,
    quality::lift::ArmRow,
    table::Table,
    time::Millis,
};
use std::collections::VecDeque;

/// Choices that are drawn from, over all modes, in memory alone.
const CHOICES_MAX: usize = 256;
/// Deployments that are told of a pool, the most frequent.
const POOL_MAX: usize = 8;
/// Models that are counted, over both arms and both months.
const ROWS_MAX: usize = 200;

/// What is counted together: four weeks. The present ones and those before are kept.
const PERIOD_MS: u64 = 28 * 86_400_000;

/// See the head of this room.
#[derive(Debug, Default)]
pub(super) struct Arms {
    /// Of the router's own choices: mode and deployment, the latest last.
    choices: VecDeque<(String, String)>,
    rows: Vec<ArmRow>,
}

impl Arms {
    pub fn restore(&mut self, rows: Vec<ArmRow>) {
        self.rows = rows;
    }

    pub fn rows(&self) -> &[ArmRow] {
        &self.rows
    }

    /// The deployments that were chosen lately in a mode, and how often.
    fn pool(&self, mode: &str) -> Vec<(String, u64)> {
        let mut counts: Table<&String, u64> = Table::default();
        for (_, deployment) in self.choices.iter().filter(|(other, _)| *other == mode) {
            counts.change(&deployment, |count| *count += 1);
        }
        let mut pool: Vec<(String, u64)> = counts.iter().map(|(id, count)| ((*id).clone(), *count)).collect();
        pool.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        pool.truncate(POOL_MAX);
        pool
    }

    fn row(&mut self, arm: Arm, deployment: &str, at: Millis) -> Option<&mut ArmRow> {
        let period = at.0 / PERIOD_MS;
        self.rows.retain(|row| row.period + 1 >= period);
        let same = |row: &ArmRow| (row.period, row.arm) == (period, arm) && row.deployment == deployment;
        let place = match self.rows.iter().position(same) {
            None if self.rows.len() >= ROWS_MAX => return None,
            None => {
                self.rows.push(ArmRow { period, arm, deployment: deployment.to_owned(), ..ArmRow::default() });
                self.rows.len() - 1
            }
            Some(place) => place,
        };
        self.rows.get_mut(place)
    }

    /// Takes in a call that was answered.
    pub fn note(&mut self, call: &CallRecord, cost: Nanos, at: Millis) {
        if call.arm == Arm::None {
            return;
        }
        let deployment = format!("{}/{}", call.provider, call.model);
        if call.reason == "mode" {
            self.choices.push_back((call.mode.clone(), deployment.clone()));
            if self.choices.len() > CHOICES_MAX {
                self.choices.pop_front();
            }
        }
        if call.arm == Arm::Alone {
            return;
        }
        let verdict = call.attempts.first().map(|first| first.verdict.as_str()).filter(|word| !word.is_empty());
        let Some(row) = self.row(call.arm, &deployment, at) else { return };
        #[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
        row.cost.take(cost.0 as f64 / 1e9);
        if let Some(word) = verdict {
            row.passed.take(if word == "passed" { 1.0 } else { 0.0 });
        }
    }

    /// Takes in a verdict on a call of an arm.
    pub fn judge(&mut self, arm: Arm, deployment: &str, score: f64, at: Millis) {
        if arm != Arm::None
            && let Some(row) = self.row(arm, deployment, at)
        {
            row.score.take(score);
        }
    }
}

impl Account {
    /// A grant with what may be drawn from.
    pub(super) fn with_pool(&self, grant: Grant, mode: &str) -> Grant {
        let pool = if mode.is_empty() { Vec::new() } else { self.arms.pool(mode) };
        Grant { pool, ..grant }
    }
}
