use super::{
    super::fixtures::{CLAUDE, deployment},
    *,
};
use crate::{
    chat::{Choice, Part},
    json::json,
};

fn decoder() -> ConverseDecoder {
    ConverseDecoder::new(&deployment(CLAUDE, "[]"))
}

fn read(frames: &[(&str, &str)]) -> Vec<Event> {
    let (mut decoder, mut events) = (decoder(), Vec::new());
    for (event, data) in frames {
        decoder.decode(&Frame { event, data, raw: b"" }, &mut events).expect("well formed");
    }
    decoder.close(&mut events);
    events
}

const START: Event = Event::Start { id: String::new(), model: String::new() };

const TURN: [(&str, &str); 16] = [
    ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"why"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"EqQB"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"xyz"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":""}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"Let me."}}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"x\""}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":":1}"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":4,"start":{"toolUse":{"toolUseId":"t2","name":"g"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":4}"#),
    ("messageStop", r#"{"stopReason":"tool_use"}"#),
    ("newerThanThis", "{}"),
    (
        "metadata",
        r#"{"metrics":{"latencyMs":1},"usage":{"inputTokens":9,"outputTokens":20,"totalTokens":36,"cacheReadInputTokens":2,"cacheWriteInputTokens":5,"cacheDetails":[{"inputTokens":3,"ttl":"1h"},{"inputTokens":2,"ttl":"5m"}]}}"#,
    ),
];

fn arguments(index: u32, fragment: &str) -> Event {
    Event::ToolArguments { choice: 0, index, fragment: fragment.into() }
}

#[test]
fn a_stream_is_told_in_order() {
    let started = |index, id: &str, name: &str| Event::ToolStart { choice: 0, index, id: id.into(), name: name.into() };
    let usage = Usage { input: 9, cache_read: 2, cache_write: 2, cache_write_1h: 3, output: 20, ..Usage::default() };
    assert_eq!(
        read(&TURN),
        [
            START,
            Event::Reasoning { choice: 0, text: "why".into() },
            Event::Signature { choice: 0, signature: "EqQB".into() },
            Event::RedactedReasoning { choice: 0, data: "bedrock.anthropic.xyz".into() },
            Event::Text { choice: 0, text: "Let me.".into() },
            started(0, "t1", "f"),
            arguments(0, "{\"x\""),
            arguments(0, ":1}"),
            started(1, "t2", "g"),
            arguments(1, "{}"),
            Event::Finish { choice: 0, finish: Finish::ToolCalls, native: Some("tool_use".into()) },
            Event::Usage(usage),
            Event::End,
        ]
    );
}

#[test]
fn a_whole_answer_reads_the_same() {
    let told = json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "why", "signature": "EqQB"}}},
        {"reasoningContent": {"redactedContent": "xyz"}},
        {"toolUse": {"toolUseId": "s", "name": "web", "input": {"q": 1}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s", "content": [{"text": "[HIDDEN]"}]}},
        {"text": "Let "}, {"citationsContent": {"citations": []}}, {"text": "me."},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
        {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}}]}},
        "stopReason": "tool_use", "usage": {"inputTokens": 9, "outputTokens": 20}});
    let response = whole(told.to_string().as_bytes(), &deployment(CLAUDE, "[]")).expect("an answer");
    let call = |id: &str, name: &str, arguments: &str| Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        response.choices,
        [Choice {
            parts: vec![
                Part::Reasoning { text: "why".into(), signature: Some("EqQB".into()) },
                Part::RedactedReasoning("bedrock.anthropic.xyz".into()),
                Part::text("Let me."),
                call("t1", "f", r#"{"x":1}"#),
                call("t2", "g", "{}"),
            ],
            finish: Finish::ToolCalls,
            native_finish: Some("tool_use".into()),
        }]
    );
    assert_eq!(response.usage, Some(Usage { input: 9, output: 20, ..Usage::default() }));
    let whole = |text: &str| whole(text.as_bytes(), &deployment(CLAUDE, "[]"));
    let nothing = r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    assert!(whole("<html>").is_err() && whole("{}").is_err() && whole(nothing).is_err());
}

#[test]
fn finishes_say_what_happened() {
    for (reason, wanted) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("guardrail_intervened", Finish::ContentFilter),
        ("content_filtered", Finish::ContentFilter),
    ] {
        let data = format!(r#"{{"stopReason":"{reason}"}}"#);
        let finish = Event::Finish { choice: 0, finish: wanted, native: Some(reason.into()) };
        assert_eq!(read(&[("messageStop", &data)]), [START, finish, Event::End], "counts may be missing");
    }
    let events = read(&[("messageStop", r#"{"stopReason":"malformed_model_output"}"#), TURN[15]]);
    assert!(
        matches!(&events[..], [Event::Start { .. }, Event::Fault(fault)] if fault.cause == Cause::Server),
        "{events:?}"
    );
}

#[test]
fn exceptions_are_faults_of_their_kind() {
    for (event, data, cause) in [
        ("throttlingException", r#"{"message":"Too many tokens, please wait"}"#, Cause::RateLimited),
        ("ThrottlingException", "{}", Cause::RateLimited),
        ("serviceUnavailableException", r#"{"message":"busy"}"#, Cause::Overloaded),
        ("modelTimeoutException", r#"{"message":"slow"}"#, Cause::Timeout),
        ("validationException", r#"{"message":"bad"}"#, Cause::Invalid),
        ("validationException", r#"{"message":"Input is too long for requested model."}"#, Cause::ContextLength),
        ("modelStreamErrorException", r#"{"message":"Model Stream Error","originalStatusCode":500}"#, Cause::Server),
        ("internalServerException", r#"{"message":"oops"}"#, Cause::Server),
        ("InternalFailure", "broken", Cause::Server),
    ] {
        let events = read(&[TURN[0], (event, data), TURN[13]]);
        assert!(
            matches!(&events[..], [Event::Start { .. }, Event::Fault(fault)] if fault.cause == cause),
            "{event}: {events:?}"
        );
    }
}

#[test]
fn a_cut_stream_has_no_end() {
    assert!(!read(&TURN[..13]).contains(&Event::End));
    assert_eq!(read(&TURN[..1]), [START]);
}

#[test]
fn junk_is_malformed_and_never_a_panic() {
    for data in ["", "{", "\u{0}"] {
        let frame = Frame { event: "contentBlockDelta", data, raw: b"" };
        assert_eq!(decoder().decode(&frame, &mut Vec::new()), Err(MalformedFrame));
    }
    for event in
        ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", ""]
    {
        for data in [
            "null",
            "7",
            "[]",
            r#"{"start":7,"delta":7,"usage":7,"stopReason":7,"contentBlockIndex":-1}"#,
            r#"{"start":{"toolUse":7},"delta":{"toolUse":7,"reasoningContent":7,"text":7},"usage":{"inputTokens":-1}}"#,
        ] {
            assert_eq!(decoder().decode(&Frame { event, data, raw: b"" }, &mut Vec::new()), Ok(()), "{event} {data}");
        }
    }
}
