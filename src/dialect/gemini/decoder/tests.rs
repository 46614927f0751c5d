use super::*;
use crate::{
    chat::{Choice as Answer, Part},
    json::json,
    sse::Parser,
    usage::Usage,
};

fn read(frames: &[&str]) -> Vec<Event> {
    let (mut decoder, mut events) = (ContentDecoder::default(), Vec::new());
    for data in frames {
        let frame = Frame { event: "", data, raw: data.as_bytes() };
        assert_eq!(decoder.glance(&frame), Glance::Read);
        decoder.decode(&frame, &mut events).expect("well formed");
    }
    decoder.close(&mut events);
    events
}

/// A frame with these members of a candidate.
fn candidate(members: &str) -> String {
    format!(r#"{{"candidates":[{{{members}}}],"modelVersion":"m","responseId":"r"}}"#)
}

fn start() -> Event {
    Event::Start { id: "r".into(), model: "m".into() }
}

fn finish(finish: Finish, native: &str) -> Event {
    Event::Finish { choice: 0, finish, native: Some(native.into()) }
}

const TURN: [&str; 4] = [
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"why","thought":true}]},"index":0}],"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"m","responseId":"r"}"#,
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Let me é.","thoughtSignature":"b/64+="}]},"index":0}],"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
    r#"{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"x":1}},"thoughtSignature":"b64"},{"functionCall":{"id":"g1","name":"g","args":{}}}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":12,"thoughtsTokenCount":8,"totalTokenCount":29}}"#,
];

fn turn() -> Vec<Event> {
    let id = signed_id(&made_up_id("r", 0, 0), Some("b64"));
    let usage = |output, reasoning| Event::Usage(Usage { input: 9, output, reasoning, ..Usage::default() });
    vec![
        start(),
        Event::Reasoning { choice: 0, text: "why".into() },
        usage(0, 0),
        Event::Signature { choice: 0, signature: "gemini.b/64+=".into() },
        Event::Text { choice: 0, text: "Let me é.".into() },
        Event::ToolStart { choice: 0, index: 0, id, name: "f".into() },
        Event::ToolArguments { choice: 0, index: 0, fragment: r#"{"x":1}"#.into() },
        Event::ToolStart { choice: 0, index: 1, id: "g1".into(), name: "g".into() },
        Event::ToolArguments { choice: 0, index: 1, fragment: "{}".into() },
        finish(Finish::ToolCalls, "STOP"),
        usage(20, 8),
        Event::End,
    ]
}

#[test]
fn a_stream_with_thoughts_text_and_calls_is_told_in_order() {
    assert_eq!(read(&TURN), turn());
}

#[test]
fn every_cut_gives_the_same_events() {
    let text: String = TURN.iter().map(|data| ["data: ", data, "\r\n\r\n"].concat()).collect();
    for cut in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        let (mut parser, mut decoder, mut events) = (Parser::default(), ContentDecoder::default(), Vec::new());
        let mut each = |frame: Frame<'_>| decoder.decode(&frame, &mut events).expect("well formed");
        parser.push(head, &mut each).expect("text");
        parser.push(tail, &mut each).expect("text");
        parser.finish(&mut each).expect("text");
        decoder.close(&mut events);
        assert_eq!(events, turn(), "cut at {cut}");
    }
}

#[test]
fn a_whole_answer_is_a_stream_of_one() {
    let told = json!({"candidates": [
        {"content": {"parts": [{"text": "t", "thought": true}, {"text": "a", "thoughtSignature": "s"}, {"text": "b"}]}, "finishReason": "MAX_TOKENS"},
        {"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP", "index": 1}],
        "modelVersion": "m", "responseId": "r"});
    let response = whole(told.to_string().as_bytes()).expect("an answer");
    assert_eq!((response.id.as_str(), response.model.as_str(), response.usage), ("r", "m", None));
    let thought = Part::Reasoning { text: "t".into(), signature: Some("gemini.s".into()) };
    let call = Part::ToolCall { id: made_up_id("r", 1, 0), name: "f".into(), arguments: "{}".into() };
    let answer = |parts, finish, native: &str| Answer { parts, finish, native_finish: Some(native.into()) };
    assert_eq!(
        response.choices,
        [
            answer(vec![thought, Part::text("ab")], Finish::Length, "MAX_TOKENS"),
            answer(vec![call], Finish::ToolCalls, "STOP")
        ]
    );
    assert!(whole(b"<html>").is_err() && whole(b"{}").is_err() && whole(b"[]").is_err());
}

#[test]
fn a_text_is_signed_only_for_those_who_see_thoughts() {
    let plain = candidate(r#""content":{"parts":[{"text":"a","thoughtSignature":"s"}]},"finishReason":"STOP""#);
    let text = || Event::Text { choice: 0, text: "a".into() };
    assert_eq!(read(&[&plain]), [start(), text(), finish(Finish::Stop, "STOP"), Event::End]);
    // The signature may come last, on a text of its own.
    let late = candidate(
        r#""content":{"parts":[{"text":"t","thought":true},{"text":"a"},{"text":"","thoughtSignature":"s"}]}"#,
    );
    let signature = Event::Signature { choice: 0, signature: "gemini.s".into() };
    assert_eq!(read(&[&late])[2..], [text(), signature]);
    let thought = Part::Reasoning { text: "t".into(), signature: Some("gemini.s".into()) };
    assert_eq!(whole(late.as_bytes()).expect("an answer").choices[0].parts, [thought, Part::text("a")]);
}

#[test]
fn arguments_in_pieces_become_one() {
    let piece = |call: &str| candidate(&format!(r#""content":{{"parts":[{{"functionCall":{{{call}}}}}]}}"#));
    let frames = [
        piece(r#""name":"f","willContinue":true"#),
        piece(
            r#""partialArgs":[{"jsonPath":"$.list[0].name","stringValue":"Bo","willContinue":true}],"willContinue":true"#,
        ),
        piece(r#""partialArgs":[{"jsonPath":"$.list[0].name","stringValue":"ston"}],"willContinue":true"#),
        piece(r#""willContinue":true"#),
        piece(
            r#""partialArgs":[{"jsonPath":"$.list[1]","numberValue":0.5},{"jsonPath":"$['odd key']","boolValue":true}],"willContinue":true"#,
        ),
        piece(
            r#""partialArgs":[{"jsonPath":"$.none","nullValue":"NULL_VALUE"},{"jsonPath":"$.list[9]","numberValue":1},{"numberValue":2}]"#,
        ),
        piece(r#""name":"g","willContinue":true"#),
        candidate(r#""content":{"parts":[{"text":""}]},"finishReason":"STOP""#),
    ];
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let arguments: Vec<String> = read(&frames)
        .into_iter()
        .filter_map(|event| if let Event::ToolArguments { fragment, .. } = event { Some(fragment) } else { None })
        .collect();
    let whole = r#"{"list":[{"name":"Boston"},0.5],"odd key":true,"none":null}"#;
    assert_eq!(arguments, [whole, "{}"], "a call that never ends ends with its answer");
}

#[test]
fn finishes_say_what_happened() {
    let told = |reason: &str| read(&[&candidate(&format!(r#""content":{{}},"finishReason":"{reason}""#))]);
    for (reason, wanted) in [
        ("STOP", Finish::Stop),
        ("FINISH_REASON_UNSPECIFIED", Finish::Stop),
        ("MAX_TOKENS", Finish::Length),
        ("SAFETY", Finish::ContentFilter),
        ("RECITATION", Finish::ContentFilter),
        ("OTHER", Finish::ContentFilter),
        ("IMAGE_PROHIBITED_CONTENT", Finish::ContentFilter),
        ("MODEL_ARMOR", Finish::ContentFilter),
        ("NEWER_THAN_THIS", Finish::ContentFilter),
    ] {
        assert_eq!(told(reason), [start(), finish(wanted, reason), Event::End], "{reason}");
    }
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    ] {
        let events = told(reason);
        assert!(
            matches!(&events[..], [Event::Start { .. }, Event::Fault(fault)] if fault.cause == Cause::Server),
            "{reason}: {events:?}"
        );
    }
}

#[test]
fn a_blocked_prompt_is_no_empty_stop() {
    let blocked = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":"no"},
        "usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"m","responseId":"r"}"#;
    let usage = Usage { input: 9, ..Usage::default() };
    let refusal = Event::Refusal { choice: 0, text: "no".into() };
    let wanted =
        [start(), refusal, finish(Finish::ContentFilter, "PROHIBITED_CONTENT"), Event::Usage(usage), Event::End];
    assert_eq!(read(&[blocked]), wanted);
    let response = whole(blocked.as_bytes()).expect("an answer");
    assert_eq!((response.choices[0].finish, response.usage), (Finish::ContentFilter, Some(usage)));
}

#[test]
fn a_stream_that_does_not_finish_has_no_end() {
    let text = candidate(r#""content":{"parts":[{"text":"a"}]}"#);
    assert_eq!(read(&[&text]), [start(), Event::Text { choice: 0, text: "a".into() }]);
    let one_of_two =
        r#"{"candidates":[{"index":0,"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"a"}]}}]}"#;
    assert!(!read(&[one_of_two]).contains(&Event::End));
    assert_eq!(read(&[]), [] as [Event; 0]);
}

#[test]
fn failures_in_the_stream_end_it() {
    for (data, cause) in [
        (r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#, Cause::Overloaded),
        (r#"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}]"#, Cause::RateLimited),
        (r#"{"error":{"message":"Deadline","status":"UNAVAILABLE"}}"#, Cause::Overloaded),
        (
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            Cause::Credential,
        ),
    ] {
        let events = read(&[data, TURN[0]]);
        assert!(matches!(&events[..], [Event::Fault(fault)] if fault.cause == cause), "{events:?}");
        assert_eq!(whole(data.as_bytes()).expect_err("a fault").cause, cause);
    }
}

#[test]
fn junk_is_malformed_and_never_a_panic() {
    let decode = |data: &str| ContentDecoder::default().decode(&Frame { event: "", data, raw: b"" }, &mut Vec::new());
    for data in ["{", "7", "null", "[]"] {
        assert_eq!(decode(data), Err(MalformedFrame), "{data}");
    }
    for data in [
        "",
        r#"{"candidates":7}"#,
        r#"{"candidates":[7,{"content":7},{"content":{"parts":[7,{"text":7},{"functionCall":7},{"functionCall":{"name":7}}]}}]}"#,
        r#"{"candidates":[{"index":-1,"finishReason":7},{"index":99999999999}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":7,"partialArgs":[7,{"jsonPath":"$"},{"jsonPath":"$[[[0]"}]}}]}}]}"#,
        r#"{"promptFeedback":7,"usageMetadata":7}"#,
    ] {
        assert_eq!(decode(data), Ok(()), "{data}");
    }
    let deep = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","partialArgs":[{{"jsonPath":"${}","stringValue":"x"}}]}}}}]}}}}]}}"#,
        ".a".repeat(100_000)
    );
    assert_eq!(decode(&deep), Ok(()));
}
