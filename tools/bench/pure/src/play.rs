//! Plays the world around an exchange: an account that grants everything, a provider that answers at once.
use megarouter::{
    access::{Digest, Key, KeyKind, Knock},
    account::letter::Grant,
    catalog::Catalog,
    endpoint::{Headers, Surface},
    exchange::{
        Exchange, Inbound,
        event::{Effect, Event, Head, PipeEnd},
    },
    money::Nanos,
    time::Millis,
    world::{Credential, Reach, Settings, World},
};
use std::{collections::VecDeque, rc::Rc};

pub const NOW: Millis = Millis(1_795_562_448_000);
const PEPPER: &[u8] = b"pepper";

/// The bundled catalog, every provider of it within reach.
pub fn world() -> World {
    let catalog = Catalog::bundled().expect("the bundled catalog is valid");
    let reach = catalog.deployments().iter().map(|deployment| {
        let provider = &deployment.provider;
        let base_url = provider.base_url.clone();
        (provider.id.clone(), Reach { base_url, credentials: vec![Credential::None] })
    });
    let settings = Rc::new(Settings { reach: reach.collect(), x402: None });
    World { catalog: Rc::new(catalog), settings, ..World::default() }
}

pub fn inbound(body: &str) -> Inbound {
    let key = Key::mint(KeyKind::Inference, "org_01", "key_01", [7; 20], PEPPER);
    let digest = Digest(key.digest(PEPPER).unwrap_or_default());
    Inbound {
        surface: Surface::ChatCompletions,
        url: "https://router.test/v1/chat/completions".into(),
        headers: Headers(vec![("content-type".into(), "application/json".into())]),
        knock: Knock::Known(key, digest),
        body: body.into(),
        request_id: "req_01".into(),
        purse: megarouter::payment::Purse::default(),
    }
}

/// A provider's answer, as its pieces arrive.
pub struct Answer {
    pub content_type: &'static str,
    pub pieces: Vec<Vec<u8>>,
}

/// One request from its body to its posting.
pub fn play(inbound: Inbound, world: &World, answer: &Answer) {
    let (mut exchange, effects) = Exchange::open(inbound, world.clone(), NOW, 1);
    let mut effects = VecDeque::from(effects);
    let mut pieces = answer.pieces.iter();
    while let Some(effect) = effects.pop_front() {
        let event = match effect {
            Effect::Hold(letter) => {
                let amount = letter.bids.iter().map(|bid| bid.amount).max().unwrap_or(Nanos::ZERO);
                Event::Held(Grant { amount, allowed: (0..letter.bids.len()).collect(), ..Grant::default() })
            }
            Effect::Send { attempt, .. } => Event::Head {
                attempt,
                head: Head { status: 200, content_type: answer.content_type.into(), ..Head::default() },
            },
            Effect::Read { attempt, whole: true } => Event::Whole { attempt, bytes: answer.pieces.concat() },
            Effect::Read { attempt, whole: false } => match pieces.next() {
                Some(piece) => Event::Bytes { attempt, bytes: piece.clone() },
                None => Event::End { attempt },
            },
            Effect::Pipe { attempt, .. } => {
                Event::Piped { attempt, bytes: answer.pieces.concat(), end: PipeEnd::Whole }
            }
            Effect::Chunk(_) => Event::Written,
            Effect::Extend(letter) => Event::Held(Grant { amount: letter.to, allowed: Vec::new(), ..Grant::default() }),
            Effect::Post { .. } => Event::Posted,
            Effect::Wait { .. }
            | Effect::Abort { .. }
            | Effect::Reply(_)
            | Effect::Finish
            | Effect::Note(_)
            | Effect::Pay(_) => {
                continue;
            }
        };
        effects.extend(exchange.on(event, NOW));
    }
    assert!(exchange.is_done(), "an exchange stopped in phase {}", exchange.phase());
}
