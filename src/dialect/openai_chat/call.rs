//! Requests to a deployment: a caller's own passed on with what must change, or written anew from the hub.
use super::{
    super::{
        Call, Order,
        foreign::without_likelihoods,
        routed,
        sayable::{may_reason, native_tool, nothing_like, plain_effort, unstoppable},
        without_hosted,
    },
    history,
};
use crate::json::{json, put, put_text, written};
use crate::{
    body::Body,
    catalog::{Deployment, Quirk},
    chat::{Effort, Format, Request, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// All members of the original, <https://platform.openai.com/docs/api-reference/chat/create>.
const MEMBERS: &str = " audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens \
    messages metadata modalities model moderation n parallel_tool_calls presence_penalty prompt_cache_key \
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop \
    store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options ";

/// Members set (`Some`) or left out (`None`), whatever the caller wrote there.
type Changes = Vec<(&'static str, Option<Value>)>;

pub(super) fn forward(body: &Body, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    answerable(request, order.deployment)?;
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = adjustments(request, order)
        .into_iter()
        .map(|(name, value)| (name, value.map(|value| Cow::Owned(written(&value)))))
        .collect();
    without_hosted(body, request, &mut changes);
    if order.deployment.has(Quirk::KnownMembers) {
        let unknown = |name: &&str| !MEMBERS.contains(&format!(" {name} "));
        changes.extend(body.names().filter(unknown).map(|name| (name, None)));
    }
    // A caller's options may hold more than the wish for usage.
    if let Some(slot) = changes.iter_mut().find(|(name, wish)| *name == "stream_options" && wish.is_some())
        && let Some(options) = body.set("stream_options").and_then(|raw| Body::parse(raw.as_bytes().to_vec()).ok())
        && let Ok(merged) = String::from_utf8(options.rewritten(&[("include_usage", Some("true".into()))]))
    {
        slot.1 = Some(merged.into());
    }
    if let Some(raw) = body.set("messages")
        && let Some(mended) = history::mended(raw, request, order.deployment)
    {
        changes.push(("messages", Some(mended.into())));
    }
    Ok(call(routed(body, changes)))
}

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    /// The most `OpenAI` takes.
    const STOPS_MAX: usize = 4;
    answerable(request, order.deployment)?;
    if request.sampling.stop.len() > STOPS_MAX {
        return Err(nothing_like("stop", "Name at most 4 texts"));
    }
    let mut members = plain(request)?;
    for (name, change) in adjustments(request, order) {
        match change {
            Some(value) => members.insert(name.to_owned(), value),
            None => members.shift_remove(name),
        };
    }
    let mut messages = history::encode(request)?;
    history::mend(&mut messages, order.deployment);
    put(&mut members, "messages", messages.into());
    Ok(call(written(&Value::Object(members)).into_bytes()))
}

/// Refuses what changes the answer and what the deployment does not take.
fn answerable(request: &Request, deployment: &Deployment) -> Result<(), Fault> {
    if deployment.has(Quirk::NoStop) {
        unstoppable(request)?;
    }
    if deployment.has(Quirk::NoPenalties) { without_likelihoods(request) } else { Ok(()) }
}

fn call(body: Vec<u8>) -> Call {
    Call { path: "/chat/completions".to_owned(), headers: Vec::new(), body }
}

/// All a deployment wants otherwise than the caller may have written it, messages aside.
fn adjustments(request: &Request, order: &Order<'_>) -> Changes {
    let deployment = order.deployment;
    let mut changes: Changes = vec![("model", Some(deployment.model.as_str().into()))];
    let (bound, other) = if deployment.has(Quirk::MaxTokens) {
        ("max_tokens", "max_completion_tokens")
    } else {
        ("max_completion_tokens", "max_tokens")
    };
    // A prediction is billed as output where it was wrong, and OpenAI takes none beside a bound.
    changes.extend([(bound, Some(order.max_output_tokens.into())), (other, None), ("prediction", None)]);
    let usage_on_request = request.stream && !deployment.has(Quirk::NoStreamOptions);
    changes.push(("stream_options", usage_on_request.then(|| json!({"include_usage": true}))));
    let refused: [(Quirk, &[&'static str]); 4] = [
        (Quirk::NoSampling, &["temperature", "top_p", "top_k"]),
        (Quirk::NoStop, &["stop"]),
        (Quirk::NoPenalties, &["presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"]),
        (Quirk::NoStore, &["store", "metadata"]),
    ];
    for (_, names) in refused.iter().filter(|(quirk, _)| deployment.has(*quirk)) {
        changes.extend(names.iter().map(|name| (*name, None)));
    }
    let sampling = &request.sampling;
    if deployment.has(Quirk::OneSampling) && sampling.temperature.is_some() && sampling.top_p.is_some() {
        changes.push(("top_p", None));
    }
    if deployment.has(Quirk::RandomSeed)
        && let Some(seed) = sampling.seed
    {
        changes.extend([("seed", None), ("random_seed", Some(seed.into()))]);
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if deployment.has(Quirk::NoForcedTool) && forced {
        changes.push(("tool_choice", Some("auto".into())));
    }
    changes.extend(reasoning_change(request, order));
    changes
}

/// What becomes of `reasoning_effort`, if anything must.
fn reasoning_change(request: &Request, order: &Order<'_>) -> Option<(&'static str, Option<Value>)> {
    const EFFORT: &str = "reasoning_effort";
    let deployment = order.deployment;
    if !may_reason(deployment) {
        return request.effort.map(|_| (EFFORT, None));
    }
    let functions = request.tools.iter().any(|tool| matches!(tool, Tool::Function { .. }));
    if functions && deployment.has(Quirk::ToolsWithoutReasoning) {
        return Some((EFFORT, Some(Effort::None.word().into())));
    }
    // Where nothing is known of a model's efforts, the caller's own word stands.
    let said = !deployment.efforts.is_empty() || deployment.has(Quirk::KnownMembers);
    let effort = request.effort.filter(|_| said)?;
    Some((EFFORT, Some(deployment.nearest_effort(effort).word().into())))
}

/// The request in the dialect's own words, before any deployment's wishes; without `messages`.
fn plain(request: &Request) -> Result<Map<String, Value>, Fault> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            put(&mut members, name, value);
        }
    };
    // Their place; the values come with the adjustments.
    put("model", Some(Value::Null));
    put("messages", Some(Value::Null));
    let mut tools = Vec::with_capacity(request.tools.len());
    for (place, told) in request.tools.iter().enumerate() {
        tools.push(tool(place, told)?);
    }
    let any_tools = !tools.is_empty();
    put("tools", any_tools.then(|| tools.into()));
    put("tool_choice", request.tool_choice.as_ref().filter(|_| any_tools).map(tool_choice));
    put("parallel_tool_calls", request.parallel_tool_calls.filter(|_| any_tools).map(Value::from));
    put("response_format", format(&request.format));
    let sampling = &request.sampling;
    put("temperature", sampling.temperature.map(Value::from));
    put("top_p", sampling.top_p.map(Value::from));
    put("frequency_penalty", sampling.frequency_penalty.map(Value::from));
    put("presence_penalty", sampling.presence_penalty.map(Value::from));
    put("seed", sampling.seed.map(Value::from));
    put("stop", (!sampling.stop.is_empty()).then(|| sampling.stop.as_slice().into()));
    put("reasoning_effort", request.effort.and_then(plain_effort).map(Value::from));
    put("n", request.choices.map(Value::from));
    put("service_tier", request.service_tier.map(|tier| tier.word().into()));
    put("stream", request.stream.then_some(Value::Bool(true)));
    put("user", request.user.as_deref().map(Value::from));
    Ok(members)
}

pub(in crate::dialect) fn tool(place: usize, tool: &Tool) -> Result<Value, Fault> {
    match tool {
        Tool::Function { name, description, parameters, strict, cache: _ } => {
            let mut function = Map::new();
            put_text(&mut function, "name", name.as_str());
            if let Some(description) = description {
                put_text(&mut function, "description", description.as_str());
            }
            let nothing = || json!({"type": "object", "properties": {}});
            put(&mut function, "parameters", parameters.clone().unwrap_or_else(nothing));
            if let Some(strict) = strict {
                put(&mut function, "strict", (*strict).into());
            }
            Ok(json!({"type": "function", "function": function}))
        }
        Tool::Native(native) => Err(native_tool(place, native)),
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn format(format: &Format) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::JsonSchema { name, description, schema, strict } => {
            let mut told = json!({"name": name, "schema": schema});
            if let Some(members) = told.as_object_mut() {
                members.extend(description.as_ref().map(|text| ("description".to_owned(), text.as_str().into())));
                members.extend(strict.map(|strict| ("strict".to_owned(), strict.into())));
            }
            Some(json!({"type": "json_schema", "json_schema": told}))
        }
    }
}

#[cfg(test)]
mod tests;
