use super::{super::fixtures::*, *};
use crate::{money::Nanos, usage::Usage};
use std::rc::Rc;

fn read(text: &str) -> Result<Response, UpstreamFault> {
    decode(text.as_bytes(), &deployment("[]", "[]"))
}

fn message(members: &str, finish: &str) -> Choice {
    let text = format!(r#"{{"id":"c","model":"m","choices":[{{"message":{{{members}}},"finish_reason":{finish}}}]}}"#);
    read(&text).expect("an answer").choices.remove(0)
}

fn stamp() -> Stamp {
    Stamp {
        request_id: "req_1".into(),
        model: "acme/m".into(),
        created: 5,
        wants_usage: true,
        cost: Some(Nanos(2_000)),
        ..Stamp::default()
    }
}

#[test]
fn callers_of_deprecated_functions_get_their_form() {
    let call = Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() };
    let choice = Choice { parts: vec![call], finish: Finish::ToolCalls, native_finish: None };
    let response = Response { choices: vec![choice], ..Response::default() };
    let told = json(&encode(&response, &Stamp { asked: Rc::new(body(r#"{"functions":[]}"#)), ..stamp() }));
    let choice = &told["choices"][0];
    assert_eq!(choice["message"]["function_call"], crate::json::json!({"name": "f", "arguments": "{}"}));
    assert_eq!((&choice["finish_reason"], choice["message"].get("tool_calls")), (&Value::from("function_call"), None));
}

#[test]
fn hosts_answer_in_many_ways() {
    let call =
        |id: &str, arguments: &str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() };
    assert_eq!(message(r#""content":"""#, "\"stop\"").parts, []);
    let forced =
        message(r#""content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]"#, "\"stop\"");
    assert_eq!((forced.parts, forced.finish), (vec![call("a", "{}")], Finish::ToolCalls));
    let objects = message(
        r#""tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x":1}}},{"id":"b","function":{}}]"#,
        "null",
    );
    assert_eq!(objects.parts, [call("a", r#"{"x":1}"#)], "a call without a name cannot be made");
    let nameless =
        message(r#""tool_calls":[{"id":"","function":{"name":"f"}},{"function":{"name":"f"}}]"#, "\"tool_calls\"");
    let ids: Vec<&Part> = nameless.parts.iter().collect();
    assert!(
        matches!(ids[..], [Part::ToolCall { id: a, .. }, Part::ToolCall { id: b, .. }] if a != b && a.starts_with("call_"))
    );
    let mistral = message(
        r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"}]"#,
        "\"stop\"",
    );
    assert_eq!(mistral.parts, [Part::Reasoning { text: "hm".into(), signature: None }, Part::text("hi")]);
    assert_eq!(message(r#""reasoning":"r","content":"c""#, "\"length\"").finish, Finish::Length);
    let details = message(
        r#""reasoning":"r","reasoning_details":[{"type":"reasoning.text","text":"r","signature":"s"}]"#,
        "\"stop\"",
    );
    assert_eq!(details.parts, [Part::Reasoning { text: "r".into(), signature: Some("s".into()) }]);
    let legacy = message(r#""function_call":{"name":"f","arguments":"{}"}"#, "\"function_call\"");
    assert_eq!(legacy.finish, Finish::ToolCalls);
    let odd = message(r#""content":"c""#, "\"eos\"");
    assert_eq!((odd.finish, odd.native_finish.as_deref()), (Finish::Stop, Some("eos")));
}

#[test]
fn failures_inside_a_200_are_faults() {
    let cause = |text: &str| read(text).expect_err("a fault").cause;
    assert_eq!(cause(r#"{"error":{"message":"no","code":429}}"#), Cause::RateLimited);
    assert_eq!(cause(r#"{"error":"no"}"#), Cause::Server);
    assert_eq!(cause("<html>"), Cause::Server);
    assert_eq!(cause(r#"{"choices":[]}"#), Cause::Server);
    assert_eq!(cause(r#"{"choices":[{"message":{"content":""},"finish_reason":"error"}]}"#), Cause::Server);
    assert!(read(r#"{"error":null,"choices":[{"message":{"content":"x"}}]}"#).is_ok());
}

#[test]
fn our_answer_has_the_whole_shape() {
    let choice = |parts, finish| Choice { parts, finish, native_finish: None };
    let usage = Usage { input: 3, cache_read: 4, cache_write: 1, output: 5, reasoning: 2, ..Usage::default() };
    let call = Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() };
    let response = Response {
        choices: vec![choice(vec![Part::text("hi")], Finish::Stop), choice(vec![call], Finish::ToolCalls)],
        usage: Some(usage),
        ..Response::default()
    };
    let told = String::from_utf8(encode(&response, &stamp())).expect("text");
    assert_eq!(
        told,
        concat!(
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"acme/m","service_tier":"default","choices":["#,
            r#"{"index":0,"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"},"#,
            r#"{"index":1,"message":{"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],"#,
            r#""usage":{"prompt_tokens":8,"completion_tokens":5,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":1,"audio_tokens":0},"#,
            r#""completion_tokens_details":{"reasoning_tokens":2,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"cost_usd":"0.000002"}}"#
        )
    );
    let again = read(&told).expect("our own");
    assert_eq!(
        (again.usage, again.choices),
        (
            response.usage,
            vec![
                Choice { native_finish: Some("stop".into()), ..response.choices[0].clone() },
                Choice { native_finish: Some("tool_calls".into()), ..response.choices[1].clone() },
            ]
        )
    );
    let signed =
        vec![Part::Reasoning { text: "t".into(), signature: Some("s".into()) }, Part::RedactedReasoning("d".into())];
    let told =
        json(&encode(&Response { choices: vec![choice(signed, Finish::Stop)], ..Response::default() }, &stamp()));
    assert_eq!(told["choices"][0]["message"]["reasoning_content"], "t");
    assert_eq!(
        told["choices"][0]["message"]["reasoning_details"][1],
        json!({"type": "reasoning.encrypted", "data": "d"})
    );
    assert!(told.get("usage").is_none());
}

#[test]
fn a_passed_on_answer_keeps_its_bytes() {
    let bytes = br#"{"id": "x", "model":"gpt", "choices":[{"a" : 1.0}], "usage":{"prompt_tokens":1, "odd":[ ]}}"#;
    assert_eq!(
        relay(bytes, &stamp()).map(|told| String::from_utf8_lossy(&told).into_owned()).as_deref(),
        Some(
            r#"{"id":"x","model":"acme/m","choices":[{"a" : 1.0}],"usage":{"prompt_tokens":1,"odd":[ ],"cost_usd":"0.000002"}}"#
        )
    );
    assert_eq!(relay(b"[]", &stamp()), None);
    let free = relay(br#"{"usage":null}"#, &Stamp { cost: None, ..stamp() }).expect("an object");
    assert_eq!(String::from_utf8_lossy(&free), r#"{"usage":null,"model":"acme/m"}"#);
}
