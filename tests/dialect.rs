//! The dialects against what providers really sent: every recorded exchange of `tests/fixtures`.
#![allow(clippy::tests_outside_test_module, reason = "all of this is test code")]
use megarouter::{
    body::Body,
    catalog::{Catalog, Deployment, Dialect},
    chat::{Choice, Event, Finish, Part, Request, Response, Role},
    dialect::{Decoder, Downstream, Encoder, Framing, Glance, Order, Stamp, Upstream, downstream, upstream},
    endpoint::Surface,
    eventstream,
    fault::Cause,
    id::Dice,
    money::Nanos,
    sse::{Frame, Parser},
    usage::Usage,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, rc::Rc};

/// A recorded exchange in one of the dialects.
struct Recorded {
    id: String,
    dialect: Dialect,
    stream: bool,
    /// 0 where a project stored a body without it.
    status: u16,
    request: Option<Vec<u8>>,
    response: Vec<u8>,
    quirks: &'static str,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn recorded() -> Vec<Recorded> {
    let index: Value = serde_json::from_slice(&fs::read(folder().join("index.json")).expect("an index")).expect("JSON");
    let text = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
    let read = |entry: &Value| {
        let dialect = match entry["endpoint"].as_str()? {
            "chat.completions" => Dialect::OpenaiChat,
            "messages" => Dialect::Anthropic,
            "responses" => Dialect::OpenaiResponses,
            "generateContent" | "streamGenerateContent" => Dialect::Gemini,
            "converse" | "converse-stream" => Dialect::BedrockConverse,
            "chat_v2" => Dialect::CohereV2,
            _ => return None,
        };
        let stream = entry["stream"] == true;
        let file = |name: &str| fs::read(folder().join(text(entry, name)?)).ok();
        let mut response = file("response_file")?;
        if stream && entry["response_form"].as_str().is_some_and(|form| form.starts_with("one upstream JSON")) {
            response = enveloped(&response, dialect);
        }
        Some(Recorded {
            id: text(entry, "id")?,
            dialect,
            stream,
            status: entry["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
            request: file("request_file"),
            response,
            quirks: if entry["provider"] == "xai" { r#"["output_excludes_reasoning"]"# } else { "[]" },
        })
    };
    index["fixtures"].as_array().expect("a list").iter().filter_map(read).collect()
}

/// Payload lines as the stream they were taken from.
fn enveloped(lines: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut out = String::new();
    for line in String::from_utf8_lossy(lines).lines().filter(|line| !line.trim().is_empty()) {
        if dialect != Dialect::OpenaiChat && dialect != Dialect::Gemini {
            let told: Value = serde_json::from_str(line).expect("JSON");
            writeln!(out, "event: {}", told["type"].as_str().expect("a type")).expect("a string");
        }
        write!(out, "data: {line}\n\n").expect("a string");
    }
    if dialect == Dialect::OpenaiChat {
        out.push_str("data: [DONE]\n\n");
    }
    out.into_bytes()
}

fn streams() -> Vec<Recorded> {
    recorded().into_iter().filter(|exchange| exchange.stream && exchange.status == 200).collect()
}

fn wholes() -> Vec<Recorded> {
    recorded().into_iter().filter(|exchange| !exchange.stream && exchange.status == 200).collect()
}

fn deployment(dialect: Dialect, quirks: &str) -> Rc<Deployment> {
    let word = serde_json::to_string(&dialect).expect("a word");
    let text = format!(
        r#"{{"version":1,"providers":[{{"id":"acme","name":"Acme","dialect":{word},"base_url":"https://x.test","credential":"K"}}],
        "models":[{{"provider":"acme","id":"m-1","context_length":1000000,"max_output_tokens":64000,"input_usd_per_mtok":"1",
        "output_usd_per_mtok":"2","quirks":{quirks},"supports":["tools","reasoning","vision","json_schema"]}}]}}"#
    );
    Catalog::parse(&text).expect("valid").deployments()[0].clone()
}

fn stamp(wants_usage: bool) -> Stamp {
    Stamp {
        request_id: "req_1".into(),
        model: "acme/m-1".into(),
        created: 5,
        wants_usage,
        cost: None,
        ..Stamp::default()
    }
}

/// The dialects callers speak, too.
const SERVED: [Dialect; 3] = [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic];

/// A dialect as callers speak it; chat completions for those that none does.
fn served(dialect: Dialect) -> &'static dyn Downstream {
    let surface = match dialect {
        Dialect::OpenaiResponses => Surface::Responses,
        Dialect::Anthropic => Surface::Messages,
        _ => Surface::ChatCompletions,
    };
    downstream(surface)
}

/// Hands the frames of a stream to `each`, as the dialect's providers cut them.
fn parse(dialect: Dialect, chunks: &[&[u8]], mut each: impl FnMut(Frame<'_>)) {
    match upstream(dialect).framing() {
        Framing::Sse => {
            let mut parser = Parser::default();
            for chunk in chunks {
                parser.push(chunk, &mut each).expect("text");
            }
            parser.finish(&mut each).expect("text");
        }
        Framing::EventStream => {
            let mut parser = eventstream::Parser::default();
            for chunk in chunks {
                parser.push(chunk, &mut each).expect("whole");
            }
            parser.finish(&mut each).expect("whole");
        }
    }
}

/// All frames of a stream, as (event, data, raw).
fn frames(dialect: Dialect, chunks: &[&[u8]]) -> Vec<(String, String, Vec<u8>)> {
    let mut told = Vec::new();
    parse(dialect, chunks, |f| told.push((f.event.to_owned(), f.data.to_owned(), f.raw.to_vec())));
    told
}

fn events_in(dialect: Dialect, quirks: &str, chunks: &[&[u8]]) -> Vec<Event> {
    let mut decoder = upstream(dialect).decoder(&deployment(dialect, quirks));
    let mut told = Vec::new();
    parse(dialect, chunks, |frame| decoder.decode(&frame, &mut told).expect("well formed"));
    decoder.close(&mut told);
    told
}

fn events_of(exchange: &Recorded) -> Vec<Event> {
    events_in(exchange.dialect, exchange.quirks, &[&exchange.response])
}

/// An answer, put together from a stream or read whole: what must survive every translation.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    choices: BTreeMap<u32, Said>,
    /// Prompt, read from cache, output, reasoning.
    usage: Option<[u64; 4]>,
    failed: bool,
    ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    refusal: String,
    reasoning: String,
    signatures: Vec<String>,
    calls: Vec<(String, String, String)>,
    finish: Option<Finish>,
}

impl Told {
    fn of_events(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            match event.clone() {
                Event::Start { .. } => {}
                Event::Text { choice, text } => told.choice(choice).text += &text,
                Event::Refusal { choice, text } => told.choice(choice).refusal += &text,
                Event::Reasoning { choice, text } => told.choice(choice).reasoning += &text,
                Event::Signature { choice, signature: data } | Event::RedactedReasoning { choice, data } => {
                    told.choice(choice).signatures.push(data);
                }
                Event::ToolStart { choice, index, id, name } => {
                    assert_eq!(told.choice(choice).calls.len(), index as usize, "numbered without gaps");
                    assert!(!id.is_empty() && !name.is_empty());
                    told.choice(choice).calls.push((id, name, String::new()));
                }
                Event::ToolArguments { choice, index, fragment } => {
                    told.choice(choice).calls[index as usize].2 += &fragment;
                }
                Event::Finish { choice, finish, .. } => {
                    assert_eq!(told.choice(choice).finish.replace(finish), None, "one finish for each choice");
                }
                Event::Usage(usage) => told.usage = Some(counts(&usage)),
                Event::Fault(_) => told.failed = true,
                Event::End => told.ended = true,
            }
        }
        told
    }

    fn of_response(response: &Response) -> Self {
        let mut told = Self { usage: response.usage.as_ref().map(counts), ended: true, ..Self::default() };
        for (index, choice) in response.choices.iter().enumerate() {
            let said = told.choice(u32::try_from(index).expect("few"));
            said.finish = Some(choice.finish);
            for part in choice.parts.clone() {
                match part {
                    Part::Text { text, .. } => said.text += &text,
                    Part::Refusal(text) => said.refusal += &text,
                    Part::Reasoning { text, signature } => {
                        said.reasoning += &text;
                        said.signatures.extend(signature);
                    }
                    Part::RedactedReasoning(data) => said.signatures.push(data),
                    Part::ToolCall { id, name, arguments } => said.calls.push((id, name, arguments)),
                    other => panic!("{other:?} in an answer"),
                }
            }
        }
        told
    }

    fn to_response(&self) -> Response {
        let choice = |said: &Said| {
            let reasoning = Part::Reasoning { text: said.reasoning.clone(), signature: None };
            let calls = said.calls.iter().cloned().map(|(id, name, arguments)| Part::ToolCall { id, name, arguments });
            let parts = [reasoning, Part::text(&said.text)].into_iter().chain(calls).collect();
            Choice { parts, finish: said.finish.unwrap_or(Finish::Stop), native_finish: None }
        };
        let usage = self.usage.map(|[prompt, cache_read, output, reasoning]| Usage {
            input: prompt - cache_read,
            cache_read,
            output,
            reasoning,
            ..Usage::default()
        });
        Response { choices: self.choices.values().map(choice).collect(), usage, ..Response::default() }
    }

    fn choice(&mut self, index: u32) -> &mut Said {
        self.choices.entry(index).or_default()
    }

    /// What the other dialect keeps: its ids have fewer letters, its arguments are objects, its refusals text.
    fn translated(mut self) -> Self {
        for said in self.choices.values_mut() {
            said.text += &std::mem::take(&mut said.refusal);
            for (id, _, arguments) in &mut said.calls {
                *id = id.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-', "_");
                let object = serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::json!({}));
                *arguments = Value::to_string(&object);
            }
        }
        self
    }
}

/// What Responses keep, as a provider's: signatures stand under their maker's name, arguments are objects.
fn in_responses(mut told: Told) -> Told {
    let makers = ["openai.", "anthropic_redacted.", "anthropic."];
    for said in told.choices.values_mut() {
        for signature in &mut said.signatures {
            for maker in makers {
                *signature = signature.strip_prefix(maker).unwrap_or(signature).to_owned();
            }
        }
        for (_, _, arguments) in &mut said.calls {
            if arguments.is_empty() {
                "{}".clone_into(arguments);
            }
        }
    }
    told
}

fn counts(usage: &Usage) -> [u64; 4] {
    [usage.prompt(), usage.cache_read, usage.output, usage.reasoning]
}

/// A stream written for a caller of `dialect`, as that caller reads it.
fn rewritten(dialect: Dialect, events: &[Event]) -> Told {
    let mut encoder = served(dialect).encoder(stamp(true));
    let (mut out, mut usage) = (Vec::new(), None);
    for event in events {
        if let Event::Usage(told) = event {
            usage = Some(*told);
        }
        encoder.encode(event, &mut out);
    }
    encoder.finish(usage.as_ref(), Some(Nanos(7)), &mut out);
    Told::of_events(&events_in(dialect, "[]", &[&out]))
}

#[test]
fn every_recorded_answer_is_read() {
    let mut read = 0;
    for exchange in wholes() {
        let told = upstream(exchange.dialect)
            .decode_response(&exchange.response, &deployment(exchange.dialect, exchange.quirks));
        let told = Told::of_response(&told.unwrap_or_else(|fault| panic!("{}: {fault:?}", exchange.id)));
        // A blocked answer has no words, and none are counted.
        let blocked = told.choices.values().all(|said| said.finish == Some(Finish::ContentFilter));
        assert!(
            told.usage.is_some_and(|[prompt, _, output, _]| prompt > 0 && (output > 0 || blocked)),
            "{}",
            exchange.id
        );
        for said in told.choices.values() {
            assert!(
                !said.text.is_empty()
                    || !said.calls.is_empty()
                    || !said.refusal.is_empty()
                    || exchange.id.contains("audio")
                    || blocked,
                "{}",
                exchange.id
            );
        }
        read += 1;
    }
    assert!(read >= 30, "only {read} recorded answers were found");
}

#[test]
fn every_recorded_refusal_is_classified() {
    let mut read = 0;
    for exchange in recorded().into_iter().filter(|exchange| exchange.status >= 400) {
        let fault = upstream(exchange.dialect).decode_fault(exchange.status, &exchange.response, Some("2"));
        let wanted: &[Cause] = match exchange.status {
            400 if exchange.response.windows(15).any(|words| words == b"API_KEY_INVALID") => &[Cause::Credential],
            400 => &[Cause::Invalid, Cause::Server, Cause::ContextLength, Cause::UnknownModel],
            401 => &[Cause::Credential],
            404 => &[Cause::UnknownModel],
            429 => &[Cause::RateLimited],
            status => panic!("{}: {status}", exchange.id),
        };
        assert!(wanted.contains(&fault.cause), "{}: {fault:?}", exchange.id);
        assert!(!fault.message.contains("and no message") && fault.message.len() <= 500, "{}: {fault:?}", exchange.id);
        assert_eq!(fault.retry_after_ms, Some(2_000));
        read += 1;
    }
    assert!(read >= 10, "only {read} recorded refusals were found");
    let inside =
        recorded().into_iter().find(|exchange| exchange.status == 0).expect("an error body without its status");
    let told = upstream(inside.dialect).decode_response(&inside.response, &deployment(inside.dialect, "[]"));
    assert!(told.is_err_and(|fault| fault.cause == Cause::Invalid && fault.param.as_deref() == Some("max_tokens")));
}

#[test]
fn every_recorded_stream_is_read() {
    let mut read = 0;
    for exchange in streams() {
        let told = Told::of_events(&events_of(&exchange));
        // Providers that end without a terminator, and those whose failure came in the middle.
        let cut = exchange.id.starts_with("perplexity--chat.completions--sonar--stream");
        assert_eq!(told.ended, !told.failed && !cut, "{}", exchange.id);
        if told.ended {
            assert!(told.choices.values().all(|said| said.finish.is_some()), "{}", exchange.id);
            assert!(
                told.choices.values().all(|said| said.text.len() + said.calls.len() + said.reasoning.len() > 0),
                "{}",
                exchange.id
            );
        }
        read += 1;
    }
    assert!(read >= 40, "only {read} recorded streams were found");
}

/// Where to cut a frame: everywhere, but in a large stream only near its ends, within characters of several bytes, and at
/// some places by chance.
fn cuts(frame: &[u8], by_chance: Option<usize>, dice: &mut Dice) -> Vec<usize> {
    let len = frame.len();
    let Some(by_chance) = by_chance else { return (0..=len).collect() };
    let beyond_ascii = frame.iter().enumerate().filter(|(_, byte)| !byte.is_ascii()).map(|(place, _)| place);
    let chance = (0..by_chance).map(|_| usize::try_from(dice.roll() % len as u64).expect("small"));
    (0..=len.min(2)).chain(len.saturating_sub(2)..=len).chain(beyond_ascii).chain(chance).collect()
}

#[test]
fn every_cut_gives_the_same_events() {
    let mut dice = Dice::new(11);
    for exchange in streams() {
        let bytes = exchange.response.as_slice();
        let whole = frames(exchange.dialect, &[bytes]);
        assert_eq!(whole.iter().flat_map(|(_, _, raw)| raw.clone()).collect::<Vec<_>>(), bytes, "{}", exchange.id);
        // A decoder sees frames: what has the same frames has the same events. Between two frames the parser is empty, so
        // that a cut is felt by its own frame and, where a line end was halved, by the next.
        let mut start = 0;
        for (place, (_, _, raw)) in whole.iter().enumerate() {
            let by_chance = (bytes.len() > 16_384).then(|| 500_usize.div_ceil(whole.len()));
            for cut in cuts(raw, by_chance, &mut dice) {
                let felt = if cut + 3 > raw.len() { 2 } else { 1 };
                let felt = &whole[place..(place + felt).min(whole.len())];
                let window = &bytes[start..start + felt.iter().map(|(_, _, raw)| raw.len()).sum::<usize>()];
                let (head, tail) = window.split_at(cut);
                assert_eq!(frames(exchange.dialect, &[head, tail]), felt, "{} cut at {}", exchange.id, start + cut);
            }
            start += raw.len();
        }
        if bytes.len() <= 16_384 {
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(
                events_in(exchange.dialect, exchange.quirks, &each),
                events_of(&exchange),
                "{} byte by byte",
                exchange.id
            );
        }
    }
}

#[test]
fn streams_survive_translation() {
    for exchange in streams() {
        let events = events_of(&exchange);
        let told = Told::of_events(&events);
        if !told.ended {
            continue;
        }
        assert_eq!(rewritten(Dialect::OpenaiChat, &events), told, "{} to chat completions", exchange.id);
        if told.choices.len() == 1 {
            let mut wanted = told.clone().translated();
            // This dialect always tells usage.
            wanted.usage.get_or_insert([0; 4]);
            assert_eq!(rewritten(Dialect::Anthropic, &events).translated(), wanted, "{} to messages", exchange.id);
            let responses = in_responses(rewritten(Dialect::OpenaiResponses, &events));
            assert_eq!(responses, in_responses(told), "{} to responses", exchange.id);
        }
    }
}

#[test]
fn whole_answers_survive_translation_and_equal_their_streams() {
    let of = |dialect: Dialect, response: &Response| {
        let bytes = served(dialect).encode_response(response, &Stamp { cost: Some(Nanos(7)), ..stamp(true) });
        Told::of_response(&upstream(dialect).decode_response(&bytes, &deployment(dialect, "[]")).expect("our own"))
    };
    for exchange in wholes() {
        let response = upstream(exchange.dialect)
            .decode_response(&exchange.response, &deployment(exchange.dialect, exchange.quirks));
        let response = response.expect("an answer");
        let told = Told::of_response(&response);
        assert_eq!(of(Dialect::OpenaiChat, &response), told, "{} to chat completions", exchange.id);
        if told.choices.len() == 1 {
            assert_eq!(
                of(Dialect::Anthropic, &response).translated(),
                told.clone().translated(),
                "{} to messages",
                exchange.id
            );
            let responses = in_responses(of(Dialect::OpenaiResponses, &response));
            assert_eq!(responses, in_responses(told), "{} to responses", exchange.id);
        }
    }
    for exchange in streams() {
        let mut told = Told::of_events(&events_of(&exchange));
        if told.ended {
            told.choices.values_mut().for_each(|said| said.signatures.clear());
            assert_eq!(of(Dialect::OpenaiChat, &told.to_response()), told, "{} as a whole", exchange.id);
        }
    }
}

/// A stream of the caller's own dialect, passed on as the exchange passes it on.
fn relayed(exchange: &Recorded, wants_usage: bool) -> Vec<u8> {
    let (from, to): (&dyn Upstream, &dyn Downstream) = (upstream(exchange.dialect), served(exchange.dialect));
    let mut decoder: Box<dyn Decoder> = from.decoder(&deployment(exchange.dialect, exchange.quirks));
    let mut encoder: Box<dyn Encoder> = to.encoder(stamp(wants_usage));
    let (mut out, mut parser) = (Vec::new(), Parser::default());
    let mut ended = false;
    let mut each = |frame: Frame<'_>| {
        // Some recordings hold one answer after another.
        if ended {
            return;
        }
        if decoder.glance(&frame) == Glance::Pass {
            // What is passed unread could only have been content.
            let mut events = Vec::new();
            let mut reader = from.decoder(&deployment(exchange.dialect, exchange.quirks));
            reader.decode(&frame, &mut events).expect("well formed");
            events.retain(|event| !matches!(event, Event::Start { .. }));
            let content =
                |event: &Event| !matches!(event, Event::Usage(_) | Event::Finish { .. } | Event::Fault(_) | Event::End);
            assert!(events.iter().all(content), "{}: {}", exchange.id, frame.data);
            out.extend_from_slice(frame.raw);
        } else {
            let mut events = Vec::new();
            decoder.decode(&frame, &mut events).expect("well formed");
            ended = events.contains(&Event::End);
            encoder.relay(&frame, &mut out);
        }
    };
    parser.push(&exchange.response, &mut each).expect("text");
    parser.finish(&mut each).expect("text");
    encoder.finish_relayed(Some(Nanos(7)), &mut out);
    out
}

#[test]
fn relayed_streams_tell_the_same() {
    for exchange in streams().into_iter().filter(|exchange| SERVED.contains(&exchange.dialect)) {
        let told = Told::of_events(&events_of(&exchange));
        if !told.ended {
            continue;
        }
        let out = relayed(&exchange, true);
        assert_eq!(Told::of_events(&events_in(exchange.dialect, exchange.quirks, &[&out])), told, "{}", exchange.id);
        let priced = String::from_utf8_lossy(&out).matches("\"cost_usd\":\"0.000000007\"").count();
        // Groq tells usage a second time under its own name, which callers may keep.
        let groq = exchange.id.starts_with("groq");
        assert_eq!(priced, usize::from(told.usage.is_some()), "{}", exchange.id);
        if exchange.dialect == Dialect::OpenaiChat && !groq {
            let unasked = Told::of_events(&events_in(exchange.dialect, exchange.quirks, &[&relayed(&exchange, false)]));
            assert_eq!(unasked, Told { usage: None, ..told }, "{} without usage", exchange.id);
        }
    }
}

#[test]
fn every_recorded_request_is_read_sent_on_and_translated() {
    let mut read = 0;
    for exchange in recorded().into_iter().filter(|exchange| exchange.status == 200) {
        let Some(bytes) = exchange.request.clone().filter(|_| SERVED.contains(&exchange.dialect)) else { continue };
        let body = Body::parse(bytes).unwrap_or_else(|error| panic!("{}: {error:?}", exchange.id));
        let request = match served(exchange.dialect).decode_request(&body) {
            Ok(request) => request,
            // Nothing is stored here.
            Err(fault) if fault.param.as_deref() == Some("conversation") => continue,
            Err(fault) => panic!("{}: {fault:?}", exchange.id),
        };
        for dialect in Dialect::ALL.iter().copied() {
            let deployment = deployment(dialect, "[]");
            let order = Order { deployment: &deployment, max_output_tokens: 60_000 };
            let call = if dialect == exchange.dialect {
                upstream(dialect).forward(&body, &request, &order).expect("ours to say")
            } else {
                match upstream(dialect).encode_request(&request, &order) {
                    Ok(call) => call,
                    // What cannot be said is named.
                    Err(fault) => {
                        assert!(fault.status == 400 && fault.param.is_some(), "{}: {fault:?}", exchange.id);
                        continue;
                    }
                }
            };
            let sent = Body::parse(call.body).expect("an object");
            if !SERVED.contains(&dialect) {
                continue;
            }
            let again =
                served(dialect).decode_request(&sent).unwrap_or_else(|fault| panic!("{}: {fault:?}", exchange.id));
            assert_eq!(again.model, "m-1");
            assert_eq!((again.max_output_tokens, again.stream), (Some(60_000), request.stream), "{}", exchange.id);
            assert_eq!(again.wants_usage, dialect != Dialect::OpenaiChat || request.stream, "{}", exchange.id);
            assert_eq!(
                again.tools.len().max(called(&again)),
                request.tools.len().max(called(&request)),
                "{}",
                exchange.id
            );
            let mut told = words(&again);
            if request.messages.first().is_some_and(|message| message.role == Role::Assistant) {
                // Messages begin with a user, who has nothing to say but that.
                told.retain(|word| word != "Continue.");
            }
            assert_eq!(told, words(&request), "{} to {dialect:?}", exchange.id);
        }
        read += 1;
    }
    assert!(read >= 50, "only {read} recorded requests were found");
}

/// How many different tools a history names.
fn called(request: &Request) -> usize {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let mut names: Vec<&str> = parts
        .filter_map(|part| if let Part::ToolCall { name, .. } = part { Some(name.as_str()) } else { None })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// All texts, calls and results of a request, in no order: translation moves results before what stands beside them.
fn words(request: &Request) -> Vec<String> {
    fn of(part: &Part, told: &mut Vec<String>) {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => told.extend(text.split_whitespace().map(str::to_owned)),
            Part::ToolCall { name, arguments, .. } => {
                let object: Value = serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::json!({}));
                told.push(format!("{name} {object}"));
            }
            Part::ToolResult { parts, .. } => parts.iter().for_each(|part| of(part, told)),
            Part::Image { .. } => told.push("<image>".into()),
            Part::File { .. } => told.push("<file>".into()),
            Part::Audio { .. } => told.push("<sound>".into()),
            Part::Reasoning { .. } | Part::RedactedReasoning(_) => {}
        }
    }
    let mut told = Vec::new();
    for message in &request.messages {
        assert!(message.role != Role::Tool || message.parts.iter().all(|part| matches!(part, Part::ToolResult { .. })));
        message.parts.iter().for_each(|part| of(part, &mut told));
    }
    told.sort_unstable();
    told
}

#[test]
fn no_bytes_make_a_panic() {
    let mut dice = Dice::new(5);
    let mut below = |bound: usize| usize::try_from(dice.roll() % (bound.max(1) as u64)).expect("small");
    for exchange in recorded().into_iter().filter(|exchange| exchange.response.len() < 6_000) {
        let (from, to) = (upstream(exchange.dialect), served(exchange.dialect));
        let deployment = deployment(exchange.dialect, exchange.quirks);
        let other = match exchange.dialect {
            Dialect::OpenaiChat => Dialect::OpenaiResponses,
            Dialect::OpenaiResponses => Dialect::Gemini,
            Dialect::Anthropic => Dialect::OpenaiChat,
            Dialect::Gemini => Dialect::BedrockConverse,
            Dialect::BedrockConverse => Dialect::CohereV2,
            Dialect::CohereV2 => Dialect::Anthropic,
        };
        let target = self::deployment(other, "[]");
        for _ in 0..12 {
            let response = spoiled(&exchange.response, &mut below);
            let _ = from.decode_response(&response, &deployment);
            let _ = to.relay_response(&response, &stamp(true));
            let fault = from.decode_fault(400, &response, None);
            assert!(fault.message.chars().count() <= 500);
            if exchange.stream {
                stream_through(from, to, &deployment, &response);
            }
            let request = exchange.request.as_deref().map(|request| spoiled(request, &mut below));
            let Some(Ok(body)) = request.map(Body::parse) else { continue };
            if let Ok(request) = to.decode_request(&body) {
                let order = Order { deployment: &target, max_output_tokens: 10 };
                let _ = upstream(other).encode_request(&request, &order);
                let _ = from.forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 10 });
            }
        }
    }
}

/// Some places of a text replaced by pieces of others.
fn spoiled(bytes: &[u8], below: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    const PIECES: [&str; 12] =
        ["null", "{}", "[]", "-1", "\"\"", "1e400", "99999999999999999999", "\\ud800", "\"", "}", ",", "\u{0}"];
    let mut out = bytes.to_vec();
    for _ in 0..=below(3) {
        // Most of the time a whole value goes, so that the text stays JSON.
        let starts: Vec<usize> = (0..out.len()).filter(|at| out[*at] == b':' || out[*at] == b'[').collect();
        if starts.is_empty() {
            return out;
        }
        let start = starts[below(starts.len())] + 1;
        let end = out[start..].iter().position(|byte| b",}]".contains(byte)).map_or(out.len(), |len| start + len);
        out.splice(start..end, PIECES[below(PIECES.len())].bytes());
    }
    out
}

fn stream_through(from: &dyn Upstream, to: &dyn Downstream, deployment: &Deployment, bytes: &[u8]) {
    let (mut decoder, mut out) = (from.decoder(deployment), Vec::new());
    let (mut relay, mut parser) = (to.encoder(stamp(true)), Parser::default());
    let mut writers = SERVED.map(|dialect| served(dialect).encoder(stamp(true)));
    let mut each = |frame: Frame<'_>| {
        let mut events = Vec::new();
        let _ = decoder.glance(&frame);
        let _ = decoder.decode(&frame, &mut events);
        relay.relay(&frame, &mut out);
        for writer in &mut writers {
            for event in &events {
                writer.encode(event, &mut out);
            }
        }
    };
    if parser.push(bytes, &mut each).is_ok() && parser.finish(&mut each).is_ok() {
        relay.finish_relayed(None, &mut out);
        for writer in &mut writers {
            writer.finish(None, None, &mut out);
        }
    }
}
