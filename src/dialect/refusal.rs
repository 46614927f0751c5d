//! What a provider's refusal means: status and body, in whatever shape, to a [`Cause`].
//!
//! Shared by the dialects because hosts mix shapes: an OpenAI-compatible address may answer with Google's or Anthropic's
//! error object, an array of one, a bare string, or a page of HTML.
use super::{MalformedFrame, lenient};
use crate::{
    chat::Event,
    fault::{Cause, UpstreamFault},
    json::read_bytes,
    sse::Frame,
};
use serde_json::Value;

/// The longest text of a provider that is kept.
const MESSAGE_CHARS_MAX: usize = 500;

/// How hosts say "too long for this model": there is no common code.
const CONTEXT_PHRASES: [&str; 11] = [
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "too many tokens",
    "too_many_prompt_tokens",
    "exceeded max context length",
    "total length of all messages is too long",
    "maximum prompt length",
    "input is too long",
];

/// Our account at the provider, not the rate.
const FUNDS_PHRASES: [&str; 6] = [
    "insufficient_quota",
    "insufficient balance",
    "insufficient credit",
    "credit balance",
    "billing_error",
    "billing hard limit",
];

/// Our credential, at hosts that answer 400 for it.
const CREDENTIAL_PHRASES: [&str; 5] =
    ["api key", "api_key", "authentication_error", "unauthorized", "invalid x-api-key"];

/// What is not served to us: there, in our region, or in that way.
const MODEL_PHRASES: [&str; 8] = [
    "model_not_found",
    "model does not exist",
    "model not found",
    "unknown model",
    "deploymentnotfound",
    "model identifier is invalid",
    "on-demand throughput",
    "location is not supported",
];

/// The model's own failure to keep a form, told as if the request were bad.
const MODEL_FAILURES: [&str; 2] = ["tool_use_failed", "json_validate_failed"];

/// A provider's error answer, classified. `retry_after` is the header's value.
pub(super) fn classify(status: u16, bytes: &[u8], retry_after: Option<&str>) -> UpstreamFault {
    if let Ok(value) = read_bytes::<Value>(bytes) {
        let mut fault = classify_value(status, &value);
        if let Some(seconds) = retry_after.and_then(milliseconds) {
            fault.retry_after_ms = Some(seconds);
        }
        fault
    } else {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim();
        // Pages are a proxy's, not the provider's words.
        let message = if text.is_empty() || text.starts_with('<') { String::new() } else { tidy(text) };
        let words = message.to_ascii_lowercase();
        let mut fault = UpstreamFault::new(status, cause(status, &words), or_status(message, status));
        fault.retry_after_ms = retry_after.and_then(milliseconds);
        fault
    }
}

/// A failure told inside an answer that had begun with 200: its status is in the body, if anywhere.
pub(super) fn classify_inside(value: &Value) -> UpstreamFault {
    let inner = inner(value);
    let told = ["code", "status_code", "status"].iter().find_map(|name| status_of(inner.get(*name)?));
    classify_value(told.unwrap_or(0), value)
}

/// The error a body holds although its status is 200. `null`, `false` and `{}` are no errors.
pub(super) fn error_of(value: &Value) -> Option<&Value> {
    let value = value.as_array().and_then(|items| items.first()).unwrap_or(value);
    let told = match value.get("error")? {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    told.then_some(value)
}

/// The event of a stream whose events say their kind; `None` where there is nothing to read, also once the stream is over. An
/// error ends it as a fault: one by its kind, by an `error` inside, or by what `failed` knows of kind and event.
///
/// # Errors
/// No JSON, or JSON that is no event.
pub(super) fn named_event(
    frame: &Frame<'_>,
    failed: &dyn Fn(&str, &Value) -> bool,
    over: &mut bool,
    events: &mut Vec<Event>,
) -> Result<Option<Value>, MalformedFrame> {
    let data = frame.data.trim();
    if data.is_empty() || *over || data == "[DONE]" {
        return Ok(None);
    }
    let told: Value = serde_json::from_str(data).map_err(|_| MalformedFrame)?;
    let kind = lenient::kind(&told, frame);
    if kind == "error" || failed(kind, &told) || error_of(&told).is_some() {
        *over = true;
        events.push(Event::Fault(classify_inside(&told)));
        return Ok(None);
    }
    if told.is_object() { Ok(Some(told)) } else { Err(MalformedFrame) }
}

fn status_of(code: &Value) -> Option<u16> {
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|status| (400..600).contains(status))
}

fn inner(value: &Value) -> &Value {
    let value = value.as_array().and_then(|items| items.first()).unwrap_or(value);
    value.get("error").filter(|error| error.is_object()).unwrap_or(value)
}

fn classify_value(status: u16, value: &Value) -> UpstreamFault {
    let outer = value.as_array().and_then(|items| items.first()).unwrap_or(value);
    let inner = inner(value);
    let texts = [inner.get("message"), outer.get("error"), outer.get("detail"), inner.get("msg"), outer.get("message")];
    let message = texts.into_iter().flatten().find_map(text_of).map_or_default(|text| tidy(&text));
    let mut words = message.to_ascii_lowercase();
    for name in ["code", "type", "status", "error_type"] {
        for told in [inner.get(name), outer.get(name)].into_iter().flatten().filter_map(Value::as_str) {
            words.push(' ');
            words.push_str(&told.to_ascii_lowercase());
        }
    }
    let details = inner.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for reason in details.iter().filter_map(|detail| detail.get("reason").and_then(Value::as_str)) {
        words.push(' ');
        words.push_str(&reason.to_ascii_lowercase());
    }
    let mut fault = UpstreamFault::new(status, cause(status, &words), or_status(message, status));
    fault.param = inner.get("param").and_then(Value::as_str).map(tidy);
    fault.retry_after_ms = details.iter().find_map(|detail| milliseconds(detail.get("retryDelay")?.as_str()?));
    fault
}

/// A sentence, or the first of several.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(text_of),
        Value::Object(members) => members.get("message").or_else(|| members.get("msg")).and_then(text_of),
        _ => None,
    }
}

fn cause(status: u16, words: &str) -> Cause {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    // Bedrock throttles with "Too many tokens, please wait".
    if status < 500 && status != 429 && says(&CONTEXT_PHRASES) {
        return Cause::ContextLength;
    }
    match status {
        0..400 => cause_in_words(words),
        400 | 422 if says(&CREDENTIAL_PHRASES) => Cause::Credential,
        400 | 403 | 422 | 429 if says(&FUNDS_PHRASES) => Cause::OutOfFunds,
        400 | 403 | 422 if says(&MODEL_PHRASES) => Cause::UnknownModel,
        400 | 422 if says(&MODEL_FAILURES) => Cause::Server,
        // OpenRouter and Azure refuse flagged prompts so; another key would not help.
        403 if says(&["moderation", "flagged"]) => Cause::Invalid,
        401 | 403 => Cause::Credential,
        402 => Cause::OutOfFunds,
        404 => Cause::UnknownModel,
        408 => Cause::Timeout,
        413 => Cause::TooLarge,
        429 => Cause::RateLimited,
        // Groq: its capacity is used up.
        498 | 503 | 529 => Cause::Overloaded,
        409 | 424 | 425 | 499 => Cause::Server,
        400..500 => Cause::Invalid,
        _ if says(&["overloaded"]) => Cause::Overloaded,
        _ => Cause::Server,
    }
}

/// Inside a 200 there may be nothing but words.
fn cause_in_words(words: &str) -> Cause {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&FUNDS_PHRASES) {
        Cause::OutOfFunds
    } else if says(&["overloaded", "unavailable", "over capacity"]) {
        Cause::Overloaded
    } else if says(&["rate_limit", "rate limit", "resource_exhausted", "too many requests"]) {
        Cause::RateLimited
    } else if says(&["authentication_error", "invalid_api_key", "permission_error"]) {
        Cause::Credential
    } else if says(&["not_found_error", "model_not_found"]) {
        Cause::UnknownModel
    } else if says(&MODEL_FAILURES) {
        Cause::Server
    } else if says(&["invalid_request_error", "invalid_argument"]) {
        Cause::Invalid
    } else {
        Cause::Server
    }
}

/// `"2"`, `"1.5"`, `"37s"`, `"250ms"` to milliseconds. HTTP dates need a clock, which no dialect has: who has one turns them into
/// seconds first.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(ms) = text.strip_suffix("ms") {
        return milliseconds(ms.trim_end()).map(|ms| ms.div_ceil(1_000));
    }
    let (whole, fraction) =
        text.strip_suffix('s').unwrap_or(text).split_once('.').unwrap_or((text.trim_end_matches('s'), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)
}

/// One line of at most [`MESSAGE_CHARS_MAX`] characters.
fn tidy(text: &str) -> String {
    let one_line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    one_line.take(MESSAGE_CHARS_MAX).collect()
}

fn or_status(message: String, status: u16) -> String {
    match (message.is_empty(), status) {
        (false, _) => message,
        (true, 0) => "The provider reported a failure without saying which.".to_owned(),
        (true, _) => format!("The provider answered with status {status} and no message."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Cause {
        classify(status, body.as_bytes(), None).cause
    }

    #[test]
    fn every_shape_of_error_is_read() {
        for (status, body, cause) in [
            (
                400,
                r#"{"error":{"message":"bad","type":"invalid_request_error","param":"n","code":null}}"#,
                Cause::Invalid,
            ),
            (400, r#"{"code":"invalid-argument","error":"Incorrect API key provided: xx"}"#, Cause::Credential),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#,
                Cause::Credential,
            ),
            (401, r#"{"detail":"Unauthorized"}"#, Cause::Credential),
            (402, r#"{"error":{"message":"Prepaid is empty","code":402}}"#, Cause::OutOfFunds),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                Cause::OutOfFunds,
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
                Cause::OutOfFunds,
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED"}}"#,
                Cause::RateLimited,
            ),
            (404, r#"{"error":{"code":"DeploymentNotFound","message":"none"}}"#, Cause::UnknownModel),
            (403, r#"{"error":{"code":"model_not_found","message":"no access"}}"#, Cause::UnknownModel),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":null}}"#,
                Cause::ContextLength,
            ),
            (413, r#"{"error":{"message":"prompt is too long: 3 tokens"}}"#, Cause::ContextLength),
            (400, r#"{"message":"Input is too long for requested model."}"#, Cause::ContextLength),
            (400, r#"{"message":"The provided model identifier is invalid."}"#, Cause::UnknownModel),
            (429, r#"{"message":"Too many tokens, please wait before trying again."}"#, Cause::RateLimited),
            (
                400,
                r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#,
                Cause::UnknownModel,
            ),
            (413, r#"{"error":{"type":"request_too_large","message":"body"}}"#, Cause::TooLarge),
            (422, r#"{"detail":[{"msg":"Extra inputs are not permitted","loc":["body","x"]}]}"#, Cause::Invalid),
            (400, r#"{"error":{"code":"tool_use_failed","message":"Failed to call a function"}}"#, Cause::Server),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Cause::Overloaded),
            (500, "<html><body>502</body></html>", Cause::Server),
            (503, "", Cause::Overloaded),
            (408, "null", Cause::Timeout),
            (500, "\u{0}\u{1}[", Cause::Server),
        ] {
            assert_eq!(told(status, body), cause, "{status} {body}");
        }
    }

    #[test]
    fn the_message_is_short_and_one_line() {
        let fault = classify(
            400,
            format!(r#"{{"error":{{"message":"a\n{}","param":"x"}}}}"#, "é".repeat(900)).as_bytes(),
            None,
        );
        assert_eq!(fault.message.chars().count(), 500);
        assert!(fault.message.starts_with("a é"));
        assert_eq!(fault.param.as_deref(), Some("x"));
        assert_eq!(classify(502, b"<html>", None).message, "The provider answered with status 502 and no message.");
        assert_eq!(classify(422, br#"{"detail":[{"msg":"no"}]}"#, None).message, "no");
    }

    #[test]
    fn retry_delays_come_from_header_and_body() {
        let wait = |header| classify(429, b"{}", Some(header)).retry_after_ms;
        assert_eq!((wait("2"), wait("0.25"), wait("Wed, 21 Oct"), wait("-1")), (Some(2_000), Some(250), None, None));
        assert_eq!((wait("250ms"), wait("1.5 ms"), wait("ms")), (Some(250), Some(2), None));
        let google = br#"{"error":{"code":429,"details":[{"@type":"x"},{"@type":"RetryInfo","retryDelay":"37.5s"}]}}"#;
        assert_eq!(classify(429, google, None).retry_after_ms, Some(37_500));
        assert_eq!(classify(429, b"{}", Some("99999999999999999999")).retry_after_ms, None);
    }

    #[test]
    fn a_failure_inside_a_200_is_classified_by_its_own_words() {
        let inside = |text: &str| classify_inside(&serde_json::from_str(text).expect("JSON")).cause;
        assert_eq!(inside(r#"{"error":{"message":"Provider returned error","code":502}}"#), Cause::Server);
        assert_eq!(inside(r#"{"error":{"message":"slow","code":"429"}}"#), Cause::RateLimited);
        assert_eq!(inside(r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#), Cause::Overloaded);
        assert_eq!(inside(r#"{"error":{"message":"x","status_code":400,"code":"tool_use_failed"}}"#), Cause::Server);
        assert_eq!(inside(r#"{"error":"boom"}"#), Cause::Server);
        assert!(error_of(&crate::json::json!({"error": null})).is_none());
        assert!(error_of(&crate::json::json!([{"error": "x"}])).is_some());
    }
}
