//! What a request asks of the router itself: the `megarouter` object in the body, the same words as headers, and
//! OpenRouter's `models`, `provider`, `:floor` and `:nitro`.
use super::Headers;
use crate::{
    body::Body,
    fault::Fault,
    json,
    mode::Mode,
    money::{Nanos, Pico},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Everything a request may ask for. Absent members leave the organisation's defaults in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    pub mode: Option<Mode>,
    /// Models to fall back to, in order, after the one asked for.
    pub models: Vec<String>,
    pub providers: Providers,
    pub max_price: MaxPrice,
    /// A hard ceiling for the whole request.
    pub max_cost_usd: Option<Nanos>,
    /// Leaves out deployments whose recent time to first token is above it.
    pub max_ttft_ms: Option<u64>,
    /// For the whole request, from its arrival.
    pub deadline_ms: Option<u64>,
    pub priority: Priority,
    pub weights: Option<Weights>,
    /// The name of what belongs together: its budget is counted by it.
    pub session: Option<String>,
    /// The caller's own word for the kind of task.
    pub task: Option<String>,
    pub rescue: Option<Rescue>,
    pub hedge: Option<bool>,
    /// Whether an answer is checked, and the next model asked where it fails.
    pub escalate: Option<bool>,
    pub explain: Explain,
}

json::members!(strict default Overrides {
    mode, models, providers, max_price, max_cost_usd, max_ttft_ms, deadline_ms, priority, weights, session, task,
    rescue, hedge, escalate, explain,
});

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Providers {
    pub only: Vec<String>,
    pub ignore: Vec<String>,
    pub order: Vec<String>,
}

json::members!(strict default Providers { only, ignore, order });

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    pub input: Option<Pico>,
    pub output: Option<Pico>,
}

json::members!(strict default MaxPrice { input, output });

impl MaxPrice {
    /// Whether one of these prices is above it.
    #[must_use]
    pub fn is_below(self, input: Pico, output: Pico) -> bool {
        self.input.is_some_and(|most| input > most) || self.output.is_some_and(|most| output > most)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

json::words!(Priority { Low = "low", Normal = "normal", High = "high" });

/// What `balanced` weighs. Only their proportions matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    pub quality: f64,
    pub cost: f64,
    pub latency: f64,
}

json::members!(strict Weights { quality, cost, latency });

/// What weights are.
pub const WEIGHTS: &str = "numbers from 0 to 1000, not all of them 0";

impl Weights {
    /// Whether they are within bounds, and weigh anything.
    #[must_use]
    pub fn weigh(self) -> bool {
        let all = [self.quality, self.cost, self.latency];
        all.iter().all(|x| (0.0..=1_000.0).contains(x)) && all.iter().any(|x| *x > 0.0)
    }
}

/// What happens when a stream breaks after its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rescue {
    /// The caller is told, in the stream.
    Off,
    /// Another deployment writes the rest.
    #[default]
    Continue,
    /// As `Continue`, and nothing is sent before the answer is whole.
    Buffer,
}

json::words!(Rescue { Off = "off", Continue = "continue", Buffer = "buffer" });

/// Whether an answer says how it was routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    #[default]
    No,
    Yes,
    /// Decide, and do nothing else.
    Only,
}

impl json::Read for Explain {
    fn blank() -> Self {
        Self::No
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        *self = match value {
            Value::Bool(false) | Value::Null => Self::No,
            Value::Bool(true) => Self::Yes,
            Value::String(word) if word == "only" => Self::Only,
            _ => return Err(json::wrong("explain is true, false or \"only\"".to_owned())),
        };
        Ok(())
    }
}

/// The longest name of a session.
const SESSION_BYTES_MAX: usize = 256;
/// The longest deadline. Nineteen minutes: a hold is kept for twenty.
pub const DEADLINE_MS_MAX: u64 = 1_140_000;
const PREFIX: &str = "x-megarouter-";

impl Overrides {
    /// Reads the body's object, then headers and OpenRouter's words for what it leaves open.
    ///
    /// # Errors
    /// A 400 that names the member: a misspelt cap must not pass as no cap.
    pub fn read(body: &Body, headers: &Headers) -> Result<Self, Fault> {
        let mut members: Map<String, Value> = match body.set("megarouter") {
            Some(raw) => serde_json::from_str(raw)
                .map_err(|_| Fault::parameter("megarouter", "megarouter must be an object."))?,
            None => Map::new(),
        };
        for (name, value) in &headers.0 {
            if let Some(word) = name.strip_prefix(PREFIX) {
                let member = word.replace('-', "_");
                let value = header_value(&member, value);
                members.entry(member).or_insert(value);
            }
        }
        if let Some(models) = body.set("models").and_then(|raw| serde_json::from_str(raw).ok()) {
            members.entry("models").or_insert(models);
        }
        if let Some(providers) = body.set("provider").and_then(openrouter_providers) {
            members.entry("providers").or_insert(providers);
        }
        let read: Self = json::from_value(Value::Object(members)).map_err(|error| {
            Fault::parameter("megarouter", format!("The megarouter object cannot be read: {error}."))
        })?;
        read.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        if !self.weights.is_none_or(Weights::weigh) {
            return Err(Fault::parameter("megarouter.weights", format!("Weights are {WEIGHTS}.")));
        }
        let good = |name: &str| !name.is_empty() && name.len() <= SESSION_BYTES_MAX && !name.contains(char::is_control);
        if self.session.as_ref().is_some_and(|name| !good(name)) {
            let text = format!("session is a text of 1 to {SESSION_BYTES_MAX} bytes.");
            return Err(Fault::parameter("megarouter.session", text));
        }
        if self.deadline_ms.is_some_and(|ms| ms == 0 || ms > DEADLINE_MS_MAX) {
            let text = format!("deadline_ms is a number from 1 to {DEADLINE_MS_MAX}.");
            return Err(Fault::parameter("megarouter.deadline_ms", text));
        }
        if self.max_cost_usd.is_some_and(|cap| cap.0 <= 0) {
            return Err(Fault::parameter("megarouter.max_cost_usd", "max_cost_usd must be above 0."));
        }
        Ok(self)
    }
}

/// A header's text as the JSON value its member takes.
fn header_value(member: &str, text: &str) -> Value {
    match member {
        "models" => text.split(',').map(str::trim).filter(|model| !model.is_empty()).collect(),
        "max_ttft_ms" | "deadline_ms" | "hedge" | "escalate" => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        "explain" if text == "true" || text == "false" => (text == "true").into(),
        _ => text.into(),
    }
}

/// OpenRouter's `provider` object: <https://openrouter.ai/docs/features/provider-routing>. A string there is no object.
fn openrouter_providers(raw: &str) -> Option<Value> {
    let theirs: Map<String, Value> = serde_json::from_str(raw).ok()?;
    let ours =
        ["only", "ignore", "order"].into_iter().filter_map(|word| Some((word.to_owned(), theirs.get(word)?.clone())));
    Some(Value::Object(ours.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, headers: &[(&str, &str)]) -> Result<Overrides, Fault> {
        let body = Body::parse(body.as_bytes().to_vec()).expect("an object");
        Overrides::read(&body, &Headers(headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()))
    }

    #[test]
    fn the_body_wins_over_headers() {
        let read = read(
            r#"{"megarouter":{"mode":"cost-first","max_cost_usd":"0.05"}}"#,
            &[
                ("x-megarouter-mode", "balanced"),
                ("x-megarouter-max-ttft-ms", "900"),
                ("x-megarouter-models", "a/b, c"),
                ("x-megarouter-explain", "true"),
                ("accept", "*/*"),
            ],
        )
        .expect("readable");
        assert_eq!((read.mode, read.max_ttft_ms), (Some(Mode::CostFirst), Some(900)));
        assert_eq!(read.max_cost_usd, Some(Nanos(50_000_000)));
        assert_eq!((read.models, read.explain), (vec!["a/b".to_owned(), "c".to_owned()], Explain::Yes));
    }

    #[test]
    fn openrouter_words_are_understood() {
        let read = read(r#"{"models":["a/b"],"provider":{"only":["x"],"sort":"price"}}"#, &[]).expect("readable");
        assert_eq!((read.models, read.providers.only), (vec!["a/b".to_owned()], vec!["x".to_owned()]));
    }

    #[test]
    fn a_misspelt_cap_is_refused() {
        for (body, headers) in [
            (r#"{"megarouter":{"max_cost":"1"}}"#, &[][..]),
            ("{}", &[("x-megarouter-max-cost", "1")][..]),
            (r#"{"megarouter":{"max_cost_usd":"0"}}"#, &[]),
            (r#"{"megarouter":{"mode":"fast"}}"#, &[]),
            (r#"{"megarouter":[]}"#, &[]),
            (r#"{"megarouter":{"weights":{"quality":0,"cost":0,"latency":0}}}"#, &[]),
            (r#"{"megarouter":{"escalate":"yes"}}"#, &[]),
            (r#"{"megarouter":{"session":""}}"#, &[]),
            (r#"{"megarouter":{"deadline_ms":4294967297}}"#, &[]),
        ] {
            let fault = read(body, headers).expect_err(body);
            assert_eq!(fault.status, 400);
            assert!(fault.into_inner().param.is_some_and(|param| param.starts_with("megarouter")));
        }
    }
}
