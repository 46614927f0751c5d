//! What the whole installation did, in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), with the names of OpenTelemetry's `gen_ai` conventions. No
//! content, no key, no organisation.
use super::spend::{COUNTS, nanos, number, spent};
use crate::health::Health;
use serde_json::Value;

/// What each count of a row is told as: the metric, and the label that tells it from others of it.
const TOKENS: [(&str, &str); 4] = [
    ("input_tokens", "input"),
    ("cache_read_tokens", "input_cache_read"),
    ("cache_write_tokens", "input_cache_write"),
    ("output_tokens", "output"),
];

/// The statement over all calls of the journal, by provider and model.
#[must_use]
pub fn statement() -> String {
    let counts = COUNTS.map(|(name, summed)| format!("sum(min({summed}, 1000000000000)) AS {name}")).join(", ");
    format!(
        "SELECT call ->> 'provider' AS provider, call ->> 'model' AS model, {counts}, CAST(sum(-amount) AS TEXT) AS nanos \
         FROM entry WHERE kind = 'usage' GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 5000"
    )
}

/// The statement over all payments by wallets, by scheme: their number, what they brought, and what was taken back because it never was
/// on the chain.
pub const PAYMENTS: &str = "SELECT substr(note, 6, instr(substr(note, 6) || ' ', ' ') - 1) AS scheme, sum(amount > 0) AS requests, \
  CAST(sum(max(amount, 0)) AS TEXT) AS nanos, CAST(-sum(min(amount, 0)) AS TEXT) AS back \
  FROM entry WHERE kind = 'credit' AND note LIKE 'x402 %' AND (id LIKE '%#paid%' OR id LIKE '%#unpaid%') GROUP BY 1 ORDER BY 1";

/// The text: totals of the journal, and how deployments of the catalog do as this isolate knows.
#[must_use]
pub fn told(rows: &[Value], payments: &[Value], health: &Health) -> String {
    let mut lines: Vec<String> = Vec::new();
    let label = |row: &Value| {
        let word = |name: &str| quoted(row.get(name).and_then(Value::as_str).unwrap_or_default());
        format!("gen_ai_provider_name={},gen_ai_request_model={}", word("provider"), word("model"))
    };
    let mut metric = |name: &str, kind: &str, help: &str, samples: Vec<(String, String)>| {
        lines.push(format!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        lines.extend(samples.into_iter().map(|(labels, value)| format!("{name}{{{labels}}} {value}")));
    };
    let requests = rows.iter().map(|row| (label(row), number(row, "requests").to_string()));
    metric("gen_ai_client_operations_total", "counter", "Calls that were booked.", requests.collect());
    let tokens = rows.iter().flat_map(|row| {
        TOKENS
            .map(|(name, word)| (format!("{},gen_ai_token_type=\"{word}\"", label(row)), number(row, name).to_string()))
    });
    metric("gen_ai_client_token_usage_total", "counter", "Tokens that were booked.", tokens.collect());
    let costs = rows.iter().map(|row| (label(row), spent(row).to_string()));
    metric("megarouter_cost_usd_total", "counter", "What calls were charged, in US dollars.", costs.collect());
    let scheme = |row: &Value| {
        let word = row.get("scheme").and_then(Value::as_str).unwrap_or_default();
        format!("megarouter_payment_scheme={}", quoted(word))
    };
    let paid = payments.iter().map(|row| (scheme(row), number(row, "requests").to_string()));
    metric("megarouter_payments_total", "counter", "Payments of wallets that were booked.", paid.collect());
    let paid = payments.iter().map(|row| (scheme(row), nanos(row, "nanos").to_string()));
    metric("megarouter_payments_usd_total", "counter", "What they brought, in US dollars.", paid.collect());
    let back = payments.iter().map(|row| (scheme(row), nanos(row, "back").to_string()));
    let help = "What of it was taken back: it never was on the chain.";
    metric("megarouter_payments_taken_back_usd_total", "counter", help, back.collect());
    // An organisation's own deployments are nobody else's business: their names begin with its own.
    let known: Vec<_> = health.scores.iter().filter(|(name, _)| !name.starts_with("org_")).collect();
    let deployment = |name: &str| format!("megarouter_deployment={}", quoted(name));
    let success = known.iter().map(|(name, score)| (deployment(name), decimals(score.success)));
    metric("megarouter_success_ratio", "gauge", "Share of good answers; old ones fade.", success.collect());
    let first = known.iter().filter_map(|(name, score)| Some((deployment(name), seconds(score.usual_ms()?))));
    metric("gen_ai_server_time_to_first_token_seconds", "gauge", "Usual time to the first content.", first.collect());
    lines.push(String::new());
    lines.join("\n")
}

fn seconds(ms: f64) -> String {
    decimals(ms / 1_000.0)
}

/// A figure with four decimals. By way of whole numbers: all the code that prints floats would be here for this alone.
fn decimals(figure: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share, or a time")]
    let parts = (figure * 10_000.0).round_ties_even() as u64;
    format!("{}.{:04}", parts / 10_000, parts % 10_000)
}

/// A label's value: backslash, quote and line feed are escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::{Outcome, Sample},
        json::json,
        time::Millis,
    };

    #[test]
    fn totals_and_scores_are_told_as_prometheus_reads_them() {
        let rows =
            [json!({"provider": "acme", "model": "m\"1", "requests": 2, "input_tokens": 5, "nanos": "1500000000"})];
        let mut health = Health::default();
        let sample =
            |deployment: &str| Sample { deployment: deployment.into(), at: Millis(1), outcome: Outcome::Probed };
        health.observe(&sample("acme/m"));
        health.observe(&sample("org_x/acme/m"));
        let payments = [json!({"scheme": "upto", "requests": 3, "nanos": "1500000", "back": "500000"})];
        let text = told(&rows, &payments, &health);
        for line in [
            "# TYPE gen_ai_client_token_usage_total counter",
            "gen_ai_client_operations_total{gen_ai_provider_name=\"acme\",gen_ai_request_model=\"m\\\"1\"} 2",
            "gen_ai_client_token_usage_total{gen_ai_provider_name=\"acme\",gen_ai_request_model=\"m\\\"1\",gen_ai_token_type=\"input\"} 5",
            "megarouter_cost_usd_total{gen_ai_provider_name=\"acme\",gen_ai_request_model=\"m\\\"1\"} 1.5",
            "megarouter_payments_total{megarouter_payment_scheme=\"upto\"} 3",
            "megarouter_payments_usd_total{megarouter_payment_scheme=\"upto\"} 0.0015",
            "megarouter_payments_taken_back_usd_total{megarouter_payment_scheme=\"upto\"} 0.0005",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.contains("{megarouter_deployment=\"acme/m\"}") && !text.contains("org_x"), "{text}");
        assert!(text.ends_with('\n'));
    }
}
