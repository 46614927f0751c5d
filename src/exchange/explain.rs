//! `explain`: how the request was read and why it went where it went.
use super::{Exchange, Settled};
use crate::json::{json, told_by_text};
use crate::{money::Nanos, route::Candidate};
use serde_json::Value;

/// Deployments that were left out are listed up to here: `auto` looks at hundreds.
const LEFT_OUT_MAX: usize = 20;

impl Exchange {
    /// The `megarouter` object of an explained answer.
    pub(super) fn explanation(&self, settled: Option<&Settled>) -> Value {
        let signals = &self.case.signals;
        let plan = self.plan();
        let candidates = plan.map_or_else(Vec::new, |plan| {
            let chosen = plan.candidates.iter().map(candidate_told);
            let left_out = plan.considered.iter().filter_map(|one| {
                let (deployment, why) = (&one.deployment, one.why?);
                let (provider, model) = (&deployment.provider.id, &deployment.model);
                Some(json!({"provider": provider, "model": model, "eligible": false, "why": why}))
            });
            chosen.chain(left_out.take(LEFT_OUT_MAX)).collect()
        });
        let others = self.with_seen(Settled::default()).cost;
        let cost = settled.map_or(Nanos::ZERO, |settled| settled.cost.minus(others));
        let mut attempts = self.attempt_records(cost);
        if self.conduct().checks.is_empty() {
            // What was only learned from is of no concern to who asked for no checks.
            for attempt in &mut attempts {
                attempt.verdict.clear();
            }
        }
        json!({
            "mode": plan.map(|plan| plan.terms.mode.word()),
            "reason": self.reason(),
            "task": self.case.overrides.task.as_deref().unwrap_or(signals.task.word()),
            "difficulty": rounded(f64::from(signals.case.hardness)),
            "reasoning_depth": signals.depth.word(),
            "catalog_id": self.case.world.catalog.id,
            "health_id": self.case.world.health.id,
            "seed": self.case.seed.to_string(),
            "candidates": candidates,
            "attempts": told_by_text(&attempts),
        })
    }
}

fn candidate_told(candidate: &Candidate) -> Value {
    json!({
        "provider": candidate.deployment.provider.id,
        "model": candidate.deployment.model,
        "eligible": true,
        "why": why_late(candidate),
        "quality": rounded(candidate.features.quality),
        "cost_usd": candidate.features.expected,
        "ttft_ms": candidate.ttft_ms.round(),
        "score": rounded(candidate.judged.score),
    })
}

/// Why others come before it, whatever the mode makes of it.
fn why_late(candidate: &Candidate) -> Option<&'static str> {
    if candidate.judged.shut {
        Some("circuit open: tried last")
    } else {
        candidate.judged.poor.then_some("likely to answer worse than the mode lets pass: tried later")
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
