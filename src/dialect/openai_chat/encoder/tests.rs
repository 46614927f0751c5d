use super::*;

fn encoder(wants_usage: bool) -> ChatEncoder {
    ChatEncoder::new(&Stamp {
        request_id: "req_1".into(),
        model: "acme/m".into(),
        created: 5,
        wants_usage,
        cost: None,
        ..Stamp::default()
    })
}

/// The bodies of the chunks, without what they all begin with.
fn written(out: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(out).expect("text");
    let head = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"acme/m","#;
    text.split_terminator("\n\n")
        .map(|frame| frame.strip_prefix("data: ").expect("a data line"))
        .map(|data| data.strip_prefix(head).unwrap_or(data).to_owned())
        .collect()
}

#[test]
fn callers_of_deprecated_functions_get_their_form() {
    let (mut encoder, mut out) = (encoder(false), Vec::new());
    encoder.legacy_functions = true;
    for event in [
        Event::ToolStart { choice: 0, index: 0, id: "a".into(), name: "f".into() },
        Event::ToolArguments { choice: 0, index: 0, fragment: "{}".into() },
        Event::ToolStart { choice: 0, index: 1, id: "b".into(), name: "g".into() },
        Event::Finish { choice: 0, finish: Finish::ToolCalls, native: None },
    ] {
        encoder.encode(&event, &mut out);
    }
    let told = written(&out).join("\n");
    assert!(told.contains(r#""delta":{"function_call":{"name":"f","arguments":""}}"#), "{told}");
    assert!(told.contains(r#""delta":{"function_call":{"arguments":"{}"}}"#), "{told}");
    assert!(
        told.contains(r#""finish_reason":"function_call""#) && !told.contains("tool_calls") && !told.contains(r#""g""#),
        "{told}"
    );
}

#[test]
fn the_stream_is_by_the_book() {
    let (mut encoder, mut out) = (encoder(true), Vec::new());
    let finish = Event::Finish { choice: 0, finish: Finish::ToolCalls, native: None };
    for event in [
        Event::Start { id: "x".into(), model: "y".into() },
        Event::Text { choice: 0, text: "Let\n".into() },
        Event::ToolStart { choice: 0, index: 0, id: "a".into(), name: "f".into() },
        Event::ToolArguments { choice: 0, index: 0, fragment: "{\"x\":1}".into() },
        finish.clone(),
        finish,
        Event::End,
    ] {
        encoder.encode(&event, &mut out);
    }
    encoder.finish(Some(&Usage { input: 9, output: 20, ..Usage::default() }), Some(Nanos(7)), &mut out);
    let chunk = |delta: &str, finish: &str| {
        format!(r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#)
    };
    let told = written(&out);
    assert_eq!(
        told[..5],
        [
            chunk(r#"{"role":"assistant","content":""}"#, "null"),
            chunk(r#"{"content":"Let\n"}"#, "null"),
            chunk(
                r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
                "null"
            ),
            chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}"#, "null"),
            chunk("{}", "\"tool_calls\""),
        ]
    );
    assert!(
        told[5].starts_with(r#""choices":[],"usage":{"prompt_tokens":9,"#)
            && told[5].ends_with(r#""cost_usd":"0.000000007"}}"#)
    );
    assert_eq!(told[6..], ["[DONE]"]);
}

#[test]
fn nobody_gets_usage_unasked_and_a_finish_is_always_told() {
    let (mut encoder, mut out) = (encoder(false), Vec::new());
    encoder.finish(Some(&Usage::default()), None, &mut out);
    let told = written(&out);
    assert_eq!(told.len(), 3);
    assert!(
        told[0].contains("assistant")
            && told[1].contains(r#""finish_reason":"stop""#)
            && !told.concat().contains("usage")
    );
    let (mut encoder, mut out) = (self::encoder(false), Vec::new());
    encoder.encode(&Event::ToolStart { choice: 0, index: 0, id: "a".into(), name: "f".into() }, &mut out);
    encoder.finish(None, None, &mut out);
    let told = written(&out);
    assert!(told[0].contains(r#""content":null"#) && told[2].contains(r#""finish_reason":"tool_calls""#), "{told:?}");
}

#[test]
fn a_provider_that_gave_up_is_never_a_stop() {
    let (mut encoder, mut out) = (encoder(true), Vec::new());
    encoder.encode(&Event::Text { choice: 0, text: "x".into() }, &mut out);
    encoder.encode(&Event::Finish { choice: 0, finish: Finish::Error, native: None }, &mut out);
    encoder.finish(Some(&Usage::default()), None, &mut out);
    let told = written(&out);
    assert!(told.last().is_some_and(|last| last.starts_with("{\"error\"")), "{told:?}");
}

#[test]
fn signed_reasoning_comes_with_its_text() {
    let (mut encoder, mut out) = (encoder(false), Vec::new());
    for text in ["a", "b"] {
        encoder.encode(&Event::Reasoning { choice: 0, text: text.into() }, &mut out);
    }
    encoder.encode(&Event::Signature { choice: 0, signature: "s".into() }, &mut out);
    let told = written(&out);
    assert!(told[1].contains(r#"{"reasoning_content":"a"}"#));
    assert!(
        told[3].contains(r#"{"reasoning_details":[{"type":"reasoning.text","text":"ab","signature":"s"}]}"#),
        "{told:?}"
    );
}

fn relayed(wants_usage: bool, frames: &[&str], cost: Option<Nanos>) -> String {
    let (mut encoder, mut out) = (encoder(wants_usage), Vec::new());
    for data in frames {
        let raw = format!("data: {data}\r\n\r\n");
        encoder.relay(&Frame { event: "", data, raw: raw.as_bytes() }, &mut out);
    }
    encoder.finish_relayed(cost, &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn a_relayed_stream_changes_only_in_its_usage() {
    let frames = [
        r#"{"id":"u", "choices":[{"delta":{"content":"x"}}],"usage":null}"#,
        r#"{"id":"u", "choices":[],"usage":{"prompt_tokens":1, "odd":2}}"#,
        "[DONE]",
    ];
    let first = "data: {\"id\":\"u\", \"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\r\n\r\n";
    assert_eq!(relayed(false, &frames, Some(Nanos(7))), format!("{first}data: [DONE]\n\n"));
    assert_eq!(
        relayed(true, &frames, Some(Nanos(7))),
        format!(
            "{first}data: {{\"id\":\"u\",\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"odd\":2,\"cost_usd\":\"0.000000007\"}}}}\n\ndata: [DONE]\n\n"
        )
    );
    let unpriced = relayed(true, &frames, None);
    assert!(unpriced.contains(r#""usage":{"prompt_tokens":1, "odd":2}"#), "{unpriced}");
}

#[test]
fn usage_that_rides_on_a_choice_goes_alone() {
    let frames = [
        r#"{"id":"u","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
        r#"{"id":"u","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":2}}"#,
    ];
    let dropped = r#"data: {"id":"u","choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    assert_eq!(relayed(false, &frames, None), format!("{dropped}\n\n{dropped}\n\ndata: [DONE]\n\n"));
    let asked = relayed(true, &frames, None);
    assert_eq!(asked.matches(r#""usage":null"#).count(), 2);
    assert!(
        asked.ends_with("data: {\"id\":\"u\",\"choices\":[],\"usage\":{\"prompt_tokens\":2}}\n\ndata: [DONE]\n\n"),
        "{asked}"
    );
}
