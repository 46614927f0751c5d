//! The head of our answer, whole answers, refusals, and the words that say how it came about.
use super::{
    Attempt, Effect, Exchange, Hedge, Outcome, Phase, Settled,
    event::{Reply, ReplyBody},
    relay::{Meter, says_why},
};
use crate::json::{json, put, written};
use crate::{
    chat,
    dialect::Stamp,
    endpoint::{Explain, Surface},
    fault::Fault,
    money::Nanos,
    payment::Challenge,
    time::Millis,
};
use serde_json::Value;
use std::rc::Rc;

impl Exchange {
    /// What our answer says of itself.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            request_id: self.case.request_id.clone(),
            model: self.model_told(),
            created: self.case.arrived.seconds(),
            wants_usage: self.case.request.wants_usage,
            cost: None,
            asked: Rc::clone(&self.case.body),
        }
    }

    /// The model's name in the answer: what the caller asked for where that names one, else the deployment.
    fn model_told(&self) -> String {
        let asked = &self.case.request.model;
        let Some(candidate) = self.candidate() else { return asked.clone() };
        let deployment = &candidate.deployment;
        if *asked == deployment.model || *asked == deployment.id { asked.clone() } else { deployment.id.clone() }
    }

    /// Why the answering deployment was chosen.
    pub(super) fn reason(&self) -> &'static str {
        if self.is_rescued() {
            return "rescue";
        }
        if self.is_escalated() {
            return "escalation";
        }
        if self.hedge == Hedge::Begun(self.current) {
            return "hedge";
        }
        // The same deployment once more is no fallback.
        if self.attempts.first().map(|first| first.candidate) != self.place() {
            return "fallback";
        }
        self.plan().map_or("", |plan| plan.reason.word())
    }

    /// Headers of an answer by a deployment.
    fn answer_headers(&self, content_type: &'static str) -> Vec<(&'static str, String)> {
        let mut headers = base_headers(self.case.surface, &self.case.request_id, content_type);
        if let (Some(plan), Some(candidate)) = (self.plan(), self.candidate()) {
            headers.push(("x-megarouter-provider", candidate.deployment.provider.id.clone()));
            headers.push(("x-megarouter-model", candidate.deployment.model.clone()));
            headers.push(("x-megarouter-mode", plan.terms.mode.word().to_owned()));
            headers.push(("x-megarouter-reason", self.reason().to_owned()));
        }
        headers.push(("x-megarouter-attempts", self.attempts.len().to_string()));
        if !self.case.request.hosted.is_empty() {
            let plain = |letter: &char| letter.is_ascii_alphanumeric() || "_,.-".contains(*letter);
            let told = self.case.request.hosted.join(",").chars().filter(plain).take(400).collect();
            headers.push(("x-megarouter-dropped-tools", told));
        }
        headers.push(("server-timing", self.timing()));
        headers.extend(self.upfront_settlement());
        if self.attempt().is_some_and(|attempt| attempt.simulated) {
            headers.push(("x-megarouter-simulated", "true".to_owned()));
        }
        headers
    }

    /// Milliseconds as the platform's clock tells them: it stands still between two turns of I/O, so that what is only
    /// computed (auth, route) shows as 0.
    fn timing(&self) -> String {
        let first_sent = self.attempts.first().map_or(self.held_at, |attempt| attempt.sent);
        let hold = first_sent.since(self.held_at);
        let upstream = self.attempt().and_then(|last| Some(last.first_byte?.since(first_sent))).unwrap_or(0);
        let route = self.held_at.since(self.case.arrived);
        format!("auth;dur=0, route;dur={route}, hold;dur={hold}, upstream;dur={upstream}")
    }

    pub(super) fn reply_stream(&mut self, effects: &mut Vec<Effect>) {
        let headers = self.answer_headers("text/event-stream; charset=utf-8");
        self.replied = true;
        effects.push(Effect::Reply(Reply { status: 200, headers, body: ReplyBody::Stream }));
    }

    pub(super) fn reply_whole(
        &mut self,
        response: chat::Response,
        bytes: &[u8],
        _now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.generated(&response.id);
        let settled = self.settled_whole(&response);
        let told = self.with_seen(settled);
        let stamp = Stamp { cost: Some(told.cost), ..self.stamp() };
        let same = self.spoken().is_some_and(|spoken| spoken.same);
        let relayed = if same { self.case.grammar.relay_response(bytes, &stamp) } else { None };
        let mut body = relayed.unwrap_or_else(|| self.case.grammar.encode_response(&response, &stamp));
        if self.case.overrides.explain == Explain::Yes {
            body = with_member(body, "megarouter", self.explanation(Some(&told)));
        }
        if !self.gone {
            let mut headers = self.answer_headers("application/json");
            headers.push(("x-megarouter-cost-usd", told.cost.to_string()));
            headers.extend(self.channel_settlement(told.cost));
            self.replied = true;
            effects.push(Effect::Reply(Reply { status: 200, headers, body: ReplyBody::Whole(body) }));
        }
        self.close_charged(settled, if self.gone { 499 } else { 200 }, effects);
    }

    /// The charge of a whole answer.
    pub(super) fn settled_whole(&self, response: &chat::Response) -> Settled {
        let seen = if response.usage.is_some() { 0 } else { Meter::of(response).output_tokens_seen() };
        let settled = self.settled(response.usage, true, seen);
        let said_why = response.choices.iter().any(|choice| says_why(choice.finish, choice.native_finish.as_ref()));
        if said_why { settled } else { self.insured(settled) }
    }

    /// Answers with a fault. The phase is left to the caller: `Done` unless a hold has to be closed.
    pub(super) fn refuse(&mut self, fault: &Fault, effects: &mut Vec<Effect>) {
        self.phase = Phase::Done;
        if self.gone || self.replied {
            return;
        }
        self.replied = true;
        let body = self.case.grammar.encode_fault(fault, &self.case.request_id);
        let mut headers = fault_headers(self.case.surface, fault, &self.case.request_id);
        // Another try of a client that pays would be another payment.
        let pays = self.case.purse.payment.is_some();
        headers
            .iter_mut()
            .filter(|(name, _)| pays && *name == "x-should-retry")
            .for_each(|(_, value)| "false".clone_into(value));
        // Its money is there, whatever became of the call.
        headers.extend(self.settled_before_work(Nanos::ZERO));
        if !self.attempts.is_empty() {
            headers.push(("x-megarouter-attempts", self.attempts.len().to_string()));
        }
        effects.push(Effect::Reply(Reply { status: fault.status, headers, body: ReplyBody::Whole(body) }));
    }

    pub(super) fn explain_only(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Done;
        if self.gone {
            return;
        }
        self.replied = true;
        let body = json!({"object": "megarouter.explanation", "megarouter": self.explanation(None)});
        let headers = base_headers(self.case.surface, &self.case.request_id, "application/json");
        let body = ReplyBody::Whole(written(&body).into_bytes());
        effects.push(Effect::Reply(Reply { status: 200, headers, body }));
    }

    /// The comment every stream ends with. It names who wrote its end.
    pub(super) fn comment(&self, settled: &Settled, whole: bool) -> Value {
        let wrote = |attempt: &Attempt| attempt.broke_off || matches!(attempt.outcome, Outcome::Answered { .. });
        let last = self.attempts.iter().rposition(wrote).unwrap_or(self.current);
        let (provider, model) = self.candidate_of(last).map_or(("", ""), |candidate| {
            (candidate.deployment.provider.id.as_str(), candidate.deployment.model.as_str())
        });
        let mut comment = json!({
            "request_id": self.case.request_id,
            "provider": provider,
            "model": model,
            "attempts": self.attempts.len(),
            "cost_usd": settled.cost,
            "rescued": whole && self.is_rescued(),
        });
        if let Some(members) = comment.as_object_mut() {
            // What the provider did not count: the charge may be another in the end.
            let marks = [("budget_cut", settled.cut), ("estimated", settled.estimated)];
            members.extend(marks.into_iter().filter(|(_, is)| *is).map(|(mark, _)| (mark.to_owned(), true.into())));
            if let Some(paid) = self.payment_told(settled.cost) {
                put(members, "payment", paid);
            }
        }
        if self.case.overrides.explain == Explain::Yes
            && let Some(members) = comment.as_object_mut()
        {
            put(members, "megarouter", self.explanation(Some(settled)));
        }
        comment
    }
}

/// Headers of every answer of ours on an inference surface.
#[must_use]
pub fn base_headers(surface: Surface, request_id: &str, content_type: &'static str) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", content_type.to_owned()),
        // Answers are their caller's alone; proxies know streams by the weaker word.
        ("cache-control", if content_type == "text/event-stream" { "no-cache" } else { "no-store" }.to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-request-id", request_id.to_owned()),
    ];
    if surface == Surface::Messages {
        headers.push(("request-id", request_id.to_owned()));
    }
    headers
}

/// Headers of a refusal.
#[must_use]
pub fn fault_headers(surface: Surface, fault: &Fault, request_id: &str) -> Vec<(&'static str, String)> {
    let mut headers = base_headers(surface, request_id, "application/json");
    headers.push(("x-should-retry", fault.should_retry.to_string()));
    if let Some(seconds) = fault.retry_after_s {
        headers.push(("retry-after", seconds.to_string()));
    }
    headers.extend(fault.payment_required.iter().map(|offers| ("payment-required", offers.clone())));
    // RFC 9110, sections 15.5.2 and 15.5.6.
    match fault.status {
        401 => headers.push(("www-authenticate", "Bearer".to_owned())),
        405 => {
            headers
                .extend(fault.metadata.get("allow").and_then(Value::as_str).map(|verbs| ("allow", verbs.to_owned())));
        }
        _ => {}
    }
    headers
}

/// Puts a payment challenge beside the error: the header for version 2, the body's members for version 1.
pub(super) fn add_challenge(reply: &mut Reply, challenge: Challenge) {
    reply.headers.push(("payment-required", challenge.header));
    if let ReplyBody::Whole(body) = &mut reply.body {
        for (name, value) in challenge.members {
            *body = with_member(std::mem::take(body), &name, value);
        }
    }
}

/// A JSON object's text with one member more. Texts that end in no brace stay as they are.
fn with_member(mut body: Vec<u8>, name: &str, value: Value) -> Vec<u8> {
    let end = body.iter().rposition(|byte| !byte.is_ascii_whitespace());
    if let Some(end) = end.filter(|end| body.get(*end) == Some(&b'}')) {
        body.truncate(end);
        let comma = if body.iter().rfind(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') { "" } else { "," };
        body.extend_from_slice(format!("{comma}{}:{}}}", crate::body::quoted(name), written(&value)).as_bytes());
    }
    body
}
