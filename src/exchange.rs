//! The life of one request, from its body to its posting, as a machine without I/O.
//!
//! The shell hands over what happened as an [`Event`] and carries out the [`Effect`]s that come back; it decides nothing.
//! The same inbound request, world, times and seed give the same effects: a seed is a bug report.
//!
//! ```text
//! phase        event                          next
//! -----        -----                          ----
//! Holding      Held                           Paying Attempting Closing Done
//! Holding      Refused                        Holding Done
//! Holding      Unreachable                    Holding Closing Done
//! Holding      Gone                           Holding
//! Paying       Paid                           Paying Attempting Closing
//! Paying       Gone                           Paying
//! Attempting   Held                           Attempting Closing
//! Attempting   Refused                        Attempting Closing
//! Attempting   Unreachable                    Attempting Closing
//! Attempting   Head                           Attempting
//! Attempting   Bytes                          Attempting Relaying Closing
//! Attempting   Whole                          Attempting Closing
//! Attempting   End                            Attempting Closing
//! Attempting   Broke                          Attempting Closing
//! Attempting   Elapsed                        Attempting Closing
//! Attempting   Gone                           Attempting Closing
//! Relaying     Held                           Relaying
//! Relaying     Refused                        Closing
//! Relaying     Unreachable                    Closing
//! Relaying     Bytes                          Relaying Attempting Closing
//! Relaying     Written                        Relaying
//! Relaying     End                            Attempting Closing
//! Relaying     Broke                          Attempting Closing
//! Relaying     Piped                          Attempting Closing
//! Relaying     Elapsed                        Relaying Attempting Closing
//! Relaying     Gone                           Relaying Closing
//! Closing      Posted                         Done
//! Closing      Unreachable                    Closing Done
//! Closing      Elapsed                        Closing
//! ```
//!
//! Every other pair changes nothing. `tests/exchange.rs` reads this table and holds random runs against it.
//!
//! Invariants, each a property test: a granted hold is closed by postings of one id and at least one; nothing is sent
//! before a hold; one reply; attempts are bounded; one that begins after the reply goes on with a stream that broke; `Done`
//! absorbs; a hang-up anywhere still posts.
use crate::{access::Knock, catalog::When, dialect::Downstream};
use crate::{
    account::letter::{Grant, PostLetter},
    analysis::{Signals, analyse},
    body::Body,
    chat::{self, Effort, ToolChoice},
    endpoint::{Headers, Overrides, Surface},
    fault::Fault,
    id::Dice,
    money::Nanos,
    payment::{Purse, facilitator},
    quality::Prior,
    route::{Allowed, Candidate, Conduct, Plan},
    time::Millis,
    usage::Usage,
    world::World,
};
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

mod admit;
mod attempt;
mod close;
mod cover;
mod escalate;
pub mod event;
mod explain;
mod hedge;
mod join;
mod next;
mod pay;
mod relay;
mod reply;
mod rescue;
mod stream;

pub use attempt::PIPED_BYTES_MAX;
use cover::Growth;
use escalate::{Kept, Verdict};
use event::{Effect, Event, Timer};
use hedge::{Hedge, Rival};
pub use pay::plain_url;
use relay::Relay;
pub use reply::{base_headers, fault_headers};
use rescue::Broken;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub surface: Surface,
    /// The full URL, for the payment challenge.
    pub url: String,
    pub headers: Headers,
    pub knock: Knock,
    pub body: Vec<u8>,
    pub request_id: String,
    pub purse: Purse,
}

/// One request's life.
pub struct Exchange {
    phase: Phase,
    case: Case,
    attempts: Vec<Attempt>,
    /// The number of the attempt under way.
    current: usize,
    /// Candidates still to be tried, best first, as places in the plan.
    queue: Vec<usize>,
    grant: Option<Grant>,
    replied: bool,
    gone: bool,
    /// An answer that broke in the middle, while the next attempt is made.
    broken: Option<Box<Broken>>,
    /// An answer that failed its check, given if nobody has a better one.
    kept: Option<Box<Kept>>,
    /// The candidate a larger hold was asked for.
    asked: Option<usize>,
    hedge: Hedge,
    /// The attempt that runs beside the one under way.
    rival: Option<Box<Rival>>,
    held_at: Millis,
    /// What became of the payment, as far as it is known.
    paid: Option<facilitator::Outcome>,
    /// How the channel is whose voucher did not fit.
    mismatch: Option<Value>,
    /// The moment of the event being taken in.
    now: Millis,
}

/// What does not change once the request is understood.
struct Case {
    request_id: String,
    arrived: Millis,
    surface: Surface,
    grammar: &'static dyn Downstream,
    body: Rc<Body>,
    request: chat::Request,
    /// The caller gets a stream. Of providers none is asked for where the answer is checked.
    streams: bool,
    /// The body as it is forwarded: the caller's, or one that asks for no stream.
    forwarded: Rc<Body>,
    overrides: Overrides,
    signals: Signals,
    knock: Knock,
    url: String,
    allowed: Allowed,
    purse: Purse,
    world: World,
    seed: u64,
    dice: Dice,
    plan: Result<Plan, Fault>,
}

enum Phase {
    Holding { tries: u32 },
    Paying(facilitator::Tries),
    Attempting(Stage),
    Relaying(Streaming),
    Closing { letter: Box<PostLetter>, tries: u32 },
    Done,
}

/// How far the attempt under way is.
enum Stage {
    /// The hold is being made larger, so that it covers the next attempt beside what earlier ones may be billed.
    Covering,
    /// The deployment of the last attempt is asked again in a moment.
    Pausing,
    Sent,
    /// A failure's body is being read.
    Failing {
        status: u16,
        retry_after: Option<String>,
    },
    /// A whole answer is being read.
    Answering {
        status: u16,
    },
    /// A stream has begun, its first content has not come.
    First(Box<First>),
}

struct First {
    relay: Relay,
    /// The provider's bytes so far: a native pipe passes them on as they are.
    raw: Vec<u8>,
    /// What the caller is to see of them otherwise.
    out: Vec<u8>,
}

/// A stream the caller has the head of.
struct Streaming {
    relay: Box<Relay>,
    /// All that the provider sent, where another may have to go on.
    raw: Vec<u8>,
    /// What the caller is to get once the answer is whole, where nothing may be sent before.
    kept: Option<Vec<u8>>,
    growth: Growth,
    /// The bytes go through a native pipe; we see them when it ends.
    piped: bool,
    /// It was let go because the request's deadline had passed.
    overdue: bool,
    /// The provider ended it.
    closed: bool,
    /// A read is under way: a body takes one at a time.
    reading: bool,
    /// A chunk is on its way to the caller.
    writing: bool,
    /// When the bytes under way were asked for.
    owed_since: Millis,
    /// How long the provider was waited for since the speed was looked at last, and the tokens there were then.
    waited_ms: u64,
    tokens_then: u64,
}

impl Streaming {
    fn new(relay: Relay, growth: Growth, now: Millis) -> Self {
        Self {
            relay: Box::new(relay),
            raw: Vec::new(),
            kept: None,
            growth,
            piped: false,
            overdue: false,
            closed: false,
            reading: false,
            writing: false,
            owed_since: now,
            waited_ms: 0,
            tokens_then: 0,
        }
    }
}

/// One attempt at one deployment.
struct Attempt {
    /// Its place in the plan.
    candidate: usize,
    /// Which of its provider's credentials.
    credential: usize,
    sent: Millis,
    first_byte: Option<Millis>,
    /// When the answer began: the first content of a stream, or all of it.
    first_content: Option<Millis>,
    outcome: Outcome,
    simulated: bool,
    /// The bound on output tokens that was sent.
    output_tokens_max: u64,
    /// The most it can cost.
    quote: Nanos,
    /// It came to nothing, and may be billed all the same.
    at_risk: bool,
    /// What it was seen to use when it was let go of, and whether that is all.
    seen: Option<(Settled, bool)>,
    /// Its answer had begun when it broke off.
    broke_off: bool,
    /// What a check made of its answer; `None` where none was made.
    verdict: Option<Verdict>,
    /// Its answer ended at the bound on output tokens.
    cut_short: bool,
    /// It was to find out whether its deployment has recovered.
    probes: bool,
    /// The provider's own name for the answer; empty before it is known.
    generation_id: String,
}

enum Outcome {
    Pending,
    Answered {
        status: u16,
    },
    /// It answered, the answer failed its check, and another was asked.
    Rejected {
        status: u16,
    },
    Failed(crate::fault::UpstreamFault),
    /// Another was sooner.
    Cancelled,
}

/// The charge of an exchange, and what it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Settled {
    usage: Usage,
    estimated: bool,
    cost: Nanos,
    /// What the provider takes for an answer that was none: the caller does not pay it.
    absorbed: Nanos,
    /// The answer was ended because no more could be held for it.
    cut: bool,
}

/// The longest life of a request.
const TOTAL_MS: u64 = 900_000;
/// Silence in the middle of a stream that ends it.
const STALL_MS: u64 = 10_000;
/// How long an answer nobody waits for is still read, so that its usage is known. `wait_until` ends after 30 s:
/// <https://developers.cloudflare.com/workers/runtime-apis/context/#waituntil>
const DRAIN_MS: u64 = 25_000;

impl Exchange {
    /// Opens an exchange: understands the request, plans it, and says what to do first.
    pub fn open(inbound: Inbound, world: World, now: Millis, seed: u64) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let grammar = crate::dialect::downstream(inbound.surface);
        match Case::read(inbound, grammar, world, now, seed) {
            Ok(case) => {
                let mut exchange = Self::of(case);
                exchange.admit(now, &mut effects);
                (exchange, effects)
            }
            Err(refused) => {
                let (case, fault) = *refused;
                let mut exchange = Self::of(case);
                exchange.refuse(&fault, &mut effects);
                (exchange, effects)
            }
        }
    }

    fn of(case: Case) -> Self {
        Self {
            phase: Phase::Done,
            attempts: Vec::new(),
            current: 0,
            queue: Vec::new(),
            grant: None,
            replied: false,
            gone: false,
            broken: None,
            kept: None,
            asked: None,
            hedge: Hedge::None,
            rival: None,
            held_at: case.arrived,
            paid: None,
            mismatch: None,
            now: case.arrived,
            case,
        }
    }

    /// Takes one event in. Pairs outside the table change nothing: late and repeated events are a fact of life.
    pub fn on(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.now = now;
        if event == Event::Elapsed(Timer::Quiet) {
            self.stay_awake(&mut effects);
            return effects;
        }
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Holding { tries } => self.holding(tries, event, now, &mut effects),
            Phase::Paying(tries) => self.paying(tries, event, now, &mut effects),
            Phase::Attempting(stage) => self.attempting(stage, event, now, &mut effects),
            Phase::Relaying(streaming) => self.relaying(streaming, event, now, &mut effects),
            Phase::Closing { letter, tries } => self.closing(letter, tries, event, &mut effects),
            Phase::Done => {}
        }
        effects
    }

    /// Whether everything that had to happen has happened.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// The phase by its name in the table.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Holding { .. } => "Holding",
            Phase::Paying(_) => "Paying",
            Phase::Attempting(_) => "Attempting",
            Phase::Relaying(_) => "Relaying",
            Phase::Closing { .. } => "Closing",
            Phase::Done => "Done",
        }
    }

    /// The attempt under way.
    fn attempt(&self) -> Option<&Attempt> {
        self.attempts.get(self.current)
    }

    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.get_mut(self.current)
    }

    fn plan(&self) -> Option<&Plan> {
        self.case.plan.as_ref().ok()
    }

    /// The candidate of the attempt under way.
    fn candidate(&self) -> Option<&Candidate> {
        self.candidate_of(self.current)
    }

    /// The candidate of an attempt.
    fn candidate_of(&self, number: usize) -> Option<&Candidate> {
        self.candidate_at(self.attempts.get(number)?.candidate)
    }

    /// The candidate at a place of the plan.
    fn candidate_at(&self, place: usize) -> Option<&Candidate> {
        self.plan()?.candidates.get(place)
    }

    fn conduct(&self) -> Conduct {
        self.plan().map_or_else(Conduct::default, |plan| plan.conduct)
    }

    /// The most the request may cost.
    fn ceiling(&self) -> Option<Nanos> {
        self.case.world.policies().ceiling(self.case.overrides.max_cost_usd)
    }

    /// What is left of the time the whole request has.
    fn left_ms(&self) -> u64 {
        let total = self.conduct().deadlines.total_ms.unwrap_or(TOTAL_MS);
        total.saturating_sub(self.now.since(self.case.arrived)).max(1)
    }
}

/// Our estimate of the tokens of a request of Messages, in its answer's shape.
///
/// # Errors
/// As for the request itself; `max_tokens` need not be there.
pub fn count_tokens(headers: &Headers, bytes: Vec<u8>) -> Result<serde_json::Value, Fault> {
    let body = Body::parse(bytes).map_err(body_fault)?;
    let body = Body::parse(body.rewritten(&[("max_tokens", Some("1".into()))])).map_err(body_fault)?;
    let grammar = crate::dialect::downstream(Surface::Messages);
    let mut request = grammar.decode_request(&body)?;
    grammar.decode_headers(headers, &body, &mut request)?;
    let signals = analyse(&request, &Overrides::default(), &Prior::blank());
    Ok(crate::json::json!({"input_tokens": signals.prompt_tokens.max(1)}))
}

impl Case {
    /// Understands a request.
    ///
    /// # Errors
    /// The fault to answer with, beside as much of the case as is needed to answer.
    fn read(
        inbound: Inbound,
        grammar: &'static dyn Downstream,
        world: World,
        now: Millis,
        seed: u64,
    ) -> Result<Self, Box<(Self, Fault)>> {
        let Inbound { surface, url, headers, knock, body, request_id, purse } = inbound;
        let nothing = Fault::invalid("malformed_json", "The request was not read.");
        let mut case = Self {
            request_id,
            arrived: now,
            surface,
            grammar,
            body: Rc::default(),
            request: chat::Request::default(),
            streams: false,
            forwarded: Rc::default(),
            overrides: Overrides::default(),
            signals: analyse(&chat::Request::default(), &Overrides::default(), &world.prior),
            knock,
            url,
            allowed: Allowed::default(),
            purse,
            world,
            seed,
            dice: Dice::new(seed),
            plan: Err(nothing),
        };
        match case.understand(&headers, body) {
            Ok(()) => Ok(case),
            Err(fault) => Err(Box::new((case, fault))),
        }
    }

    fn understand(&mut self, headers: &Headers, bytes: Vec<u8>) -> Result<(), Fault> {
        if self.knock == Knock::Forged {
            let text =
                "This key is not one of ours: it was changed or cut. Copy it again, or ask your admin for a new one.";
            return Err(Fault::credential("invalid_key", text));
        }
        if matches!(&self.knock, Knock::Known(key, _) if key.kind != crate::access::KeyKind::Inference) {
            return Err(crate::account::letter::wrong_kind());
        }
        self.body = Rc::new(Body::parse(bytes).map_err(body_fault)?);
        self.overrides = Overrides::read(&self.body, headers)?;
        self.request = self.grammar.decode_request(&self.body)?;
        self.grammar.decode_headers(headers, &self.body, &mut self.request)?;
        self.drop_hosted_tools()?;
        self.bound_by_payment();
        self.streams = self.request.stream;
        self.signals = analyse(&self.request, &self.overrides, &self.world.prior);
        let named = self.body.set("service_tier").is_some_and(|raw| raw != "\"auto\"");
        self.signals.tier_is_open &= !named;
        self.replan(self.arrived);
        Ok(())
    }

    /// Tools that a provider runs have fees and inputs of their own, which no quote bounds. They are left out, because agents
    /// offer them with every request; one that must be used is refused. Tools the caller runs pass.
    fn drop_hosted_tools(&mut self) -> Result<(), Fault> {
        // Members of one maker or another that make a provider search, run plugins or call servers.
        const HOSTED: [&str; 5] =
            ["web_search_options", "search_parameters", "enable_search", "plugins", "mcp_servers"];
        const RUN_BY_CALLERS: [&str; 6] = ["custom", "function", "bash_", "text_editor_", "computer_", "memory_"];
        let request = &mut self.request;
        let mut kept = Vec::with_capacity(request.tools.len());
        for tool in std::mem::take(&mut request.tools) {
            match hosted_kind(&tool).filter(|kind| !RUN_BY_CALLERS.iter().any(|start| kind.starts_with(start))) {
                Some(kind) => request.hosted.push(kind.to_owned()),
                None => kept.push(tool),
            }
        }
        request.tools = kept;
        let forced = match &request.tool_choice {
            Some(ToolChoice::Named(name)) => request.hosted.iter().any(|kind| kind.starts_with(name.as_str())),
            Some(ToolChoice::Required) => request.tools.is_empty() && !request.hosted.is_empty(),
            _ => false,
        };
        let asked = |name: &&str| self.body.set(name).is_some_and(|raw| !["false", "[]"].contains(&raw));
        let member = HOSTED.into_iter().find(asked).map(|name| (name, name));
        let forced = request.hosted.first().filter(|_| forced).map(|kind| (kind.as_str(), "tool_choice"));
        match member.or(forced) {
            None => Ok(()),
            Some((kind, param)) => {
                let text = format!(
                    "{kind:.60} is run by the provider at a price nobody can bound. Leave it out, or run the tool yourself."
                );
                Err(Fault::invalid("unsupported_parameter", text).with_param(param))
            }
        }
    }

    /// What the prices of this request depend on.
    fn when(&self) -> When {
        When { at: self.arrived, tier: self.request.service_tier }
    }

    /// Request and body with what the caller left open and the router filled in for a candidate.
    fn filled(&self, candidate: &Candidate) -> (Cow<'_, Body>, Cow<'_, chat::Request>) {
        let (body, request) = (Cow::Borrowed(&*self.forwarded), filled(&self.request, candidate));
        if matches!(request, Cow::Borrowed(_)) {
            return (body, request);
        }
        let tier = candidate.when.tier.filter(|_| self.request.service_tier.is_none());
        let quoted = |word: &str| Some(Cow::from(format!("\"{word}\"")));
        let effort = candidate.effort.map(Effort::word);
        let (name, effort) = match self.surface {
            Surface::ChatCompletions => ("reasoning_effort", effort.and_then(quoted)),
            Surface::Responses if self.forwarded.set("reasoning").is_none() => {
                ("reasoning", effort.map(|word| Cow::from(format!("{{\"effort\":\"{word}\"}}"))))
            }
            // Its members for thinking change what an answer looks like: they stay the caller's.
            _ => ("", None),
        };
        let changes = [("service_tier", tier.and_then(|tier| quoted(tier.word()))), (name, effort)];
        let changes: Vec<_> = changes.into_iter().filter(|(_, value)| value.is_some()).collect();
        match Body::parse(self.forwarded.rewritten(&changes)) {
            Ok(filled) => (Cow::Owned(filled), request),
            Err(_) => (body, request),
        }
    }

    /// Plans again, with what is now known of the organisation.
    fn replan(&mut self, now: Millis) {
        let mut dice = self.dice.clone();
        self.plan = crate::route::plan(&self.question(&self.overrides, now), &self.world, &mut dice);
        self.dice = dice;
        self.ask_whole();
    }

    /// What is asked of the router, with these wishes.
    fn question<'a>(&'a self, overrides: &'a Overrides, now: Millis) -> crate::route::Question<'a> {
        crate::route::Question {
            model: &self.request.model,
            signals: &self.signals,
            overrides,
            allowed: &self.allowed,
            output_cap: self.request.max_output_tokens,
            surface: self.surface,
            stream: self.streams,
            checks: self.checks(),
            when: self.when(),
            now,
            seed: self.seed,
        }
    }
}

/// A request with the tier and the effort that were filled in for a candidate.
fn filled<'a>(request: &'a chat::Request, candidate: &Candidate) -> Cow<'a, chat::Request> {
    let (tier, effort) = (candidate.when.tier, request.effort.or(candidate.effort));
    if (request.service_tier, request.effort) == (tier, effort) {
        return Cow::Borrowed(request);
    }
    Cow::Owned(chat::Request { service_tier: tier, effort, ..request.clone() })
}

/// The type of a tool only its own dialect knows.
fn hosted_kind(tool: &chat::Tool) -> Option<&str> {
    match tool {
        chat::Tool::Native(tool) => tool.get("type").and_then(|kind| kind.as_str()),
        chat::Tool::Function { .. } => None,
    }
}

fn body_fault(error: crate::body::BodyError) -> Fault {
    match error {
        crate::body::BodyError::Malformed(why) => {
            Fault::invalid("malformed_json", format!("The body is not a JSON object: {why}."))
        }
        crate::body::BodyError::Duplicate(name) => {
            let text = format!("The member {} stands in the body twice. Keep one.", crate::body::quoted(&name));
            Fault::invalid("malformed_json", text).with_param(&name)
        }
    }
}
