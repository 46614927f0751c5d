//! Requests to deployments: what several dialects write alike, and what none of those can say.
use crate::{
    body::quoted,
    catalog::{Ability, Deployment, Quirk},
    chat::{Effort, Request, ToolChoice},
    fault::Fault,
};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Adds a member, if there is something to say.
#[inline(never)]
pub(super) fn put(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

/// A model's id as one segment of a path.
pub(super) fn segment(id: &str) -> String {
    let mut told = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            told.push(char::from(byte));
        } else {
            let _ = write!(told, "%{byte:02X}");
        }
    }
    told
}

/// A member the dialect has no word for.
#[cold]
#[inline(never)]
pub(super) fn nothing_like(name: &str, advice: &str) -> Fault {
    let message =
        format!("The chosen model's provider has nothing like this `{name}`. {advice}, or name another model.");
    Fault::invalid("unsupported_parameter", message).with_param(name)
}

/// Refuses more answers than one.
pub(super) fn one_answer(request: &Request) -> Result<(), Fault> {
    if request.choices.is_some_and(|n| n > 1) {
        return Err(nothing_like("n", "Ask once for each answer"));
    }
    Ok(())
}

/// A tool in another dialect's own words.
#[cold]
#[inline(never)]
pub(super) fn native_tool(place: usize, tool: &Value) -> Fault {
    let kind = quoted(tool.get("type").and_then(Value::as_str).unwrap_or("?"));
    let path = format!("tools[{place}].type");
    let message = format!(
        "`{path}` {kind} is a tool only its own provider can run. Leave it out, or name a model of that provider."
    );
    Fault::invalid("unsupported_parameter", message).with_param(&path)
}

/// Whether a model that reasons is asked in words it takes.
pub(super) fn may_reason(deployment: &Deployment) -> bool {
    // An organisation's own provider (without a credential of ours) cannot say that it reasons: its callers know.
    let reasons = deployment.can(Ability::Reasoning) || deployment.provider.credential.is_none();
    reasons && !deployment.has(Quirk::NoReasoningEffort)
}

/// The words every model that reasons takes in `OpenAI`'s dialects; the finer ones differ from model to model.
pub(super) fn plain_effort(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High | Effort::XHigh | Effort::Max => Some("high"),
    }
}

/// How much a model shall reason, in a word it takes.
pub(super) fn level(deployment: &Deployment, asked: Effort) -> Effort {
    if deployment.efforts.is_empty() {
        // The words every model takes, where it is not known which this one does.
        return asked.clamp(Effort::Low, Effort::High);
    }
    deployment.nearest_effort(asked)
}

/// The choice of tools, as far as the deployment can be forced.
pub(super) fn choice<'a>(request: &'a Request, deployment: &Deployment) -> &'a ToolChoice {
    match request.tool_choice.as_ref().unwrap_or(&ToolChoice::Auto) {
        ToolChoice::Required | ToolChoice::Named(_) if deployment.has(Quirk::NoForcedTool) => &ToolChoice::Auto,
        choice => choice,
    }
}

/// Temperature, nucleus and the number of candidates by the dialect's names, as far as the deployment takes them.
pub(super) fn sampling(request: &Request, deployment: &Deployment, names: [&str; 3], members: &mut Map<String, Value>) {
    let (asked, [temperature, top_p, top_k]) = (&request.sampling, names);
    if deployment.has(Quirk::NoSampling) {
        return;
    }
    let one = deployment.has(Quirk::OneSampling) && asked.temperature.is_some();
    put(members, temperature, asked.temperature.map(Value::from));
    put(members, top_p, asked.top_p.filter(|_| !one).map(Value::from));
    put(members, top_k, asked.top_k.map(Value::from));
}

/// Penalties by the dialect's names, as far as the deployment takes them.
pub(super) fn penalties(
    request: &Request,
    deployment: &Deployment,
    names: [&str; 2],
    members: &mut Map<String, Value>,
) {
    let (asked, [frequency, presence]) = (&request.sampling, names);
    if !deployment.has(Quirk::NoPenalties) {
        put(members, frequency, asked.frequency_penalty.map(Value::from));
        put(members, presence, asked.presence_penalty.map(Value::from));
    }
}

/// Refuses texts to stop at where there is no place for any: an answer that goes on is another one.
pub(super) fn unstoppable(request: &Request) -> Result<(), Fault> {
    if request.sampling.stop.iter().any(|text| !text.is_empty()) {
        return Err(nothing_like("stop", "Leave it out"));
    }
    Ok(())
}

/// The texts an answer stops at.
///
/// # Errors
/// There are more than the dialect takes, or the deployment takes none.
pub(super) fn stops(request: &Request, deployment: &Deployment, most: usize) -> Result<Option<Value>, Fault> {
    if deployment.has(Quirk::NoStop) {
        return unstoppable(request).map(|()| None);
    }
    // Some refuse blank ones.
    let stop: Vec<&str> =
        request.sampling.stop.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    if stop.len() > most {
        return Err(nothing_like("stop", &format!("Name at most {most} texts")));
    }
    Ok((!stop.is_empty()).then(|| stop.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment() {
        for (id, told) in [
            ("gemini-2.5-flash", "gemini-2.5-flash"),
            ("claude-opus-4-5@20251101", "claude-opus-4-5@20251101"),
            ("us.amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1%3A0"),
            ("arn:aws:bedrock:x/y", "arn%3Aaws%3Abedrock%3Ax%2Fy"),
            ("a b/../c?é", "a%20b%2F..%2Fc%3F%C3%A9"),
        ] {
            assert_eq!(segment(id), told);
        }
    }
}
