use super::*;
use crate::{chat::Finish, fault::Cause, json::json};

fn events(frames: &[(&str, Value)]) -> Vec<Event> {
    let (mut decoder, mut events) = (ResponseDecoder::default(), Vec::new());
    for (kind, members) in frames {
        let mut told = members.clone();
        told["type"] = json!(format!("response.{kind}"));
        let data = told.to_string();
        decoder.decode(&Frame { event: "", data: &data, raw: b"" }, &mut events).expect("well formed");
    }
    events
}

/// What comes between the start and the end.
fn said(frames: &[(&str, Value)]) -> Vec<Event> {
    let told = events(frames);
    let between =
        |event: &Event| !matches!(event, Event::Start { .. } | Event::Usage(_) | Event::Finish { .. } | Event::End);
    told.into_iter().filter(between).collect()
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into() }
}

fn start(index: u32, id: &str, name: &str) -> Event {
    Event::ToolStart { choice: 0, index, id: id.into(), name: name.into() }
}

fn arguments(index: u32, fragment: &str) -> Event {
    Event::ToolArguments { choice: 0, index, fragment: fragment.into() }
}

fn call() -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{\"x\":1}"})
}

#[test]
fn what_is_told_twice_is_told_once() {
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": "ab"}, {"type": "refusal", "refusal": "no"}]});
    let done = ("output_item.done", json!({"output_index": 1, "item": message}));
    let delta = |text: &str| ("output_text.delta", json!({"output_index": 1, "delta": text}));
    let refusal = Event::Refusal { choice: 0, text: "no".into() };
    assert_eq!(said(&[delta("a"), delta("b"), done.clone()]), [text("a"), text("b"), refusal.clone()]);
    assert_eq!(said(&[done.clone(), done.clone()]), [text("ab"), refusal.clone()], "a host without fragments");
    let whole = ("completed", json!({"response": {"output": [message, call()]}}));
    let all = [text("ab"), refusal.clone(), start(0, "c", "f"), arguments(0, "{\"x\":1}")];
    assert_eq!(said(std::slice::from_ref(&whole)), all, "a host with one event");
    assert_eq!(said(&[done, whole]), [text("ab"), refusal]);
}

#[test]
fn what_was_left_out_is_made_up_for() {
    let at = |kind: &'static str, members: Value| {
        let mut told = members;
        told["output_index"] = json!(1);
        (kind, told)
    };
    let begun = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""});
    let added = at("output_item.added", json!({ "item": begun }));
    let delta = |text: &str| at("function_call_arguments.delta", json!({ "delta": text }));
    let arguments_done = at("function_call_arguments.done", json!({"arguments": "{\"x\":1}"}));
    let item_done = at("output_item.done", json!({ "item": call() }));
    let completed = ("completed", json!({"response": {"output": [{"type": "reasoning"}, call()]}}));
    let (head, tail) = (arguments(0, "{\"x\""), arguments(0, ":1}"));
    let all = [start(0, "c", "f"), arguments(0, "{\"x\":1}")];
    let pieces = [start(0, "c", "f"), head, tail];
    for last in [&arguments_done, &item_done, &completed] {
        assert_eq!(said(&[added.clone(), last.clone()]), all, "{last:?}");
        assert_eq!(said(&[added.clone(), delta("{\"x\""), last.clone()]), pieces, "{last:?}");
    }
    let repeated = [added.clone(), delta("{\"x\":1}"), arguments_done.clone(), item_done, completed];
    assert_eq!(said(&repeated), all);
    assert_eq!(said(&[added.clone(), delta("{}"), arguments_done]), [start(0, "c", "f"), arguments(0, "{}")], "told");
    assert_eq!(said(&[added, ("completed", json!({}))]), [start(0, "c", "f"), arguments(0, "{}")]);

    let custom = json!({"type": "custom_tool_call", "call_id": "c", "name": "t", "input": ""});
    let begun = at("output_item.added", json!({ "item": custom }));
    let input = at("custom_tool_call_input.done", json!({"input": "a\"b"}));
    let open = [start(0, "c", "t"), arguments(0, r#"{"input":"a\"b"#), arguments(0, "\"}")];
    assert_eq!(said(&[begun, input, ("completed", json!({}))]), open);

    let text_done = |text: &str| at("output_text.done", json!({ "text": text }));
    let refusal_done = at("refusal.done", json!({"refusal": "no"}));
    let refusal = Event::Refusal { choice: 0, text: "no".into() };
    let message = json!({"type": "message", "content": [{"text": "ab"}, {"text": "cd"}, {"refusal": "no"}]});
    let item_done = at("output_item.done", json!({ "item": message }));
    let streamed = at("output_text.delta", json!({"delta": "a"}));
    let told = said(&[streamed, text_done("ab"), text_done("cd"), refusal_done, item_done]);
    assert_eq!(told, [text("a"), text("b"), text("cd"), refusal]);
}

#[test]
fn calls_are_told_as_they_come() {
    let added = |index: u64, item: Value| ("output_item.added", json!({"output_index": index, "item": item}));
    let delta =
        |index: u64, text: &str| ("function_call_arguments.delta", json!({"output_index": index, "delta": text}));
    let done = |index: u64, item: Value| ("output_item.done", json!({"output_index": index, "item": item}));
    let begun = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""});
    let other = json!({"type": "function_call", "id": "fc_2", "name": "g", "arguments": ""});
    assert_eq!(
        said(&[
            added(0, begun.clone()),
            added(3, other),
            delta(3, "{"),
            delta(0, "{\"x\":1}"),
            delta(3, "}"),
            done(0, call())
        ]),
        [start(0, "c", "f"), start(1, "fc_2", "g"), arguments(1, "{"), arguments(0, "{\"x\":1}"), arguments(1, "}")]
    );
    assert_eq!(said(&[added(0, begun), done(0, call())]), [start(0, "c", "f"), arguments(0, "{\"x\":1}")]);
    assert_eq!(said(&[done(0, call())]), [start(0, "c", "f"), arguments(0, "{\"x\":1}")]);
    assert_eq!(said(&[delta(7, "{}")]), [], "arguments of nothing");
}

#[test]
fn free_input_stands_in_an_object() {
    let item = |input: &str| json!({"type": "custom_tool_call", "call_id": "c", "name": "t", "input": input});
    let delta = |text: &str| ("custom_tool_call_input.delta", json!({"output_index": 0, "delta": text}));
    let added = ("output_item.added", json!({"output_index": 0, "item": item("")}));
    let done = ("output_item.done", json!({"output_index": 0, "item": item("a\"b\n")}));
    let whole = |frames: &[(&str, Value)]| -> String {
        let told = said(frames);
        assert_eq!(told[0], start(0, "c", "t"));
        let fragment = |event: &Event| {
            if let Event::ToolArguments { fragment, .. } = event { fragment.clone() } else { String::new() }
        };
        told.iter().map(fragment).collect()
    };
    assert_eq!(whole(&[added.clone(), delta("a\""), delta("b\n"), done.clone()]), r#"{"input":"a\"b\n"}"#);
    assert_eq!(whole(&[added, done]), r#"{"input":"a\"b\n"}"#);
}

#[test]
fn reasoning_is_told_in_one_form_and_sealed_at_its_end() {
    let reasoning = |text: &str| Event::Reasoning { choice: 0, text: text.into() };
    let summary = |text: &str| ("reasoning_summary_text.delta", json!({"output_index": 0, "delta": text}));
    let full = |text: &str| ("reasoning_text.delta", json!({"output_index": 0, "delta": text}));
    let part = ("reasoning_summary_part.added", json!({"output_index": 0, "summary_index": 0}));
    let item = json!({"type": "reasoning", "summary": [{"text": "ab"}], "content": [{"text": "x"}], "encrypted_content": "gAAA"});
    let done = ("output_item.done", json!({"output_index": 0, "item": item}));
    let sealed = Event::Signature { choice: 0, signature: "openai.gAAA".into() };
    let told = said(&[part.clone(), summary("a"), part, summary("b"), full("x"), done.clone()]);
    assert_eq!(told, [reasoning("a"), reasoning("\n\n"), reasoning("b"), sealed.clone()]);
    assert_eq!(said(&[full("x"), summary("a")]), [reasoning("x")]);
    assert_eq!(said(&[done]), [reasoning("x"), sealed]);
}

#[test]
fn every_end_is_told() {
    let told = |kind: &str, response: Value, calls: bool| {
        let call = ("output_item.done", json!({"output_index": 0, "item": call()}));
        let mut frames = vec![(kind, json!({ "response": response }))];
        if calls {
            frames.insert(0, call);
        }
        events(&frames).into_iter().find_map(|event| match event {
            Event::Finish { finish, native, .. } => Some((finish, native.unwrap_or_default())),
            _ => None,
        })
    };
    let cut = |reason: &str| json!({"status": "incomplete", "incomplete_details": {"reason": reason}});
    for (kind, response, calls, finish, native) in [
        ("completed", json!({"status": "completed"}), false, Finish::Stop, "completed"),
        ("completed", json!({}), true, Finish::ToolCalls, "completed"),
        ("incomplete", cut("max_output_tokens"), true, Finish::Length, "max_output_tokens"),
        ("incomplete", cut("content_filter"), false, Finish::ContentFilter, "content_filter"),
        ("incomplete", json!({"status": "incomplete"}), false, Finish::Length, "incomplete"),
        ("completed", cut("max_output_tokens"), false, Finish::Length, "max_output_tokens"),
    ] {
        assert_eq!(told(kind, response, calls), Some((finish, native.to_owned())), "{kind}");
    }
    let usage = json!({"response": {"usage": {"input_tokens": 3, "output_tokens": 4}}});
    let told = events(&[
        ("created", json!({"response": {"id": "r", "model": "m"}})),
        ("completed", usage),
        ("completed", json!({})),
    ]);
    assert!(matches!(&told[0], Event::Start { id, model } if id == "r" && model == "m"));
    assert!(matches!(&told[1], Event::Usage(usage) if (usage.input, usage.output) == (3, 4)));
    assert!(matches!(&told[2..], [Event::Finish { .. }, Event::End]), "nothing comes after the end: {told:?}");
}

#[test]
fn failures_are_told_in_every_form() {
    let told = |event: &str, data: &str| {
        let (mut decoder, mut events) = (ResponseDecoder::default(), Vec::new());
        decoder.decode(&Frame { event, data, raw: b"" }, &mut events).expect("well formed");
        assert!(!events.contains(&Event::End));
        events.into_iter().find_map(|event| if let Event::Fault(fault) = event { Some(fault.cause) } else { None })
    };
    for (event, data, cause) in [
        (
            "error",
            r#"{"type":"error","code":"rate_limit_exceeded","message":"slow down: rate limit","param":null}"#,
            Cause::RateLimited,
        ),
        ("", r#"{"type":"error","error":{"code":"insufficient_quota","message":"You exceeded"}}"#, Cause::OutOfFunds),
        (
            "response.failed",
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}"#,
            Cause::Server,
        ),
        (
            "",
            r#"{"type":"response.failed","response":{"error":{"code":"context_length_exceeded","message":"x"}}}"#,
            Cause::ContextLength,
        ),
        (
            "response.completed",
            r#"{"type":"response.completed","response":{"status":"failed","error":null}}"#,
            Cause::Server,
        ),
    ] {
        assert_eq!(told(event, data), Some(cause), "{data}");
    }
    let mut decoder = ResponseDecoder::default();
    let mut decode = |data| decoder.decode(&Frame { event: "", data, raw: b"" }, &mut Vec::new());
    assert_eq!(
        (decode("7"), decode("{"), decode(""), decode("[DONE]")),
        (Err(MalformedFrame), Err(MalformedFrame), Ok(()), Ok(()))
    );
}

#[test]
fn only_fragments_pass_unread() {
    let mut decoder = ResponseDecoder::default();
    let frame = |event| Frame { event, data: r#"{"x":1}"#, raw: b"" };
    assert_eq!(decoder.glance(&frame("response.output_text.delta")), Glance::Read, "before the start");
    decoder.decode(&frame("response.created"), &mut Vec::new()).expect("well formed");
    for event in
        ["response.output_text.delta", "response.function_call_arguments.delta", "response.reasoning_text.delta"]
    {
        assert_eq!(decoder.glance(&frame(event)), Glance::Pass);
    }
    for event in [
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
        "response.output_item.added",
        "",
        "x.delta",
    ] {
        assert_eq!(decoder.glance(&frame(event)), Glance::Read, "{event}");
    }
    let done = json!({"type": "response.output_item.done", "item": {"type": "message", "content": [{"type": "output_text", "text": "a"}]}});
    let mut told = Vec::new();
    decoder.decode(&Frame { event: "", data: &done.to_string(), raw: b"" }, &mut told).expect("well formed");
    assert_eq!(told, [], "what passed unread is not told again");
}
