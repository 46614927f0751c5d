//! How much a model shall think: efforts, budgets, and what a deployment takes of either.
use super::super::{Order, carried::is_bare};
use crate::json::json;
use crate::{
    body::Body,
    catalog::{Ability, Quirk},
    chat::{Effort, Message, Part, Request, Role},
};
use serde_json::{Map, Value};

/// The least budget the API takes.
const BUDGET_MIN: u64 = 1_024;

/// An effort in tokens. The figures are ours: the API knows only budgets where it does not know efforts.
const BUDGETS: [(Effort, u64); 6] = [
    (Effort::Minimal, BUDGET_MIN),
    (Effort::Low, 2_048),
    (Effort::Medium, 8_192),
    (Effort::High, 16_384),
    (Effort::XHigh, 24_576),
    (Effort::Max, 32_768),
];

/// The effort a budget comes to.
pub(super) fn effort_of(budget: u64) -> Effort {
    BUDGETS.iter().rev().find(|(_, tokens)| budget >= *tokens).map_or(Effort::Minimal, |(effort, _)| *effort)
}

/// The budget of an effort within an answer's bound, if there is room for one: a quarter stays for the answer itself.
pub(in crate::dialect) fn budget_of(effort: Effort, max_tokens: u64) -> Option<u64> {
    let (_, wanted) = BUDGETS.iter().find(|(known, _)| *known == effort)?;
    let budget = (*wanted).min(max_tokens / 4 * 3);
    (budget >= BUDGET_MIN).then_some(budget)
}

/// What to ask a deployment for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Thinking {
    Off,
    Adaptive(&'static str),
    Budget(u64),
}

impl Thinking {
    /// For a request from the hub.
    pub(in crate::dialect) fn of(request: &Request, order: &Order<'_>) -> Self {
        let Some(effort) = request.effort.filter(|effort| *effort > Effort::None) else { return Self::Off };
        let deployment = order.deployment;
        let prefilled = request.messages.last().is_some_and(|message| message.role == Role::Assistant);
        if !deployment.can(Ability::Reasoning) || prefilled {
            return Self::Off;
        }
        if deployment.has(Quirk::AdaptiveThinking) {
            return Self::Adaptive(word(effort));
        }
        if in_unsigned_tool_loop(&request.messages) {
            return Self::Off;
        }
        budget_of(effort, order.max_output_tokens).map_or(Self::Off, Self::Budget)
    }

    pub(in crate::dialect) fn value(self) -> Option<Value> {
        match self {
            Self::Off => None,
            Self::Adaptive(_) => Some(json!({"type": "adaptive"})),
            Self::Budget(tokens) => Some(json!({"type": "enabled", "budget_tokens": tokens})),
        }
    }
}

/// The words every adaptive model takes; `xhigh` is refused by some.
fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh => "high",
        Effort::Max => "max",
    }
}

/// Thinking on a budget wants the signed thinking before each call of the current tool loop; another model's calls have none.
fn in_unsigned_tool_loop(messages: &[Message]) -> bool {
    let is_result = |message: &&Message| message.parts.iter().any(|part| matches!(part, Part::ToolResult { .. }));
    if messages.last().as_ref().is_none_or(|x| !is_result(x)) {
        return false;
    }
    let asked = messages.iter().rev().find(|message| message.role == Role::Assistant);
    let signed = |part: &Part| match part {
        Part::Reasoning { signature: Some(signature), .. } => is_bare(signature),
        part => matches!(part, Part::RedactedReasoning(data) if is_bare(data)),
    };
    asked.is_some_and(|message| !message.parts.iter().any(signed))
}

/// What must change in a caller's own `thinking` and `output_config`.
pub(super) fn changes(body: &Body, request: &Request, order: &Order<'_>) -> Vec<(&'static str, Option<Value>)> {
    let deployment = order.deployment;
    let object = |name: &str| -> Map<String, Value> {
        body.set(name).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    };
    let (thinking, mut config) = (object("thinking"), object("output_config"));
    let kind = thinking.get("type").and_then(Value::as_str).unwrap_or_default();
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
    // Of an organisation's own provider (no credential of ours) we know nothing: its callers do.
    let known = deployment.provider.credential.is_some();
    let mut changes = Vec::new();
    let effort = request.effort.unwrap_or(Effort::High);
    let plain = known && !deployment.has(Quirk::AdaptiveThinking);
    if known && !deployment.can(Ability::Reasoning) {
        changes.push(("thinking", None));
    } else if deployment.has(Quirk::AdaptiveThinking) && kind == "enabled" {
        changes.push(("thinking", Some(json!({"type": "adaptive"}))));
        config.entry("effort").or_insert_with(|| word(effort).into());
        changes.push(("output_config", Some(Value::Object(config.clone()))));
    } else if plain && kind == "adaptive" {
        let budget = budget_of(effort, order.max_output_tokens);
        let budget = budget.filter(|_| !in_unsigned_tool_loop(&request.messages));
        changes.push(("thinking", budget.and_then(|budget| Thinking::Budget(budget).value())));
    } else if budget.is_some_and(|budget| budget >= order.max_output_tokens) {
        let budget = budget_of(effort, order.max_output_tokens);
        changes.push(("thinking", budget.and_then(|budget| Thinking::Budget(budget).value())));
    }
    if plain && config.shift_remove("effort").is_some() {
        changes.push(("output_config", (!config.is_empty()).then_some(Value::Object(config))));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    fn asked(body_text: &str, quirks: &str, supports: &str, max: u64) -> Vec<(&'static str, Option<Value>)> {
        let (deployment, body) = (deployment(quirks, supports), body(body_text));
        let request = super::super::request::decode(&body).expect("valid");
        changes(&body, &request, &Order { deployment: &deployment, max_output_tokens: max })
    }

    #[test]
    fn budgets_and_efforts_translate_both_ways() {
        for (effort, budget) in BUDGETS {
            assert_eq!(effort_of(budget), effort);
            assert_eq!(budget_of(effort, 1_000_000), Some(budget));
        }
        assert_eq!(budget_of(Effort::Max, 4_000), Some(3_000), "room for the answer stays");
        assert_eq!(budget_of(Effort::Low, 1_200), None);
        assert_eq!(effort_of(5), Effort::Minimal);
    }

    #[test]
    fn a_callers_thinking_fits_the_deployment() {
        const ENABLED: &str = r#"{"model":"c","max_tokens":9000,"messages":[{"role":"user","content":"x"}],
            "thinking":{"type":"enabled","budget_tokens":8192}}"#;
        const ADAPTIVE: &str = r#"{"model":"c","max_tokens":9000,"messages":[{"role":"user","content":"x"}],
            "thinking":{"type":"adaptive"},"output_config":{"effort":"low"}}"#;
        let adaptive = asked(ENABLED, r#"["adaptive_thinking"]"#, r#"["reasoning"]"#, 9_000);
        assert_eq!(
            adaptive,
            [("thinking", Some(json!({"type": "adaptive"}))), ("output_config", Some(json!({"effort": "medium"})))]
        );
        assert_eq!(asked(ENABLED, "[]", r#"["reasoning"]"#, 9_000), []);
        assert_eq!(asked(ENABLED, "[]", "[]", 9_000), [("thinking", None)]);
        let smaller = Some(json!({"type": "enabled", "budget_tokens": 3_000}));
        assert_eq!(asked(ENABLED, "[]", r#"["reasoning"]"#, 4_000), [("thinking", smaller)]);
        let enabled = Some(json!({"type": "enabled", "budget_tokens": 2_048}));
        assert_eq!(asked(ADAPTIVE, "[]", r#"["reasoning"]"#, 9_000), [("thinking", enabled), ("output_config", None)]);
        assert_eq!(asked(ADAPTIVE, r#"["adaptive_thinking"]"#, r#"["reasoning"]"#, 9_000), []);
    }
}
