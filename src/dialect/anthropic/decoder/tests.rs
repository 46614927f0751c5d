use super::*;
use crate::usage::Usage;

fn frame(data: &str) -> Frame<'_> {
    Frame { event: "", data, raw: data.as_bytes() }
}

fn read(frames: &[&str]) -> Vec<Event> {
    let (mut decoder, mut events) = (MessageDecoder::default(), Vec::new());
    for data in frames {
        decoder.decode(&frame(data), &mut events).expect("well formed");
    }
    decoder.close(&mut events);
    events
}

const START: &str =
    r#"{"type":"message_start","message":{"id":"msg_1","model":"c","usage":{"input_tokens":9,"output_tokens":1}}}"#;

#[test]
fn a_stream_with_thinking_text_and_tools_is_told_in_order() {
    let told = read(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"t"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"x","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"b","name":"g","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"x\":1}"}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":11,"output_tokens":20}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let tool = |index, id: &str, name: &str, fragment: &str| {
        [
            Event::ToolStart { choice: 0, index, id: id.into(), name: name.into() },
            Event::ToolArguments { choice: 0, index, fragment: fragment.into() },
        ]
    };
    let mut wanted = vec![
        Event::Start { id: "msg_1".into(), model: "c".into() },
        Event::Usage(Usage { input: 9, output: 1, ..Usage::default() }),
        Event::Reasoning { choice: 0, text: "t".into() },
        Event::Signature { choice: 0, signature: "s".into() },
    ];
    wanted.extend(tool(0, "a", "f", "{}"));
    wanted.extend(tool(1, "b", "g", "{\"x\":1}"));
    wanted.extend([
        Event::Usage(Usage { input: 11, output: 20, ..Usage::default() }),
        Event::Finish { choice: 0, finish: Finish::ToolCalls, native: Some("tool_use".into()) },
        Event::End,
    ]);
    assert_eq!(told, wanted);
}

#[test]
fn imitators_give_the_input_whole_or_no_start() {
    let told = read(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x":1}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
    ]);
    assert_eq!(told[0], Event::Start { id: String::new(), model: String::new() });
    assert_eq!(told[2], Event::ToolArguments { choice: 0, index: 0, fragment: r#"{"x":1}"#.into() });
    assert!(!told.contains(&Event::End), "no terminator, no end");
}

#[test]
fn failures_in_the_stream_end_it() {
    let told = read(&[
        START,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    assert!(matches!(told.last(), Some(Event::Fault(fault)) if fault.cause == Cause::Overloaded), "{told:?}");
}

#[test]
fn giving_up_is_no_finish() {
    let told =
        read(&[START, r#"{"type":"message_delta","delta":{"stop_reason":"error"}}"#, r#"{"type":"message_stop"}"#]);
    assert!(matches!(told.last(), Some(Event::Fault(fault)) if fault.cause == Cause::Server), "{told:?}");
}

#[test]
fn junk_is_malformed_and_never_a_panic() {
    let mut decoder = MessageDecoder::default();
    for data in ["{", "[]", "1", "null"] {
        assert_eq!(decoder.decode(&frame(data), &mut Vec::new()), Err(MalformedFrame), "{data}");
    }
    for data in [
        "",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"message_start"}"#,
        r#"{"type":"content_block_delta","index":-1}"#,
        r#"{"type":"content_block_start","content_block":7}"#,
        r#"{"type":"content_block_stop"}"#,
        r#"{"type":"message_delta","delta":[]}"#,
    ] {
        assert_eq!(decoder.decode(&frame(data), &mut Vec::new()), Ok(()), "{data}");
    }
}

#[test]
fn a_glance_passes_content_alone() {
    let mut decoder = MessageDecoder::default();
    let named = |event, data| Frame { event, data, raw: b"" };
    let delta =
        named("content_block_delta", r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#);
    assert_eq!(decoder.glance(&delta), Glance::Read, "the first tells the start");
    decoder.decode(&frame(START), &mut Vec::new()).expect("read");
    assert_eq!(decoder.glance(&delta), Glance::Pass);
    assert_eq!(decoder.glance(&named("ping", r#"{"type": "ping"}"#)), Glance::Pass);
    assert_eq!(decoder.glance(&named("", "")), Glance::Pass);
    for event in ["message_start", "message_delta", "message_stop", "error", ""] {
        assert_eq!(decoder.glance(&named(event, "{}")), Glance::Read, "{event}");
    }
}
