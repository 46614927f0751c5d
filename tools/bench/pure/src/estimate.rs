//! How far the token estimate is from a real tokenizer, on the half of the samples that the fit did not see.
use megarouter::analysis::estimate;
use serde_json::{Value, json};

/// Relative errors, in percent.
pub fn errors() -> Value {
    let samples: Vec<Value> =
        serde_json::from_str(include_str!("../../../tokens/samples.json")).expect("a list of samples");
    let off = |sample: &Value| {
        let tokens = sample["tokens"].as_f64().expect("a count");
        (estimate(sample["text"].as_str().expect("a text")) / tokens - 1.0).abs() * 100.0
    };
    let mut errors: Vec<f64> = samples.iter().skip(1).step_by(2).map(off).collect();
    errors.sort_by(f64::total_cmp);
    let count = errors.len();
    let mean = errors.iter().sum::<f64>() / count as f64;
    json!({"samples": count, "mean": mean, "median": errors[count / 2], "p95": errors[count * 95 / 100]})
}
