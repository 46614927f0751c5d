use super::{super::fixtures::deployment, *};
use crate::{fault::Cause, usage::Usage};

fn frame(data: &str) -> Frame<'_> {
    Frame { event: "", data, raw: data.as_bytes() }
}

fn read(chunks: &[&str]) -> Vec<Event> {
    let (mut decoder, mut events) = (ChatDecoder::new(&deployment("[]", "[]")), Vec::new());
    for chunk in chunks {
        decoder.decode(&frame(chunk), &mut events).expect("well formed");
    }
    decoder.close(&mut events);
    events
}

/// The events of deltas of choice 0, without the start.
fn deltas(deltas: &[&str]) -> Vec<Event> {
    let chunks: Vec<String> = deltas
        .iter()
        .map(|delta| format!(r#"{{"id":"a","model":"m","choices":[{{"index":0,"delta":{delta}}}]}}"#))
        .collect();
    read(&chunks.iter().map(String::as_str).collect::<Vec<_>>()).split_off(1)
}

/// Calls as (id, name, arguments), joined.
fn calls(events: &[Event]) -> Vec<(String, String, String)> {
    let mut told = Vec::new();
    for event in events {
        match event {
            Event::ToolStart { index, id, name, .. } => {
                assert_eq!(*index as usize, told.len(), "numbered without gaps");
                told.push((id.clone(), name.clone(), String::new()));
            }
            Event::ToolArguments { index, fragment, .. } => told[*index as usize].2.push_str(fragment),
            _ => {}
        }
    }
    told
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.into(), name.into(), arguments.into())
}

#[test]
fn a_plain_stream_is_told_in_order() {
    let told = read(&[
        r#"{"id":"","model":"","choices":[],"prompt_filter_results":[]}"#,
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#,
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"role":"","content":"hi"}}],"obfuscation":"xxxx"}"#,
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        "[DONE]",
        r#"{"choices":[{"delta":{"content":"after the end"}}]}"#,
    ]);
    assert_eq!(
        told,
        [
            Event::Start { id: "a".into(), model: "m".into() },
            Event::Text { choice: 0, text: "hi".into() },
            Event::Finish { choice: 0, finish: Finish::Stop, native: Some("stop".into()) },
            Event::Usage(Usage { input: 3, output: 1, ..Usage::default() }),
            Event::End,
        ]
    );
}

#[test]
fn a_stream_without_its_terminator_has_no_end() {
    assert!(
        !read(&[r#"{"id":"a","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#]).contains(&Event::End)
    );
}

#[test]
fn tool_calls_are_put_together_whatever_marks_them() {
    let tool = |members: &str| format!(r#"{{"tool_calls":[{members}]}}"#);
    let run = |pieces: &[&str]| {
        let pieces: Vec<String> = pieces.iter().map(|piece| tool(piece)).collect();
        calls(&deltas(&pieces.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    // Two calls, one after the other, with gaps in the numbers.
    assert_eq!(
        run(&[
            r#"{"index":1,"id":"a","function":{"name":"f","arguments":""}}"#,
            r#"{"index":1,"function":{"arguments":"{}"}}"#,
            r#"{"index":4,"id":"b","function":{"name":"g","arguments":"{"}}"#,
            r#"{"index":1,"function":{"arguments":" "}}"#,
            r#"{"index":4,"function":{"arguments":"}"}}"#,
        ]),
        [call("a", "f", "{} "), call("b", "g", "{}")]
    );
    // Ids empty or repeated later (Qwen), names repeated.
    assert_eq!(
        run(&[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"id":"","function":{"name":"","arguments":"}"}}"#,
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":" "}}"#,
            r#"{"index":0,"id":"noise","function":{"arguments":" "}}"#,
        ]),
        [call("a", "f", "{}  ")]
    );
    // No index (Google), whole calls in one delta; the same index for all.
    assert_eq!(
        run(&[
            r#"{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"f","arguments":"{}"}}"#
        ]),
        [call("a", "f", "{}"), call("b", "f", "{}")]
    );
    assert_eq!(
        run(&[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
            r#"{"index":0,"id":"b","function":{"name":"g","arguments":"{"}}"#,
            r#"{"index":0,"function":{"arguments":"}"}}"#,
        ]),
        [call("a", "f", "{}"), call("b", "g", "{}")]
    );
    // The name after the arguments; arguments as an object.
    assert_eq!(
        run(&[
            r#"{"index":0,"id":"a","function":{"arguments":"{\"x\""}}"#,
            r#"{"index":0,"function":{"name":"f","arguments":":1}"}}"#
        ]),
        [call("a", "f", r#"{"x":1}"#)]
    );
    assert_eq!(
        run(&[r#"{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1}}}"#]),
        [call("a", "f", r#"{"x":1}"#)]
    );
    // No id at all: made up, one for each.
    let made = run(&[
        r#"{"function":{"name":"f"}}"#,
        r#"{"function":{"arguments":"{}"}}"#,
        r#"{"function":{"name":"g","arguments":"{}"}}"#,
    ]);
    assert_eq!((made.len(), made[0].2.as_str()), (2, "{}"));
    assert!(made[0].0 != made[1].0 && made.iter().all(|(id, ..)| id.starts_with("call_")));
}

#[test]
fn an_end_without_a_finish_is_a_stop() {
    let told = read(&[r#"{"id":"a","choices":[{"delta":{"content":"x"}}]}"#, "[DONE]"]);
    assert_eq!(told[2..], [Event::Finish { choice: 0, finish: Finish::Stop, native: None }, Event::End]);
}

#[test]
fn stop_after_calls_is_a_call() {
    let told = read(&[
        r#"{"id":"a","choices":[{"delta":{"tool_calls":[{"id":"x","function":{"name":"f"}}]},"finish_reason":"stop"}]}"#,
    ]);
    assert!(told.contains(&Event::Finish { choice: 0, finish: Finish::ToolCalls, native: Some("stop".into()) }));
}

#[test]
fn reasoning_is_told_once() {
    let thought = |text: &str| Event::Reasoning { choice: 0, text: text.into() };
    let text = |text: &str| Event::Text { choice: 0, text: text.into() };
    assert_eq!(
        deltas(&[r#"{"reasoning_content":"a","tool_calls":[]}"#, r#"{"reasoning":"b"}"#]),
        [thought("a"), thought("b")]
    );
    let both = r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#;
    let signed = r#"{"reasoning_details":[{"type":"reasoning.text","text":"a","signature":"s"}]}"#;
    assert_eq!(deltas(&[both, signed]), [thought("a"), Event::Signature { choice: 0, signature: "s".into() }]);
    assert_eq!(deltas(&[signed])[0], thought("a"), "details alone");
    let mistral =
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},{"type":"text","text":"b"}]}"#;
    assert_eq!(deltas(&[mistral]), [thought("a"), text("b")]);
    let hidden = r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"d"}]}"#;
    assert_eq!(deltas(&[hidden]), [Event::RedactedReasoning { choice: 0, data: "d".into() }]);
}

#[test]
fn choices_are_kept_apart() {
    let told = read(&[
        r#"{"id":"a","choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"},{"index":0,"delta":{"content":"a"}}]}"#,
    ]);
    assert_eq!(
        told[1..],
        [
            Event::Text { choice: 1, text: "b".into() },
            Event::Finish { choice: 1, finish: Finish::Length, native: Some("length".into()) },
            Event::Text { choice: 0, text: "a".into() },
        ]
    );
}

#[test]
fn giving_up_is_no_finish() {
    let told = read(&[
        r#"{"id":"a","choices":[{"delta":{"content":"x"},"finish_reason":"network_error"}],"usage":{"prompt_tokens":1}}"#,
        "[DONE]",
    ]);
    assert!(matches!(told[2..], [Event::Fault(_), Event::Usage(_)]), "{told:?}");
}

#[test]
fn failures_in_the_stream_end_it() {
    let fault = |chunk: &str| match read(&[chunk, "[DONE]"]).last() {
        Some(Event::Fault(fault)) => fault.cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(r#"{"error":{"message":"x","code":502}}"#), Cause::Server);
    assert_eq!(fault(r#"{"error":"overloaded"}"#), Cause::Overloaded);
    assert_eq!(fault(r#"[{"error":{"code":429,"message":"x"}}]"#), Cause::RateLimited);
    // OpenRouter: inside an otherwise normal chunk, after a finish, with usage.
    let told = read(&[
        r#"{"id":"a","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
        r#"{"id":"a","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502,"message":"gone"},"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "[DONE]",
    ]);
    assert!(matches!(told[..], [_, _, Event::Finish { .. }, Event::Usage(_), Event::Fault(_)]), "{told:?}");
    let (mut decoder, mut events) = (ChatDecoder::new(&deployment("[]", "[]")), Vec::new());
    let groq =
        Frame { event: "error", data: r#"{"message":"x","status_code":400,"code":"tool_use_failed"}"#, raw: b"" };
    decoder.decode(&groq, &mut events).expect("read");
    assert!(
        matches!(&events[..], [Event::Fault(fault)] if fault.cause == Cause::Server && fault.status == 400),
        "{events:?}"
    );
}

#[test]
fn junk_is_malformed_and_never_a_panic() {
    let mut decoder = ChatDecoder::new(&deployment("[]", "[]"));
    for data in ["{", "[]", "1", "\"x\"", "null", "\u{0}", "[[[["] {
        assert_eq!(decoder.decode(&frame(data), &mut Vec::new()), Err(MalformedFrame), "{data}");
    }
    for data in [
        "",
        "{}",
        r#"{"choices":7}"#,
        r#"{"choices":[7,null,{"delta":[]}]}"#,
        r#"{"choices":[{"index":-1,"delta":{"content":{}}}]}"#,
        r#"{"choices":[{"index":99999999999,"delta":{"tool_calls":[1,{"index":-1,"function":7}]}}]}"#,
        r#"{"usage":[]}"#,
    ] {
        assert_eq!(decoder.decode(&frame(data), &mut Vec::new()), Ok(()), "{data}");
    }
}

#[test]
fn a_glance_passes_content_alone() {
    let mut decoder = ChatDecoder::new(&deployment("[]", "[]"));
    let content = r#"{"id":"a","choices":[{"delta":{"content":"say \"usage\": {} and \"error\""},"finish_reason":null}],"usage": null}"#;
    assert_eq!(decoder.glance(&frame(content)), Glance::Read, "the first tells the start");
    decoder.decode(&frame(content), &mut Vec::new()).expect("read");
    assert_eq!(decoder.glance(&frame(content)), Glance::Pass);
    assert_eq!(decoder.glance(&Frame { event: "", data: "", raw: b": ping\n\n" }), Glance::Pass);
    for data in [
        "[DONE]",
        r#"{"usage" : {"prompt_tokens":1}}"#,
        r#"{"choices":[{"finish_reason": "stop"}]}"#,
        r#"{"error":"x"}"#,
        r#"{"x_groq":{"usage":{}}}"#,
        r#"{"usage":null,"y":{"usage":{}}}"#,
        r#"[{"error":{}}]"#,
    ] {
        assert_eq!(decoder.glance(&frame(data)), Glance::Read, "{data}");
    }
    assert_eq!(decoder.glance(&Frame { event: "error", data: "{}", raw: b"" }), Glance::Read);
}
