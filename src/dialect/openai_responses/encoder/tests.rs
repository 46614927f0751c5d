use super::{super::fixtures::body, *};
use crate::{id::Dice, json::json};
use serde_json::Value;
use std::rc::Rc;

fn stamp(asked: &str) -> Stamp {
    let (request_id, model) = ("req_1".into(), "acme/r".into());
    Stamp { request_id, model, created: 5, wants_usage: true, asked: Rc::new(body(asked)), ..Stamp::default() }
}

/// What a caller reads of a stream.
fn read(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).expect("text");
    let mut told = Vec::new();
    for frame in text.split_terminator("\n\n") {
        let (event, data) = frame.split_once("\ndata: ").expect("an event and its data");
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
        told.push(data);
    }
    told
}

/// A stream of these events, and everything that must hold of any.
fn written(asked: &str, events: &[Event]) -> Vec<Value> {
    let (mut encoder, mut out) = (ResponseEncoder::new(stamp(asked)), Vec::new());
    for event in events {
        encoder.encode(event, &mut out);
    }
    encoder.finish(Some(&Usage { input: 9, output: 20, ..Usage::default() }), Some(Nanos(7)), &mut out);
    let told = read(&out);
    let (mut added, mut done): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut texts = vec![String::new(); events.len() + 1];
    for (number, event) in (0_u64..).zip(&told) {
        assert_eq!(event["sequence_number"], number);
        let index = usize::try_from(event["output_index"].as_u64().unwrap_or(0)).expect("small");
        match event["type"].as_str().expect("a type") {
            "response.output_item.added" => {
                assert_eq!(index, added.len(), "one index more");
                assert!(added.iter().all(|item| item["id"] != event["item"]["id"]), "added once");
                added.push(event["item"].clone());
            }
            "response.output_item.done" => {
                assert_eq!(index, done.len(), "closed in order");
                assert_eq!(event["item"]["id"], added[index]["id"], "ids stay");
                done.push(event["item"].clone());
            }
            _ if event.get("item_id").is_some() => {
                assert_eq!(event["item_id"], added[index]["id"], "added before it is named");
                assert!(index >= done.len(), "nothing comes after the end of an item");
                texts[index] += event.get("delta").map_or("", |delta| delta.as_str().expect("text"));
            }
            _ => {}
        }
    }
    for (item, text) in done.iter().zip(&texts) {
        let parts = item.get("content").or_else(|| item.get("summary")).and_then(Value::as_array);
        let of_part =
            |part: &Value| part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str).map(str::to_owned);
        let call = ["arguments", "input"].iter().find_map(|name| item.get(*name)?.as_str());
        let whole = parts
            .map_or_else(|| call.unwrap_or_default().to_owned(), |parts| parts.iter().filter_map(of_part).collect());
        assert_eq!(whole, *text, "the fragments are the whole");
    }
    let last = told.last().expect("an end");
    assert_eq!(last["response"]["output"].as_array(), Some(&done));
    assert_eq!(added.len(), done.len());
    told
}

fn kinds(told: &[Value]) -> Vec<&str> {
    told.iter().map(|event| event["type"].as_str().expect("a type").trim_start_matches("response.")).collect()
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into() }
}

fn call(index: u32, id: &str, name: &str) -> Event {
    Event::ToolStart { choice: 0, index, id: id.into(), name: name.into() }
}

fn arguments(index: u32, fragment: &str) -> Event {
    Event::ToolArguments { choice: 0, index, fragment: fragment.into() }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.into() }
}

fn sign(signature: &str) -> Event {
    Event::Signature { choice: 0, signature: signature.into() }
}

fn finish(finish: Finish) -> Event {
    Event::Finish { choice: 0, finish, native: None }
}

#[test]
fn the_stream_is_by_the_book() {
    let told = written(
        r#"{"model":"r"}"#,
        &[
            Event::Start { id: "x".into(), model: "y".into() },
            reasoning("Hm"),
            reasoning("m."),
            sign("openai.gAAA"),
            text("Let "),
            text("me."),
            call(0, "call_a", "f"),
            arguments(0, "{\"x\""),
            arguments(0, ":1}"),
            call(1, "call_b", "g"),
            finish(Finish::ToolCalls),
            Event::End,
        ],
    );
    assert_eq!(
        kinds(&told),
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "output_item.added",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!((&told[0]["response"]["status"], &told[0]["response"]["usage"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(
        told[9]["item"],
        json!({"id": "msg_1_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []})
    );
    assert_eq!(
        told[11],
        json!({"type": "response.output_text.delta", "sequence_number": 11, "item_id": "msg_1_1", "output_index": 1,
            "content_index": 0, "delta": "Let ", "logprobs": []})
    );
    assert_eq!(
        told[25]["response"]["output"],
        json!([
            {"id": "rs_1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hmm."}], "encrypted_content": "gAAA"},
            {"id": "msg_1_1", "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me.", "annotations": [], "logprobs": []}]},
            {"id": "fc_1_2", "type": "function_call", "status": "completed", "call_id": "call_a", "name": "f", "arguments": "{\"x\":1}"},
            {"id": "fc_1_3", "type": "function_call", "status": "completed", "call_id": "call_b", "name": "g", "arguments": "{}"},
        ])
    );
    let usage = &told[25]["response"]["usage"];
    assert_eq!((&usage["total_tokens"], &usage["cost_usd"]), (&json!(29), &json!("0.000000007")));
}

#[test]
fn all_members_are_there_and_repeat_the_request() {
    let bare = &written(r#"{"model":"r","input":"x"}"#, &[])[0]["response"];
    for name in [
        "background",
        "completed_at",
        "created_at",
        "error",
        "frequency_penalty",
        "id",
        "incomplete_details",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "object",
        "output",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "status",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "usage",
        "user",
    ] {
        assert!(bare.get(name).is_some(), "{name}");
    }
    assert_eq!(
        (&bare["reasoning"], &bare["text"]),
        (&json!({"effort": null, "summary": null}), &json!({"format": {"type": "text"}, "verbosity": "medium"}))
    );
    let nulls = &written(r#"{"model":"r","input":"x","text":{"format":null,"verbosity":null}}"#, &[])[0]["response"];
    assert_eq!(nulls["text"], bare["text"]);
    let told = &written(
        r#"{"model":"r","input":"x","instructions":"i","temperature":0.25,"reasoning":{"effort":"low"},"store":true,
        "service_tier":"flex","text":{"verbosity":"low"},"tools":[{"type":"function","name":"f"},{"type":"web_search"}],
        "tool_choice":"required","metadata":{"a":"b"},"user":null}"#,
        &[],
    )[0]["response"];
    for (name, value) in [
        ("instructions", json!("i")),
        ("temperature", json!(0.25)),
        ("reasoning", json!({"effort": "low", "summary": null})),
        ("text", json!({"verbosity": "low", "format": {"type": "text"}})),
        ("tool_choice", json!("required")),
        (
            "tools",
            json!([{"type": "function", "name": "f", "description": null, "parameters": null, "strict": null}, {"type": "web_search"}]),
        ),
        ("metadata", json!({"a": "b"})),
        ("user", json!(null)),
        ("store", json!(false)),
        ("service_tier", json!("flex")),
        ("id", json!("resp_1")),
        ("model", json!("acme/r")),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
}

#[test]
fn tools_come_back_as_they_were_declared() {
    let asked = r#"{"model":"r","input":[{"type":"tool_search_output","call_id":"s","tools":[
        {"type":"namespace","name":"late","tools":[{"type":"custom","name":"c"}]}]}],"tools":[{"type":"custom","name":"apply_patch"},
        {"type":"namespace","name":"agents","tools":[{"type":"function","name":"spawn"}]},{"type":"function","name":"f"}]}"#;
    let told = written(
        asked,
        &[
            call(0, "a", "apply_patch"),
            arguments(0, "{\"inp"),
            arguments(0, "ut\":\"x\\n\"}"),
            call(1, "b", "agents__spawn"),
            arguments(1, "{}"),
            call(2, "c", "late__c"),
            arguments(2, "no object"),
            finish(Finish::ToolCalls),
        ],
    );
    let custom: Vec<&str> =
        kinds(&told).into_iter().filter(|kind| kind.starts_with("custom_tool_call_input")).collect();
    assert_eq!(custom, ["custom_tool_call_input.delta", "custom_tool_call_input.done"].repeat(2));
    assert_eq!(
        told.last().expect("an end")["response"]["output"],
        json!([
            {"id": "ctc_1_0", "type": "custom_tool_call", "status": "completed", "call_id": "a", "name": "apply_patch", "input": "x\n"},
            {"id": "fc_1_1", "type": "function_call", "status": "completed", "call_id": "b", "name": "spawn", "namespace": "agents", "arguments": "{}"},
            {"id": "ctc_1_2", "type": "custom_tool_call", "status": "completed", "call_id": "c", "name": "c", "namespace": "late", "input": "no object"},
        ])
    );
}

#[test]
fn an_answer_that_was_cut_is_incomplete() {
    for (cut, reason) in [(Finish::Length, "max_output_tokens"), (Finish::ContentFilter, "content_filter")] {
        let told = written("{}", &[text("Once upon"), Event::Refusal { choice: 0, text: "No.".into() }, finish(cut)]);
        let (last, response) = (kinds(&told).pop(), &told.last().expect("an end")["response"]);
        assert_eq!((last, &response["status"]), (Some("incomplete"), &json!("incomplete")));
        assert_eq!(response["incomplete_details"]["reason"], reason);
        assert_eq!(response["output"][0]["status"], "incomplete");
        assert_eq!(response["output"][0]["content"][1], json!({"type": "refusal", "refusal": "No."}));
    }
}

#[test]
fn a_provider_that_gave_up_is_never_complete() {
    let (mut encoder, mut out) = (ResponseEncoder::new(stamp("{}")), Vec::new());
    encoder.encode(&text("x"), &mut out);
    encoder.encode(&finish(Finish::Error), &mut out);
    encoder.finish(None, None, &mut out);
    let told = read(&out);
    let last = told.last().expect("an end");
    assert_eq!((last["type"].as_str(), &last["sequence_number"]), (Some("error"), &json!(told.len() - 1)));
}

#[test]
fn any_order_of_events_keeps_the_order_of_items() {
    let mut dice = Dice::new(3);
    let mut below = |bound: u64| u32::try_from(dice.roll() % bound).expect("small");
    for _ in 0..400 {
        let (mut events, mut calls) = (Vec::new(), 0);
        for _ in 0..below(14) {
            events.push(match below(7) {
                0 => text("a"),
                1 => Event::Refusal { choice: 0, text: "r".into() },
                2 => reasoning("t"),
                3 => sign("s"),
                4 => Event::RedactedReasoning { choice: 0, data: "d".into() },
                5 => {
                    calls += 1;
                    call(calls - 1, &format!("call_{calls}"), if below(2) == 0 { "c" } else { "f" })
                }
                _ if calls > 0 => arguments(below(u64::from(calls)), "{}"),
                _ => text(""),
            });
        }
        if below(4) > 0 {
            events.push(finish([Finish::Stop, Finish::Length][below(2) as usize]));
        }
        let told = written(r#"{"tools":[{"type":"custom","name":"c"}]}"#, &events);
        let output = told.last().expect("an end")["response"]["output"].as_array().expect("items").len();
        assert!(output >= calls as usize);
    }
}

#[test]
fn a_whole_answer_is_what_its_stream_would_have_been() {
    use crate::chat::{Choice, Part};
    let parts = vec![
        Part::Reasoning { text: "t".into(), signature: Some("EqQB".into()) },
        Part::RedactedReasoning("D".into()),
        Part::Reasoning { text: "u".into(), signature: None },
        Part::text("a"),
        Part::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() },
    ];
    let usage = Some(Usage { input: 9, output: 20, ..Usage::default() });
    let choices = vec![Choice { parts, finish: Finish::ToolCalls, native_finish: None }];
    let response = Response { choices, usage, ..Response::default() };
    let stamp = Stamp { cost: Some(Nanos(7)), ..stamp("{}") };
    let told: Value = serde_json::from_slice(&whole(&response, &stamp)).expect("JSON");
    assert_eq!(told, written("{}", &response.into_events()).pop().expect("an end")["response"]);
    assert_eq!((&told["status"], &told["completed_at"]), (&json!("completed"), &json!(5)));
    assert_eq!(told["output"][0]["encrypted_content"], "anthropic.EqQB");
    assert_eq!(told["output"][1]["encrypted_content"], "anthropic_redacted.D");
    assert_eq!(told["output"][2].get("encrypted_content"), None, "null is no text");
}

#[test]
fn a_relayed_stream_changes_only_in_its_usage() {
    let relayed = |frames: &[(&str, &str)], cost| {
        let (mut encoder, mut out) = (ResponseEncoder::new(stamp("{}")), Vec::new());
        for (event, data) in frames {
            let raw = format!("event: {event}\r\ndata: {data}\r\n\r\n");
            encoder.relay(&Frame { event, data, raw: raw.as_bytes() }, &mut out);
        }
        encoder.finish_relayed(cost, &mut out);
        String::from_utf8(out).expect("text")
    };
    let created = ("response.created", r#"{"type":"response.created", "response":{"usage":null}}"#);
    let last =
        |event| (event, r#"{"type":"response.completed", "response":{"id":"x", "usage":{"input_tokens":1, "odd":2}}}"#);
    let first = format!("event: {}\r\ndata: {}\r\n\r\n", created.0, created.1);
    let told = r#"{"type":"response.completed","response":{"id":"x","usage":{"input_tokens":1,"odd":2,"cost_usd":"0.000000007"}}}"#;
    for event in ["response.completed", ""] {
        let out = relayed(&[created, last(event), ("", "[DONE]")], Some(Nanos(7)));
        assert_eq!(out, format!("{first}event: response.completed\ndata: {told}\n\n"));
    }
    assert!(relayed(&[last("response.incomplete")], None).contains(r#""usage":{"input_tokens":1, "odd":2}"#));
    assert_eq!(relayed(&[created], Some(Nanos(7))), first);
}
