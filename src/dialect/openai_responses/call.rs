//! Requests to a deployment: a caller's own passed on with what must change, or written anew from the hub.
use super::{
    super::{
        Call, Order, routed,
        sayable::{may_reason, native_tool, nothing_like, one_answer, plain_effort, unstoppable},
        without_hosted,
        writing::{member, open, text},
    },
    history,
};
use crate::{
    body::{Body, quoted},
    catalog::{Ability, Quirk},
    chat::{Format, Request, Tool, ToolChoice},
    fault::Fault,
    json::written,
};
use serde_json::Value;
use std::borrow::Cow;

/// Where nothing is stored, reasoning comes along sealed.
const SEALED: &str = "reasoning.encrypted_content";

/// The least bound on output tokens that `OpenAI` takes.
const OUTPUT_MIN: u64 = 16;

/// All members of the original, <https://platform.openai.com/docs/api-reference/responses/create>.
const MEMBERS: &str = " access_programs background client_metadata context_management image include input instructions \
    max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls prompt_cache_key prompt_cache_options \
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text \
    tool_choice tools top_logprobs top_p truncation user ";

pub(super) fn forward(body: &Body, request: &Request, order: &Order<'_>) -> Call {
    let deployment = order.deployment;
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = vec![
        ("model", Some(quoted(&deployment.model).into())),
        ("max_output_tokens", Some(order.max_output_tokens.to_string().into())),
        // Where nothing is said, it is stored: also where a chat completion's `store` is unknown.
        ("store", Some("false".into())),
    ];
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if deployment.has(Quirk::NoForcedTool) && forced {
        changes.push(("tool_choice", Some("\"auto\"".into())));
    }
    without_hosted(body, request, &mut changes);
    if !request.hosted.is_empty()
        && let Some(choice) = body.set("tool_choice").and_then(without_unnamed)
    {
        changes.push(("tool_choice", Some(choice.into())));
    }
    reasoning(body, request, order, &mut changes);
    if let Some(mended) = body.set("input").and_then(history::mended) {
        changes.push(("input", Some(mended.into())));
    }
    let refused: [(Quirk, &[&'static str]); 3] = [
        (Quirk::NoStore, &["metadata"]),
        (Quirk::NoSampling, &["temperature", "top_p"]),
        (Quirk::OneSampling, if request.sampling.temperature.is_some() { &["top_p"] } else { &[] }),
    ];
    for (quirk, names) in refused {
        if deployment.has(quirk) {
            changes.extend(names.iter().map(|name| (*name, None)));
        }
    }
    if deployment.has(Quirk::KnownMembers) {
        let unknown = |name: &&str| !MEMBERS.contains(&format!(" {name} "));
        changes.extend(body.names().filter(unknown).map(|name| (name, None)));
    }
    Call { path: "/responses".to_owned(), headers: Vec::new(), body: routed(body, changes) }
}

/// What becomes of `reasoning` and of what is to be included of it.
fn reasoning(body: &Body, request: &Request, order: &Order<'_>, changes: &mut Vec<(&str, Option<Cow<'_, str>>)>) {
    const NAME: &str = "reasoning";
    let deployment = order.deployment;
    if deployment.can(Ability::Reasoning) {
        changes.push(("include", Some(including(body.set("include")).into())));
    }
    if !may_reason(deployment) {
        changes.push((NAME, None));
    } else if let Some(effort) = request.effort.filter(|_| !deployment.efforts.is_empty()) {
        let told = Body::parse(body.set(NAME).unwrap_or("{}").as_bytes().to_vec()).unwrap_or_default();
        let word = quoted(deployment.nearest_effort(effort).word());
        let told = String::from_utf8(told.rewritten(&[("effort", Some(word.into()))]));
        changes.push((NAME, told.ok().map(Cow::Owned)));
    }
}

/// A caller's `include` with the reasoning sealed.
fn including(raw: Option<&str>) -> String {
    let told: Value = raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let mut names = match told {
        Value::Array(names) => names,
        _ => Vec::new(),
    };
    if !names.iter().any(|name| name == SEALED) {
        names.push(SEALED.into());
    }
    written(&Value::Array(names))
}

/// A choice among allowed tools without the hosted ones, which are gone. They have no names.
fn without_unnamed(raw: &str) -> Option<String> {
    let mut choice: Value = serde_json::from_str(raw).ok()?;
    choice.get_mut("tools")?.as_array_mut()?.retain(|tool| tool.get("name").is_some());
    Some(written(&choice))
}

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    let plain = plain(request, order)?;
    // From here on it is like a caller's own.
    Ok(forward(&Body::parse(plain.into_bytes()).unwrap_or_default(), request, order))
}

/// The request in the dialect's own words, before any deployment's wishes.
fn plain(request: &Request, order: &Order<'_>) -> Result<String, Fault> {
    // Hints (penalties, seed, logit bias) are let go.
    one_answer(request)?;
    unstoppable(request)?;
    if order.max_output_tokens < OUTPUT_MIN {
        return Err(nothing_like("max_tokens", "Allow at least 16 tokens"));
    }
    let system = if order.deployment.has(Quirk::NoDeveloperRole) { "system" } else { "developer" };
    let mut told = String::from("{");
    let out = &mut told;
    history::encode(request, system, out)?;
    if !request.tools.is_empty() {
        member(out, "tools", "[");
        for (place, one) in request.tools.iter().enumerate() {
            tool(place, one, out)?;
        }
        out.push(']');
        if let Some(choice) = &request.tool_choice {
            tool_choice(choice, request, out);
        }
        flag(out, "parallel_tool_calls", request.parallel_tool_calls);
    }
    format(&request.format, out);
    for (name, number) in [("temperature", request.sampling.temperature), ("top_p", request.sampling.top_p)] {
        if let Some(number) = number {
            member(out, name, &written(&Value::from(number)));
        }
    }
    if let Some(effort) = request.effort.and_then(plain_effort) {
        member(out, "reasoning", "{");
        text(out, "effort", effort);
        out.push('}');
    }
    if let Some(tier) = request.service_tier {
        text(out, "service_tier", tier.word());
    }
    if let Some(user) = &request.user {
        text(out, "user", user);
    }
    flag(out, "stream", request.stream.then_some(true));
    out.push('}');
    Ok(told)
}

fn flag(out: &mut String, name: &str, told: Option<bool>) {
    if let Some(flag) = told {
        member(out, name, if flag { "true" } else { "false" });
    }
}

fn tool(place: usize, tool: &Tool, out: &mut String) -> Result<(), Fault> {
    match tool {
        Tool::Function { name, description, parameters, strict, cache: _ } => {
            open(out, '{');
            text(out, "type", "function");
            text(out, "name", name);
            if let Some(description) = description {
                text(out, "description", description);
            }
            match parameters {
                Some(parameters) => member(out, "parameters", &written(parameters)),
                None => member(out, "parameters", r#"{"type":"object","properties":{}}"#),
            }
            // Here it is true where nothing is said, elsewhere false.
            flag(out, "strict", Some(strict.unwrap_or(false)));
        }
        Tool::Native(native) => {
            // A chat completion's tool with free input is one level deeper, and its grammar two.
            let Some(Value::Object(custom)) = native.get("custom") else { return Err(native_tool(place, native)) };
            open(out, '{');
            text(out, "type", "custom");
            for (name, value) in custom {
                match value.get("grammar").and_then(Value::as_object).filter(|_| name == "format") {
                    None => member(out, name, &written(value)),
                    Some(grammar) => {
                        member(out, name, r#"{"type":"grammar""#);
                        for (name, value) in grammar {
                            member(out, name, &written(value));
                        }
                        out.push('}');
                    }
                }
            }
        }
    }
    out.push('}');
    Ok(())
}

fn tool_choice(choice: &ToolChoice, request: &Request, out: &mut String) {
    const NAME: &str = "tool_choice";
    match choice {
        ToolChoice::Auto => text(out, NAME, "auto"),
        ToolChoice::None => text(out, NAME, "none"),
        ToolChoice::Required => text(out, NAME, "required"),
        ToolChoice::Named(name) => {
            let custom = request.tools.iter().any(|tool| history::is_custom(tool, name));
            member(out, NAME, "{");
            text(out, "type", if custom { "custom" } else { "function" });
            text(out, "name", name);
            out.push('}');
        }
    }
}

fn format(format: &Format, out: &mut String) {
    if *format == Format::Text {
        return;
    }
    member(out, "text", r#"{"format":{"#);
    if let Format::JsonSchema { name, description, schema, strict } = format {
        text(out, "type", "json_schema");
        text(out, "name", name);
        member(out, "schema", &written(schema));
        if let Some(description) = description {
            text(out, "description", description);
        }
        flag(out, "strict", *strict);
    } else {
        text(out, "type", "json_object");
    }
    out.push_str("}}");
}

#[cfg(test)]
mod tests;
