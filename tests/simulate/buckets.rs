//! Rates as leaking buckets: units run in, and the bucket empties itself at the rate.
use crate::books::must;
use megarouter::{account::letter::Refusal, budget::RateLimits, id::Scope, time::Millis};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// When it is empty, in nanoseconds since 1970.
    empty_ns: u128,
}

const MINUTE_NS: u128 = 60_000_000_000;

impl Bucket {
    fn units(units: u64, per_minute: u64) -> u128 {
        MINUTE_NS * u128::from(units) / u128::from(per_minute.max(1))
    }

    /// What is in it, in nanoseconds until it is empty.
    fn level(self, now: Millis) -> u128 {
        self.empty_ns.saturating_sub(u128::from(now.0) * 1_000_000)
    }

    fn fits(self, units: u64, per_minute: u64, now: Millis) -> bool {
        self.level(now) + Self::units(units, per_minute) <= MINUTE_NS
    }

    fn take(&mut self, units: u64, per_minute: u64, now: Millis) {
        self.empty_ns = u128::from(now.0) * 1_000_000 + self.level(now) + Self::units(units, per_minute);
    }

    fn give_back(&mut self, units: u64, per_minute: u64) {
        self.empty_ns = self.empty_ns.saturating_sub(Self::units(units, per_minute));
    }
}

#[derive(Clone, Copy, Default)]
struct Pair {
    requests: Bucket,
    tokens: Bucket,
}

#[derive(Default)]
pub struct Buckets {
    pairs: BTreeMap<Scope, Pair>,
    /// As of the last checkpoint: what is left of them after a restart.
    saved: BTreeMap<Scope, Pair>,
}

/// The limits of a scope, beside the calls it has in flight.
pub type Limited = (Scope, RateLimits, u64);

impl Buckets {
    /// A call that was granted is within every rate of its path.
    pub fn take(&mut self, path: &[Limited], tokens: u64, now: Millis) -> Result<(), String> {
        for (scope, limits, open) in path {
            let pair = self.pairs.entry(scope.clone()).or_default();
            let free = limits.concurrency.is_none_or(|most| *open < most);
            must(free, || format!("more calls at once than may be: {scope:?}"))?;
            if let Some(rpm) = limits.rpm {
                must(pair.requests.fits(1, rpm, now), || format!("more requests per minute than may be: {scope:?}"))?;
                pair.requests.take(1, rpm, now);
            }
            if let Some(tpm) = limits.tpm {
                must(pair.tokens.fits(tokens, tpm, now), || format!("more tokens per minute than may be: {scope:?}"))?;
                pair.tokens.take(tokens, tpm, now);
            }
        }
        Ok(())
    }

    /// A refusal names a rate that is used.
    pub fn judge(&self, path: &[Limited], tokens: u64, refusal: &Refusal, now: Millis) -> Result<(), String> {
        let of = |named: &Scope| path.iter().find(|(scope, _, _)| scope == named);
        let pair = |scope: &Scope| self.pairs.get(scope).copied().unwrap_or_default();
        let used = match refusal {
            Refusal::Concurrency(scope) => {
                of(scope).is_some_and(|(_, limits, open)| limits.concurrency.is_some_and(|most| *open >= most))
            }
            Refusal::Rpm { scope, .. } => of(scope)
                .is_some_and(|(_, limits, _)| limits.rpm.is_some_and(|rpm| !pair(scope).requests.fits(1, rpm, now))),
            Refusal::Tpm { scope, .. } => of(scope)
                .is_some_and(|(_, limits, _)| limits.tpm.is_some_and(|tpm| !pair(scope).tokens.fits(tokens, tpm, now))),
            Refusal::Invalid { .. } => path.iter().any(|(_, limits, _)| limits.tpm.is_some_and(|tpm| tokens > tpm)),
            _ => false,
        };
        must(used, || "a rate is used".into())
    }

    pub fn give_back(&mut self, path: &[Limited], unused: u64) {
        for (scope, limits, _) in path {
            if let (Some(pair), Some(tpm)) = (self.pairs.get_mut(scope), limits.tpm) {
                pair.tokens.give_back(unused, tpm);
            }
        }
    }

    /// What was used beyond what was taken.
    pub fn spend(&mut self, path: &[Limited], units: u64, now: Millis) {
        for (scope, limits, _) in path.iter().filter(|_| units > 0) {
            if let Some(tpm) = limits.tpm {
                let pair = self.pairs.entry(scope.clone()).or_default();
                pair.tokens.take(units, tpm, now);
                // Nobody waits for more than a minute.
                pair.tokens.empty_ns = pair.tokens.empty_ns.min(u128::from(now.0) * 1_000_000 + MINUTE_NS);
            }
        }
    }

    /// A checkpoint keeps what is not empty.
    pub fn save(&mut self, now: Millis) {
        let kept = |bucket: Bucket| if bucket.level(now) > 0 { bucket } else { Bucket::default() };
        let pair = |pair: &Pair| Pair { requests: kept(pair.requests), tokens: kept(pair.tokens) };
        self.saved = self.pairs.iter().map(|(scope, old)| (scope.clone(), pair(old))).collect();
        self.pairs.clone_from(&self.saved);
    }

    /// Memory is gone.
    pub fn restart(&mut self) {
        self.pairs.clone_from(&self.saved);
    }
}
