//! Requests to a deployment.
//!
//! Let go, because a model answers as well without them: penalties, `seed`, `strict`, the end user's id, and
//! `parallel_tool_calls` where it is no Claude that is asked.
use super::{
    super::{
        Call, Order,
        anthropic::{JSON_ONLY, Thinking, tool_choice},
        sayable,
        sayable::{level, may_reason, native_tool, nothing_like, one_answer, put, segment},
        schema::constrain,
        turns::{self, Turn, called},
    },
    Maker,
    history::{Blocks, Marks, tool_name},
};
use crate::{
    catalog::Deployment,
    chat::{Effort, Format, Request, Tool, ToolChoice},
    fault::Fault,
    json::{json, written},
};
use serde_json::{Map, Value};

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    one_answer(request)?;
    let (deployment, maker) = (order.deployment, Maker::of(order.deployment));
    let thinking = if maker == Maker::Anthropic { Thinking::of(request, order) } else { Thinking::Off };
    let mut marks = Marks::of(request, maker);
    let mut extra = Map::new();
    let tools = tools(request, deployment, thinking, &mut marks, &mut extra)?;
    let (mut system, turns) = turns::of(request, &mut Blocks::new(maker, marks))?;
    if request.format == Format::JsonObject {
        system.push(json!({ "text": JSON_ONLY }));
    }
    let mut members = Map::new();
    put(&mut members, "system", (!system.is_empty()).then(|| system.into()));
    put(&mut members, "messages", Some(turns.into_iter().map(readable).map(Turn::message).collect()));
    put(&mut members, "toolConfig", tools);
    put(&mut members, "inferenceConfig", Some(inference(request, order, thinking, maker, &mut extra)?));
    put(&mut members, "outputConfig", format(&request.format));
    reasoning(request, deployment, thinking, maker, &mut extra);
    put(&mut members, "additionalModelRequestFields", (!extra.is_empty()).then(|| extra.into()));
    put(&mut members, "serviceTier", request.service_tier.map(|tier| json!({"type": tier.word()})));
    let (verb, headers) = if request.stream {
        ("/converse-stream", vec![("accept", "application/vnd.amazon.eventstream".to_owned())])
    } else {
        ("/converse", Vec::new())
    };
    let path = ["/model/", &segment(&deployment.model), verb].concat();
    Ok(Call { path, headers, body: written(&Value::Object(members)).into_bytes() })
}

/// A turn with a document needs a text.
fn readable(mut turn: Turn) -> Turn {
    let has = |name: &str| turn.blocks.iter().any(|block| block.get(name).is_some());
    if has("document") && !has("text") {
        turn.blocks.push(json!({"text": "Read the document."}));
    }
    turn
}

fn tools(
    request: &Request,
    deployment: &Deployment,
    thinking: Thinking,
    marks: &mut Marks,
    extra: &mut Map<String, Value>,
) -> Result<Option<Value>, Fault> {
    let claude = Maker::of(deployment) == Maker::Anthropic;
    let mut told = Vec::new();
    for (place, tool) in request.tools.iter().enumerate() {
        match tool {
            Tool::Function { name, description, parameters, cache, .. } => {
                told.push(spec(name, description.as_deref(), parameters.clone()));
                // Only Claude takes marks between tools.
                marks.put(cache.as_ref().filter(|_| claude), &mut told);
            }
            Tool::Native(native) => return Err(native_tool(place, native)),
        }
    }
    let called = called(request);
    let choice = match sayable::choice(request, deployment) {
        // The tools are only there for the history's sake.
        _ if told.is_empty() => &ToolChoice::None,
        ToolChoice::Required | ToolChoice::Named(_) if thinking != Thinking::Off => &ToolChoice::Auto,
        choice => choice,
    };
    if *choice == ToolChoice::None && called.is_empty() {
        return Ok(None);
    }
    if told.is_empty() {
        // A history with calls is refused without tools.
        told.extend(called.into_iter().map(|name| spec(&tool_name(name), None, None)));
    } else if *choice == ToolChoice::None && !claude {
        return Err(nothing_like("tool_choice", "Leave the tools out"));
    }
    let mut config = json!({ "tools": told });
    let single = request.parallel_tool_calls == Some(false);
    if claude && (single || *choice == ToolChoice::None) {
        // In Claude's own words, which say more.
        put(extra, "tool_choice", tool_choice(choice, request.parallel_tool_calls));
    } else if let Some(members) = config.as_object_mut() {
        let choice = match choice {
            ToolChoice::Required => Some(json!({"any": {}})),
            ToolChoice::Named(name) => Some(json!({"tool": {"name": name}})),
            ToolChoice::Auto | ToolChoice::None => None,
        };
        put(members, "toolChoice", choice);
    }
    Ok(Some(config))
}

fn spec(name: &str, description: Option<&str>, parameters: Option<Value>) -> Value {
    let mut schema = parameters.unwrap_or_else(|| json!({"properties": {}}));
    if let Some(members) = schema.as_object_mut() {
        members.entry("type").or_insert_with(|| "object".into());
    }
    let mut told = Map::new();
    put(&mut told, "name", Some(name.into()));
    put(&mut told, "description", description.filter(|text| !text.is_empty()).map(Value::from));
    put(&mut told, "inputSchema", Some(json!({ "json": schema })));
    json!({ "toolSpec": told })
}

fn inference(
    request: &Request,
    order: &Order<'_>,
    thinking: Thinking,
    maker: Maker,
    extra: &mut Map<String, Value>,
) -> Result<Value, Fault> {
    let mut config = Map::new();
    put(&mut config, "maxTokens", Some(order.max_output_tokens.into()));
    // A thinking model takes no sampling.
    if thinking == Thinking::Off {
        sayable::sampling(request, order.deployment, ["temperature", "topP", "top_k"], &mut config);
        let top_k = config.shift_remove("top_k");
        match maker {
            Maker::Anthropic => put(extra, "top_k", top_k),
            Maker::Amazon => put(extra, "inferenceConfig", top_k.map(|top_k| json!({"topK": top_k}))),
            Maker::Openai | Maker::Other => {}
        }
        // The scale ends at 1 here, at 2 elsewhere.
        if config.get("temperature").and_then(Value::as_f64).is_some_and(|t| t > 1.0) {
            put(&mut config, "temperature", Some(1.into()));
        }
    }
    put(&mut config, "stopSequences", sayable::stops(request, order.deployment, 2_500)?);
    Ok(config.into())
}

fn format(format: &Format) -> Option<Value> {
    let Format::JsonSchema { name, description, schema, .. } = format else { return None };
    let mut schema = schema.clone();
    constrain(&mut schema);
    let mut told = Map::new();
    put(&mut told, "schema", Some(written(&schema).into()));
    put(&mut told, "name", (!name.is_empty()).then(|| name.as_str().into()));
    put(&mut told, "description", description.as_deref().map(Value::from));
    Some(json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}))
}

fn reasoning(
    request: &Request,
    deployment: &Deployment,
    thinking: Thinking,
    maker: Maker,
    extra: &mut Map<String, Value>,
) {
    put(extra, "thinking", thinking.value());
    if let Thinking::Adaptive(effort) = thinking {
        put(extra, "output_config", Some(json!({ "effort": effort })));
    }
    let Some(asked) = request.effort.filter(|effort| *effort > Effort::None && may_reason(deployment)) else { return };
    let effort = level(deployment, asked);
    match maker {
        Maker::Openai if deployment.model.contains("gpt-oss") => {
            put(extra, "reasoning_effort", Some(effort.word().into()));
        }
        Maker::Openai => put(extra, "reasoning", Some(json!({"effort": effort.word()}))),
        Maker::Amazon => {
            // At "high" an answer may have no bound, and ours always has one.
            let effort = effort.clamp(Effort::Low, Effort::Medium).word();
            put(extra, "reasoningConfig", Some(json!({"type": "enabled", "maxReasoningEffort": effort})));
        }
        Maker::Anthropic | Maker::Other => {}
    }
}

#[cfg(test)]
mod tests;
