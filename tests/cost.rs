//! What providers say a recorded call cost, against what we would charge for it.
#![allow(clippy::tests_outside_test_module, reason = "all of this is test code")]
use megarouter::{
    catalog::{BUNDLED, Catalog, Deployment, Dialect, When},
    chat::Event,
    dialect::upstream,
    money::Nanos,
    price::charge,
    sse::Parser,
    time::Millis,
    usage::Usage,
};
use serde_json::Value;
use std::{fs, path::PathBuf, rc::Rc};

/// Models that are not in the catalog (any more), with the prices they had when they were recorded, in dollars per million tokens.
const RETIRED: &str = r#"{"version":1,"providers":[{"id":"xai","name":"xAI","dialect":"openai_chat","base_url":"https://x.test",
    "quirks":["output_excludes_reasoning"]},{"id":"openrouter","name":"OpenRouter","dialect":"openai_chat",
    "base_url":"https://o.test"},{"id":"perplexity","name":"Perplexity","dialect":"openai_chat","base_url":"https://p.test"}],
    "models":[{"provider":"perplexity","id":"sonar","context_length":128000,"input_usd_per_mtok":"1","output_usd_per_mtok":"1",
    "request_usd":"0.005"},
    {"provider":"xai","id":"grok-3-mini","context_length":131072,"input_usd_per_mtok":"0.3","output_usd_per_mtok":"0.5",
    "cache_read_usd_per_mtok":"0.075"},
    {"provider":"openrouter","id":"deepseek/deepseek-chat","context_length":163840,"input_usd_per_mtok":"0.2574",
    "output_usd_per_mtok":"1.0287"}]}"#;

/// Where the two differ, by how many nano-dollars (theirs less ours), and why.
const DIFFERENT: [(&str, i64, &str); 5] = [
    ("perplexity--chat.completions--sonar--json", 2_000, "rounded to five digits by the provider"),
    (
        "perplexity--chat.completions--sonar--stream",
        -3_000,
        "rounded to five digits by the provider, each part by itself",
    ),
    ("deepseek-deepseek-chat--stream", 7_000_000, "a web search of the reseller, seven results at $0.001"),
    ("openai-gpt-4.1-mini--stream", 10_000_000, "a web search of the model's maker"),
    (
        "google-gemini-2.5-flash--json",
        180_083,
        "what was written to the cache was also read from it, and only the reseller has a price for writing",
    ),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// What the answer's last usage object says it cost, in nano-dollars.
fn told(answer: &Value) -> Option<i64> {
    let usage = answer.get("usage").or_else(|| answer.get("response")?.get("usage"))?;
    if let Some(ticks) = usage.get("cost_in_usd_ticks").and_then(Value::as_i64) {
        // A tick is a tenth of a nano-dollar: https://docs.x.ai/docs/models#cost-tracking
        assert_eq!(ticks % 10, 0, "{ticks} ticks are no whole nano-dollars");
        return Some(ticks / 10).filter(|cost| *cost > 0);
    }
    let cost = usage.get("cost")?;
    let dollars = cost.as_f64().or_else(|| cost.get("total_cost")?.as_f64())?;
    #[expect(clippy::cast_possible_truncation, reason = "a few cents")]
    Some((dollars * 1e9).round() as i64)
}

/// The usage of an answer and what its provider charged.
fn read(dialect: Dialect, stream: bool, bytes: &[u8], deployment: &Deployment) -> (Option<Usage>, Option<i64>) {
    if !stream {
        let answer: Value = serde_json::from_slice(bytes).expect("JSON");
        return (upstream(dialect).decode_response(bytes, deployment).expect("an answer").usage, told(&answer));
    }
    // Some streams are kept as the payloads of their frames.
    let text = String::from_utf8_lossy(bytes);
    let framed = if text.starts_with('{') {
        text.lines().flat_map(|line| ["data: ", line, "\n\n"]).collect()
    } else {
        text.into_owned()
    };
    let (mut decoder, mut events, mut cost) = (upstream(dialect).decoder(deployment), Vec::new(), None);
    Parser::default()
        .push(framed.as_bytes(), |frame| {
            decoder.decode(&frame, &mut events).expect("well formed");
            cost = serde_json::from_str(frame.data).ok().as_ref().and_then(told).or(cost);
        })
        .expect("text");
    let usage = events.iter().rev().find_map(|event| if let Event::Usage(usage) = event { Some(*usage) } else { None });
    (usage, cost)
}

#[test]
fn what_providers_say_they_charged_is_what_we_charge() {
    let catalogs = [Catalog::parse(BUNDLED).expect("valid"), Catalog::parse(RETIRED).expect("valid")];
    let find = |id: &str| catalogs.iter().find_map(|catalog| catalog.deployment(id)).map(Rc::clone);
    let index: Value = serde_json::from_slice(&fs::read(folder().join("index.json")).expect("an index")).expect("JSON");
    let (mut equal, mut different) = (0, Vec::new());
    for entry in index["fixtures"].as_array().expect("a list") {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let dialect = match text("endpoint") {
            "chat.completions" => Dialect::OpenaiChat,
            "responses" => Dialect::OpenaiResponses,
            _ => continue,
        };
        let Some(deployment) = find(&format!("{}/{}", text("provider"), text("model"))) else { continue };
        if entry["status"].as_u64().is_some_and(|status| status >= 400) {
            continue;
        }
        let bytes = fs::read(folder().join(text("response_file"))).expect("a file");
        let (Some(usage), Some(cost)) = read(dialect, entry["stream"] == true, &bytes, &deployment) else { continue };
        let when = When { at: Millis::of_date("2026-11-22").expect("a date"), tier: None };
        let Nanos(ours) = charge(&deployment.rates, when, &usage).expect("fits");
        let id = text("id");
        if let Some((known, by, why)) = DIFFERENT.iter().find(|(known, ..)| id.contains(known)) {
            assert_eq!(cost - ours, *by, "{id}: {why}");
            different.push(*known);
        } else {
            assert_eq!(cost, ours, "{id}: {usage:?}");
            equal += 1;
        }
    }
    assert_eq!(different.len(), DIFFERENT.len(), "only {different:?} were seen");
    assert!(equal >= 11, "only {equal} costs were compared");
}
