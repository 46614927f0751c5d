//! What an exchange wants of the world (effects) and what the world tells it (events). Both are closed.
use crate::{
    account::letter::{ExtendLetter, Grant, HoldLetter, PostLetter, Refusal},
    body::Body,
    health::Sample,
    payment::facilitator::Call,
    world::Credential,
};
use std::rc::Rc;

/// An order to the shell. Each is carried out once; those that take time answer with one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the account. Answers `Held`, `Refused` or `Unreachable`.
    Hold(HoldLetter),
    /// Make the hold larger. Answers as `Hold` does.
    Extend(ExtendLetter),
    /// Call a provider. Answers `Head` or `Broke`.
    Send { attempt: usize, call: UpstreamCall },
    /// Answers `Elapsed`, unless the exchange is done before.
    Wait { timer: Timer, ms: u64 },
    /// Take the next bytes of an answer, or all of them. Answers `Bytes`, `Whole`, `End` or `Broke`.
    Read { attempt: usize, whole: bool },
    /// Hand the rest of an answer to the caller without looking, keeping a copy. Answers `Piped`.
    Pipe { attempt: usize, pipe: Pipe },
    /// Let go of an attempt: nothing of it is wanted any more.
    Abort { attempt: usize },
    /// The head of the answer, once.
    Reply(Reply),
    /// Bytes of a streamed answer. Answers `Written` or `Gone`.
    Chunk(Vec<u8>),
    /// The streamed answer is whole.
    Finish,
    /// Close the hold. Answers `Posted` or `Unreachable`. Where something is booked, the shell adds the SHA-256 of the request,
    /// which the platform makes many times faster, by [`PostLetter::hashed`].
    Post { letter: Box<PostLetter>, request: Option<Rc<Body>> },
    /// Ask a facilitator. Answers `Paid`.
    Pay(Call),
    /// What was seen of a deployment.
    Note(Sample),
}

/// What a pipe begins with, and how long it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// What was read already.
    pub prefix: Vec<u8>,
    /// How long the rest is still taken after the caller hung up.
    pub drain_ms: u64,
    /// How long the provider may be all but silent.
    pub stall_ms: u64,
}

/// What the shell tells. Events of an attempt carry its number: a late one must not touch the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Held(Grant),
    Refused(Refusal),
    /// The account did not answer; what it did is not known.
    Unreachable,
    Head {
        attempt: usize,
        head: Head,
    },
    Bytes {
        attempt: usize,
        bytes: Vec<u8>,
    },
    Whole {
        attempt: usize,
        bytes: Vec<u8>,
    },
    End {
        attempt: usize,
    },
    /// No connection, or it broke.
    Broke {
        attempt: usize,
    },
    /// Everything that went through a pipe, its prefix included.
    Piped {
        attempt: usize,
        bytes: Vec<u8>,
        end: PipeEnd,
    },
    Elapsed(Timer),
    Written,
    /// The caller hung up.
    Gone,
    Posted,
    /// What a facilitator answered; a status of 0 for nothing.
    Paid {
        status: u16,
        body: Vec<u8>,
    },
}

impl Event {
    /// The attempt it is about.
    pub(super) fn attempt(&self) -> Option<usize> {
        match self {
            Self::Head { attempt, .. }
            | Self::Bytes { attempt, .. }
            | Self::Whole { attempt, .. }
            | Self::End { attempt }
            | Self::Broke { attempt }
            | Self::Elapsed(Timer::Head(attempt) | Timer::FirstToken(attempt)) => Some(*attempt),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeEnd {
    Whole,
    Broke,
    /// The provider fell silent, and was let go.
    Stalled,
    /// The caller hung up; what the provider still sent is in the bytes.
    Gone {
        drained: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    Head(usize),
    FirstToken(usize),
    /// Checked against the last bytes: one timer serves a whole stream.
    Stall(usize),
    Total,
    /// After a hang-up.
    Drain,
    Repost,
    /// Before an attempt is made again.
    Retry(usize),
    /// Before another attempt is made beside this one.
    Hedge(usize),
    /// A caller who has the head waits for more.
    Quiet,
}

/// A request to a provider. The shell adds the credential and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCall {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    /// Header, and what stands before the secret.
    pub credential_header: (&'static str, &'static str),
    pub credential: Credential,
    pub body: Vec<u8>,
}

/// The head of a provider's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    /// The provider says of itself that it only simulates.
    pub simulated: bool,
}

/// The head of our answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: ReplyBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    Whole(Vec<u8>),
    /// `Chunk`s or one `Pipe` follow, then `Finish`.
    Stream,
}
