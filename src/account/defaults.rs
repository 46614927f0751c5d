//! What new members get: budgets and rate limits, put at the organisation or at a group; the nearest counts.
use super::{
    Account, Turn, Write,
    act::{found, missing, told},
    ask as asks, record,
};
use crate::{
    budget::{Budget, Limit, RateLimits},
    fault::Fault,
    id::Scope,
    json::{self, json},
    table::Table,
    time::{Millis, Window},
};
use serde::Serialize;
use serde_json::Value;

const KIND: &str = "member_defaults";

/// Budgets by their window, and rate limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Defaults {
    budgets: Table<String, Limit>,
    rate_limits: RateLimits,
}

json::members!(strict default Defaults { budgets, rate_limits });

impl Account {
    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn act_on_defaults(&mut self, verb: &str, scope: &Scope, body: &[u8]) -> Result<Turn, Fault> {
        if let Some(turn) = self.absent(scope) {
            return Ok(turn);
        }
        let id = String::from(scope.clone());
        Ok(match verb {
            "PUT" => {
                let defaults = asks::read::<Defaults>(body)?.check()?;
                let write = record(KIND, &id, Some(&defaults));
                self.defaults.insert(scope.clone(), defaults);
                told(200, self.defaults_told(scope)).with(vec![write])
            }
            "GET" => found(KIND, self.defaults.contains_key(scope).then(|| self.defaults_told(scope))),
            _ if self.defaults.remove(scope).is_none() => missing(KIND),
            _ => {
                let write = Write::Record { kind: KIND, id, body: None };
                super::act::deleted(KIND, &String::from(scope.clone())).with(vec![write])
            }
        })
    }

    fn defaults_told(&self, scope: &Scope) -> Value {
        let defaults = self.defaults.get(scope).cloned().unwrap_or_default();
        json!({
            "object": KIND,
            "id": scope,
            "scope": {"type": scope.word(), "id": self.id_of(scope)},
            "budgets": json::told_by_text(&defaults.budgets),
            "rate_limits": json::told_by_text(&defaults.rate_limits),
        })
    }

    /// What a new member of a group gets, or of none.
    pub(super) fn defaults_for(&self, group: Option<&str>) -> Option<Defaults> {
        self.group_path(group).iter().find_map(|scope| self.defaults.get(scope).cloned())
    }

    pub(super) fn give_defaults(&mut self, scope: &Scope, defaults: Defaults, now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        for (window, limit) in defaults.budgets.iter() {
            if let Some(window) = Window::of_word(window) {
                let budget = Budget { limit: limit.clone(), extra: None };
                writes.extend(self.put_budget(scope, window, budget, now).into_inner().writes);
            }
        }
        if defaults.rate_limits != RateLimits::default() {
            writes.extend(self.put_rates(scope, defaults.rate_limits).into_inner().writes);
        }
        writes
    }
}

impl Defaults {
    /// # Errors
    /// 400 naming the member out of bounds.
    fn check(mut self) -> Result<Self, Fault> {
        let mut budgets = Table::default();
        for (window, limit) in self.budgets.iter() {
            if Window::of_word(window).is_none() {
                let text =
                    format!("{} is no window: day, week, month, quarter or lifetime.", crate::body::quoted(window));
                return Err(Fault::parameter("budgets", text));
            }
            budgets.insert(window.clone(), asks::limit(limit.clone())?);
        }
        self.budgets = budgets;
        asks::rates(self.rate_limits)?;
        Ok(self)
    }
}
