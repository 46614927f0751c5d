//! What was met of all that can happen. A simulator that never meets a refusal proves nothing about it.
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Seen(pub BTreeMap<&'static str, u64>);

/// All of these must be met in some thousand seeds.
pub const ALL: &[&str] = &[
    "alarm late",
    "alarm given up",
    "alarm thrown",
    "alarm twice",
    "budget spent",
    "charge",
    "concurrency",
    "exchange",
    "exchange charges",
    "exchange charges nothing",
    "exchange does not know",
    "exchange estimates",
    "exchange overruns",
    "exchange voids",
    "first attempt",
    "hang-up",
    "held",
    "hold ran out",
    "in flight",
    "isolate died",
    "journal commits and fails",
    "journal down",
    "letter lost",
    "letter slow",
    "letter twice",
    "not allowed",
    "pipe",
    "posted again",
    "posted to a window that ended",
    "restart",
    "revoked",
    "rpm",
    "second attempt",
    "stale",
    "suspense",
    "suspense ran out",
    "suspense resolved",
    "third attempt",
    "fifth attempt",
    "another attempt",
    "closed",
    "refund",
    "exchange grows",
    "exchange cuts",
    "exchange books others",
    "exchange hedges",
    "exchange rejects",
    "hold grew",
    "hold did not grow",
    "member disabled",
    "tpm",
    "turn thrown",
    "void",
    "wallet empty",
];

impl Seen {
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub fn missing(&self) -> Vec<&'static str> {
        ALL.iter().copied().filter(|what| !self.0.contains_key(what)).collect()
    }
}
