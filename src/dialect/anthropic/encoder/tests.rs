use super::*;

fn encoder() -> MessageEncoder {
    MessageEncoder::new(Stamp { request_id: "req_1".into(), model: "acme/c".into(), ..Stamp::default() })
}

/// The events as (name, data); the name is also the data's type.
fn written(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).expect("text");
    let read = |frame: &str| {
        let (name, data) = frame.split_once('\n').expect("two lines");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(name, format!("event: {}", data["type"].as_str().expect("a type")));
        data
    };
    text.split_terminator("\n\n").map(read).collect()
}

#[test]
fn the_stream_is_by_the_book() {
    let (mut encoder, mut out) = (encoder(), Vec::new());
    let text = |text: &str| Event::Text { choice: 0, text: text.into() };
    for event in [
        Event::Start { id: "x".into(), model: "y".into() },
        Event::Reasoning { choice: 0, text: "t".into() },
        Event::Signature { choice: 0, signature: "s".into() },
        Event::RedactedReasoning { choice: 0, data: "d".into() },
        text("Let"),
        text(" me"),
        Event::ToolStart { choice: 0, index: 0, id: "f:0".into(), name: "f".into() },
        Event::ToolArguments { choice: 0, index: 0, fragment: "{}".into() },
        Event::ToolStart { choice: 0, index: 1, id: "b".into(), name: "g".into() },
        Event::ToolArguments { choice: 0, index: 1, fragment: "{\"x\":1}".into() },
        Event::Finish { choice: 0, finish: Finish::ToolCalls, native: None },
        Event::Usage(Usage { output: 1, ..Usage::default() }),
        Event::End,
    ] {
        encoder.encode(&event, &mut out);
    }
    encoder.finish(Some(&Usage { input: 9, cache_read: 2, output: 20, ..Usage::default() }), Some(Nanos(7)), &mut out);
    let told = written(&out);
    let kinds: Vec<&str> =
        told.iter().map(|event| event["type"].as_str().expect("a type").trim_start_matches("content_block_")).collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "start",
            "delta",
            "delta",
            "stop",
            "start",
            "stop",
            "start",
            "delta",
            "delta",
            "stop",
            "start",
            "delta",
            "stop",
            "start",
            "delta",
            "stop",
            "message_delta",
            "message_stop",
        ]
    );
    let indexes: Vec<u64> = told.iter().filter_map(|event| event["index"].as_u64()).collect();
    assert_eq!(indexes, [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    assert_eq!(told[0]["message"]["id"], "msg_1");
    assert_eq!(told[3]["delta"], json!({"type": "signature_delta", "signature": "s"}));
    assert_eq!(
        told[11]["content_block"],
        json!({"type": "tool_use", "id": "f_0", "name": "f", "input": {}, "caller": {"type": "direct"}})
    );
    assert_eq!(told[15]["delta"], json!({"type": "input_json_delta", "partial_json": "{\"x\":1}"}));
    assert_eq!(told[17]["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        (&told[17]["usage"]["input_tokens"], &told[17]["usage"]["cache_read_input_tokens"]),
        (&json!(9), &json!(2))
    );
    assert_eq!(
        (&told[17]["usage"]["output_tokens"], &told[17]["usage"]["cost_usd"]),
        (&json!(20), &json!("0.000000007"))
    );
}

#[test]
fn an_empty_answer_is_still_a_message_and_a_failure_is_none() {
    let mut out = Vec::new();
    encoder().finish(None, None, &mut out);
    let told = written(&out);
    assert_eq!((told.len(), &told[1]["delta"]["stop_reason"]), (3, &json!("end_turn")));
    let (mut encoder, mut out) = (encoder(), Vec::new());
    encoder.encode(&Event::Finish { choice: 0, finish: Finish::Error, native: None }, &mut out);
    encoder.finish(None, None, &mut out);
    assert_eq!(written(&out)[0]["type"], "error");
}

#[test]
fn a_relayed_stream_changes_only_in_its_charge() {
    let (mut encoder, mut out) = (encoder(), Vec::new());
    let frames = [
        ("message_start", r#"{"type":"message_start","message":{"usage":{"input_tokens":3}}}"#),
        ("message_delta", r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":4}}"#),
        ("", r#"{"type": "message_stop"}"#),
    ];
    for (event, data) in frames {
        let raw = format!("event: {event}\ndata: {data}   \n\n");
        encoder.relay(&Frame { event, data, raw: raw.as_bytes() }, &mut out);
    }
    let first = format!("event: message_start\ndata: {}   \n\n", frames[0].1);
    assert_eq!(String::from_utf8_lossy(&out), first, "what ends the stream waits");
    encoder.finish_relayed(Some(Nanos(7)), &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        first
            + "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":4,\"cost_usd\":\"0.000000007\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );
}
