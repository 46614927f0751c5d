//! What must hold for any bytes. Each target takes its choices from the first bytes and its input from the rest.
//!
//! `tests/fuzz.rs` runs the collected inputs of `corpus/` and all recorded exchanges through the same functions.
use megarouter::{
    body::Body,
    catalog::{Catalog, Deployment, Dialect},
    chat::{Event, Request},
    dialect::{Order, Stamp, downstream, translatable, upstream},
    endpoint::{Headers, Surface},
    eventstream,
    sse::{Frame, Parser},
};
use std::{cell::OnceCell, rc::Rc};

/// Splits the choice that the first byte makes from the rest.
fn choice(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}

/// A deployment of every dialect.
fn deployment(dialect: Dialect) -> Rc<Deployment> {
    thread_local! {
        static ALL: OnceCell<Vec<Rc<Deployment>>> = const { OnceCell::new() };
    }
    let made = || {
        let provider = |dialect: &Dialect| {
            let word = serde_json::to_string(dialect).expect("a word");
            format!(r#"{{"id":{word},"name":"A","dialect":{word},"base_url":"https://a.test","credential":"K"}}"#)
        };
        let model = |dialect: &Dialect| {
            let word = serde_json::to_string(dialect).expect("a word");
            format!(
                r#"{{"provider":{word},"id":"m","context_length":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2",
                "supports":["tools","reasoning","vision","json_schema"]}}"#
            )
        };
        let providers: Vec<String> = Dialect::ALL.iter().map(provider).collect();
        let models: Vec<String> = Dialect::ALL.iter().map(model).collect();
        let text = format!(r#"{{"version":1,"providers":[{}],"models":[{}]}}"#, providers.join(","), models.join(","));
        Catalog::parse(&text).expect("valid").deployments().to_vec()
    };
    ALL.with(|all| all.get_or_init(made).iter().find(|one| one.dialect == dialect).cloned()).expect("one of each")
}

type Told = Vec<(String, String, Vec<u8>)>;

fn told(frames: &mut Told) -> impl FnMut(Frame<'_>) + '_ {
    |frame| frames.push((frame.event.to_owned(), frame.data.to_owned(), frame.raw.to_vec()))
}

/// The same bytes give the same frames, however they are cut.
pub fn frames(data: &[u8]) {
    let (size, bytes) = choice(data);
    let read = |chunk: usize| {
        let (mut parser, mut seen) = (Parser::default(), Told::new());
        for piece in bytes.chunks(chunk.max(1)) {
            if parser.push(piece, told(&mut seen)).is_err() {
                return None;
            }
        }
        parser.finish(told(&mut seen)).ok()?;
        Some(seen)
    };
    let (whole, cut) = (read(bytes.len()), read(size));
    // Bytes that are no text are refused at whatever cut shows it.
    if let (Some(whole), Some(cut)) = (whole, cut) {
        assert_eq!(whole, cut, "cut every {size} bytes");
    }
}

/// The same bytes give the same binary frames, however they are cut, and no length in them makes memory grow.
pub fn binary(data: &[u8]) {
    let (size, bytes) = choice(data);
    let read = |chunk: usize| {
        let (mut parser, mut seen) = (eventstream::Parser::default(), Told::new());
        for piece in bytes.chunks(chunk.max(1)) {
            if parser.push(piece, told(&mut seen)).is_err() {
                return None;
            }
        }
        parser.finish(told(&mut seen)).ok()?;
        Some(seen)
    };
    if let (Some(whole), Some(cut)) = (read(bytes.len()), read(size)) {
        assert_eq!(whole, cut, "cut every {size} bytes");
    }
}

/// A caller's request is read or refused, and can then be said to every provider or is refused by name.
pub fn requests(data: &[u8]) {
    let (pick, bytes) = choice(data);
    let surface = Surface::ALL[pick % Surface::ALL.len()];
    let Ok(body) = Body::parse(bytes.to_vec()) else { return };
    let grammar = downstream(surface);
    let mut request = match grammar.decode_request(&body) {
        Ok(request) => request,
        Err(fault) => {
            assert!((400..500).contains(&fault.status) && !fault.message.is_empty(), "{fault:?}");
            assert_ne!(grammar.encode_fault(&fault, "req_1"), b"");
            return;
        }
    };
    let _ = grammar.decode_headers(&Headers::default(), &body, &mut request);
    for dialect in Dialect::ALL {
        sayable(*dialect, &body, &request);
    }
}

fn sayable(dialect: Dialect, body: &Body, request: &Request) {
    let deployment = deployment(dialect);
    let order = Order { deployment: &deployment, max_output_tokens: 100 };
    for call in [
        translatable(request).and_then(|()| upstream(dialect).encode_request(request, &order)),
        upstream(dialect).forward(body, request, &order),
    ] {
        match call {
            Ok(call) => assert!(Body::parse(call.body).is_ok(), "{dialect:?} writes an object"),
            Err(fault) => assert!(fault.status == 400 && fault.param.is_some(), "{dialect:?} {fault:?}"),
        }
    }
}

/// A provider's whole answer is read, refused or classified, and can then be written for every caller.
pub fn answers(data: &[u8]) {
    let (pick, bytes) = choice(data);
    let dialect = Dialect::ALL[pick % Dialect::ALL.len()];
    let deployment = deployment(dialect);
    let fault = upstream(dialect).decode_fault(400, bytes, Some("1"));
    assert!(fault.message.chars().count() <= 500);
    let stamp = Stamp { request_id: "req_1".into(), model: "a/m".into(), wants_usage: true, ..Stamp::default() };
    let response = upstream(dialect).decode_response(bytes, &deployment);
    for surface in Surface::ALL.iter().copied() {
        let _ = downstream(surface).relay_response(bytes, &stamp);
        if let Ok(response) = &response {
            let written = downstream(surface).encode_response(response, &stamp);
            assert!(Body::parse(written).is_ok(), "{surface:?} writes an object");
        }
    }
}

/// A provider's stream is read at any cut, and what it tells can be written for every caller.
pub fn streams(data: &[u8]) {
    let (pick, rest) = choice(data);
    let (size, bytes) = choice(rest);
    let dialect = Dialect::ALL[pick % Dialect::ALL.len()];
    let mut decoder = upstream(dialect).decoder(&deployment(dialect));
    let stamp = || Stamp { request_id: "req_1".into(), model: "a/m".into(), wants_usage: true, ..Stamp::default() };
    let mut writers: Vec<_> = Surface::ALL.iter().map(|surface| downstream(*surface).encoder(stamp())).collect();
    let mut relays: Vec<_> = Surface::ALL.iter().map(|surface| downstream(*surface).encoder(stamp())).collect();
    let (mut parser, mut out) = (Parser::default(), Vec::new());
    let mut each = |frame: Frame<'_>| {
        let mut events: Vec<Event> = Vec::new();
        let _ = decoder.glance(&frame);
        let _ = decoder.decode(&frame, &mut events);
        for event in &events {
            for writer in &mut writers {
                writer.encode(event, &mut out);
            }
        }
        for relay in &mut relays {
            relay.relay(&frame, &mut out);
        }
    };
    for piece in bytes.chunks(size.max(1)) {
        if parser.push(piece, &mut each).is_err() {
            return;
        }
    }
    let _ = parser.finish(&mut each);
    let mut events = Vec::new();
    decoder.close(&mut events);
    for writer in writers.iter_mut().chain(&mut relays) {
        for event in &events {
            writer.encode(event, &mut out);
        }
        writer.finish(None, None, &mut out);
    }
}
