//! The one loop between an exchange and the platform: effects become calls, answers become events. It decides nothing.
use super::{account_object, downstream, downstream::Downstream, now, payer, receipts, snapshot, upstream::Upstream};
use crate::{
    account::letter::{Answer, Letter, Refusal},
    exchange::{
        Exchange,
        event::{Effect, Event, ReplyBody},
    },
};
use futures::{StreamExt, channel::oneshot, future::LocalBoxFuture, stream::FuturesUnordered};
use std::time::Duration;
use web_sys::Response;
use worker::{Delay, Env};

/// What an exchange works with.
pub struct Drive {
    pub env: Env,
    /// The account that is asked; empty for a stranger.
    pub account: String,
    pub reply: Option<oneshot::Sender<Response>>,
    upstreams: Vec<Upstream>,
    downstream: Option<Downstream>,
    pending: FuturesUnordered<LocalBoxFuture<'static, Event>>,
}

impl Drive {
    pub fn new(env: Env, account: String, reply: oneshot::Sender<Response>) -> Self {
        let (upstreams, downstream, pending) = (Vec::new(), None, FuturesUnordered::new());
        Self { env, account, reply: Some(reply), upstreams, downstream, pending }
    }

    /// Runs an exchange to its end. `gone` resolves when the caller hangs up.
    pub async fn run(
        mut self,
        mut exchange: Exchange,
        first: Vec<Effect>,
        gone: impl Future<Output = Event> + 'static,
    ) {
        self.later(gone);
        for effect in first {
            self.carry_out(effect);
        }
        while !exchange.is_done()
            && let Some(event) = self.pending.next().await
        {
            for effect in exchange.on(event, now()) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Hold(letter) => self.ask(Letter::Hold(letter)),
            Effect::Extend(letter) => self.ask(Letter::Extend(letter)),
            Effect::Post { mut letter, request } => {
                let (env, account) = (self.env.clone(), self.account.clone());
                self.later(async move {
                    if let Some(request) = request {
                        letter.hashed(&receipts::hash(request.text().as_bytes()).await);
                    }
                    ask(&env, &account, &Letter::Post(*letter)).await
                });
            }
            Effect::Send { attempt, call } => {
                let upstream = Upstream::new(&call);
                self.upstreams.push(upstream.clone());
                self.later(upstream.head(attempt, call, self.env.clone()));
            }
            Effect::Wait { timer, ms } => self.later(async move {
                Delay::from(Duration::from_millis(ms)).await;
                Event::Elapsed(timer)
            }),
            Effect::Read { attempt, whole } => match self.upstreams.get(attempt).cloned() {
                Some(upstream) if whole => self.later(upstream.whole(attempt)),
                Some(upstream) => self.later(upstream.read(attempt)),
                None => self.later(async move { Event::Broke { attempt } }),
            },
            Effect::Pipe { attempt, pipe } => {
                if let (Some(upstream), Some(downstream)) =
                    (self.upstreams.get(attempt).cloned(), self.downstream.clone())
                {
                    self.later(upstream.pipe(attempt, downstream, pipe));
                }
            }
            Effect::Abort { attempt } => {
                if let Some(upstream) = self.upstreams.get(attempt) {
                    upstream.abort();
                }
            }
            Effect::Reply(reply) => {
                let response = match reply.body {
                    ReplyBody::Whole(body) => downstream::whole(reply.status, &reply.headers, &body),
                    ReplyBody::Stream => {
                        self.downstream.insert(Downstream::new()).response(reply.status, &reply.headers)
                    }
                };
                // The receiver waits for exactly this, or its request was dropped by the platform.
                drop(self.reply.take().map(|sender| sender.send(response)));
            }
            Effect::Chunk(bytes) => {
                if let Some(downstream) = self.downstream.clone() {
                    self.later(downstream.write(bytes));
                }
            }
            Effect::Finish => {
                if let Some(downstream) = self.downstream.clone() {
                    beside(downstream.close());
                }
            }
            Effect::Pay(call) => self.later(payer::pay(call)),
            Effect::Note(sample) => snapshot::note(sample),
        }
    }

    fn later(&self, work: impl Future<Output = Event> + 'static) {
        self.pending.push(Box::pin(work));
    }

    fn ask(&self, letter: Letter) {
        let (env, account) = (self.env.clone(), self.account.clone());
        self.later(async move { ask(&env, &account, &letter).await });
    }
}

/// What the account says to a letter.
async fn ask(env: &Env, account: &str, letter: &Letter) -> Event {
    match account_object::ask(env, account, letter).await {
        Ok(Answer::Held(mut grant)) => {
            snapshot::remember_taught(account, &std::mem::take(&mut grant.taught));
            Event::Held(grant)
        }
        Ok(Answer::Posted) => Event::Posted,
        Ok(Answer::Refused(refusal)) => {
            if let (Refusal::Stale(tenant), Letter::Hold(hold)) = (&refusal, letter) {
                snapshot::remember(tenant, &hold.caller.key_id);
            }
            Event::Refused(refusal)
        }
        Ok(_) | Err(_) => Event::Unreachable,
    }
}

/// Lets a promise run on beside the loop.
fn beside(work: impl Future<Output = ()> + 'static) {
    js_sys::futures::spawn_local(work);
}
