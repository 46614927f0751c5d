use super::*;
use crate::{chat::Part, json::json, sse::Parser};

fn read(frames: &[&str]) -> Vec<Event> {
    let (mut decoder, mut events) = (MessageDecoder::default(), Vec::new());
    for data in frames {
        decoder.decode(&Frame { event: "", data, raw: data.as_bytes() }, &mut events).expect("well formed");
    }
    decoder.close(&mut events);
    events
}

const TURN: [&str; 17] = [
    r#"{"id":"c1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
    r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#,
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"why"}}}}"#,
    r#"{"type":"content-end","index":0}"#,
    r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":"L"}}}}"#,
    r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"et me é."}}}}"#,
    r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":1,"end":2,"text":"x","sources":[]}}}}"#,
    r#"{"type":"citation-end","index":0}"#,
    r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will."}}}"#,
    r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"f_1","type":"function","function":{"name":"f","arguments":""}}}}}"#,
    r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"x\""}}}}}"#,
    r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":":1}"}}}}}"#,
    r#"{"type":"tool-call-end","index":0}"#,
    r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"g_1","type":"function","function":{"name":"g","arguments":""}}}}}"#,
    r#"{"type":"tool-call-end","index":1}"#,
    r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":119,"output_tokens":44},"tokens":{"input_tokens":1549,"output_tokens":95,"reasoning_tokens":54},"cached_tokens":1504}}}"#,
    "[DONE]",
];

fn finish(finish: Finish, native: &str) -> Event {
    Event::Finish { choice: 0, finish, native: Some(native.into()) }
}

fn turn() -> Vec<Event> {
    let text = |text: &str| Event::Text { choice: 0, text: text.into() };
    let thought = |text: &str| Event::Reasoning { choice: 0, text: text.into() };
    let started = |index, id: &str, name: &str| Event::ToolStart { choice: 0, index, id: id.into(), name: name.into() };
    let arguments = |index, fragment: &str| Event::ToolArguments { choice: 0, index, fragment: fragment.into() };
    vec![
        Event::Start { id: "c1".into(), model: String::new() },
        thought("why"),
        text("L"),
        text("et me é."),
        thought("I will."),
        started(0, "f_1", "f"),
        arguments(0, "{\"x\""),
        arguments(0, ":1}"),
        started(1, "g_1", "g"),
        arguments(1, "{}"),
        finish(Finish::ToolCalls, "TOOL_CALL"),
        Event::Usage(Usage { input: 119, output: 44, reasoning: 44, ..Usage::default() }),
        Event::End,
    ]
}

#[test]
fn a_stream_is_told_in_order_at_any_cut() {
    assert_eq!(read(&TURN), turn());
    let text: String = TURN.iter().map(|data| ["data: ", data, "\n\n"].concat()).collect();
    for cut in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        let (mut parser, mut decoder, mut events) = (Parser::default(), MessageDecoder::default(), Vec::new());
        let mut each = |frame: Frame<'_>| decoder.decode(&frame, &mut events).expect("well formed");
        parser.push(head, &mut each).expect("text");
        parser.push(tail, &mut each).expect("text");
        parser.finish(&mut each).expect("text");
        assert_eq!(events, turn(), "cut at {cut}");
    }
}

#[test]
fn a_whole_answer_reads_the_same() {
    let told = json!({"id": "c1", "finish_reason": "TOOL_CALL", "message": {"role": "assistant",
        "content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "hi"}], "tool_plan": "I will.",
        "tool_calls": [{"id": "f_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "g_1", "type": "function", "function": {"name": "g"}}]},
        "usage": {"billed_units": {"input_tokens": 8.0, "output_tokens": 5.0}, "tokens": {"input_tokens": 500}}});
    let response = whole(told.to_string().as_bytes()).expect("an answer");
    let thought = |text: &str| Part::Reasoning { text: text.into(), signature: None };
    let call = |id: &str, name: &str, arguments: &str| Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        response.choices[0].parts,
        [thought("why"), Part::text("hi"), thought("I will."), call("f_1", "f", "{\"x\":1}"), call("g_1", "g", "{}")]
    );
    assert_eq!((response.id.as_str(), response.choices[0].finish), ("c1", Finish::ToolCalls));
    assert_eq!(response.usage, Some(Usage { input: 8, output: 5, ..Usage::default() }));
    let unbilled =
        json!({"message": {"content": [{"text": "x"}]}, "usage": {"tokens": {"input_tokens": 3, "output_tokens": 1}}});
    assert_eq!(whole(unbilled.to_string().as_bytes()).expect("an answer").usage.map(|usage| usage.input), Some(3));
    for text in ["<html>", "{}", "[]", r#"{"message":"internal server error"}"#] {
        assert_eq!(whole(text.as_bytes()).map(|_| ()).map_err(|fault| fault.cause), Err(Cause::Server), "{text}");
    }
}

#[test]
fn finishes_say_what_happened() {
    let told = |reason: &str| read(&[&format!(r#"{{"type":"message-end","delta":{{"finish_reason":"{reason}"}}}}"#)]);
    for (reason, wanted) in [
        ("COMPLETE", Finish::Stop),
        ("STOP_SEQUENCE", Finish::Stop),
        ("MAX_TOKENS", Finish::Length),
        ("ERROR_LIMIT", Finish::Length),
        ("ERROR_TOXIC", Finish::ContentFilter),
        ("content_blocked", Finish::ContentFilter),
    ] {
        assert_eq!(told(reason)[1..], [finish(wanted, reason), Event::End], "{reason}");
    }
    for (reason, cause) in [("ERROR", Cause::Server), ("TIMEOUT", Cause::Timeout)] {
        assert!(matches!(&told(reason)[1..], [Event::Fault(fault)] if fault.cause == cause), "{reason}");
    }
}

#[test]
fn failures_end_the_stream_and_a_cut_one_has_no_end() {
    for (data, cause) in [
        (r#"{"id":"x","message":"too many requests"}"#, Cause::RateLimited),
        (r#"{"error_type":"TOO_MANY_TOKENS","message":"too many tokens: size limit exceeded"}"#, Cause::ContextLength),
        (r#"{"type":"error","message":"oops"}"#, Cause::Server),
        (r#"{"error":"boom"}"#, Cause::Server),
    ] {
        let events = read(&[data, TURN[15]]);
        assert!(matches!(&events[..], [Event::Fault(fault)] if fault.cause == cause), "{events:?}");
    }
    assert!(!read(&TURN[..15]).contains(&Event::End));
}

#[test]
fn junk_is_malformed_and_never_a_panic() {
    let decode = |data: &str| MessageDecoder::default().decode(&Frame { event: "", data, raw: b"" }, &mut Vec::new());
    for data in ["{", "7", "null", "[]"] {
        assert_eq!(decode(data), Err(MalformedFrame), "{data}");
    }
    let kinds =
        ["content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end", "message-end", "x"];
    for kind in kinds {
        for rest in [
            "",
            r#","delta":7"#,
            r#","delta":{"message":7,"usage":7,"finish_reason":7}"#,
            r#","delta":{"message":{"content":7,"tool_plan":7,"tool_calls":{"function":{"name":7,"arguments":7}}},"usage":{"billed_units":{"input_tokens":-1}}}"#,
        ] {
            assert_eq!(decode(&format!(r#"{{"type":"{kind}"{rest}}}"#)), Ok(()), "{kind} {rest}");
        }
    }
}
