//! What somebody has to hear of, once, and how it gets to them.
use super::{
    Account, Turn, Write,
    act::{found, missing, nothing_answered, page, told, too_many},
    ask as asks,
    letter::AdminAsk,
    record,
};
use crate::{
    access::role::{Actor, Permission},
    alert::{Delivery, Sending, Stand, Webhook},
    budget::{Blocked, Counted},
    catalog::sha256_hex,
    endpoint::Admin,
    fault::Fault,
    id::{Scope, mint},
    json::{self, json},
    ledger::CallRecord,
    money::Nanos,
    time::{Millis, Window},
};
use serde::Serialize;
use serde_json::Value;

/// Endpoints of an organisation, and alerts that are kept.
const WEBHOOKS_MAX: usize = 50;
const ALERTS_MAX: usize = 200;
/// Sent at once, and how long a try may take before it counts as lost.
const AT_ONCE: usize = 20;
const LEASE_MS: u64 = 60_000;
/// So many failures of a provider in a row are told of.
const FAILURES: u32 = 5;
const HOUR_MS: u64 = 3_600_000;
/// A call that does not fit any more tells that a budget is spent from this share on.
const EXHAUSTED_PERCENT: i128 = 80;

/// Something that happened, and where it was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Alert {
    kind: String,
    at: Millis,
    data: Value,
    /// Where it happened, narrowest first: who may see it.
    path: Vec<Scope>,
    deliveries: Vec<Delivery>,
    /// An act of an admin: for those who may read the trail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    of_trail: bool,
}

json::members!(default Alert { kind, at, data, path, deliveries, of_trail });

/// Who is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum To<'a> {
    All,
    /// Those who may read the audit trail.
    Readers,
    One(&'a str),
}

/// What admins set of the wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct WalletTerms {
    /// Below this somebody is told.
    pub low_balance_alert_usd: Option<Nanos>,
    /// It was told, and has not risen since.
    pub low: bool,
}

json::members!(default WalletTerms { low_balance_alert_usd, low });

impl Alert {
    fn is_pending(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.status == Stand::Pending)
    }

    fn told(&self, id: &str) -> Value {
        let delivery = |delivery: &Delivery| {
            let pending = delivery.status == Stand::Pending;
            json!({
                "endpoint_id": delivery.endpoint_id,
                "status": delivery.status,
                "attempts": delivery.attempts,
                "response_status": (delivery.response_status > 0).then_some(delivery.response_status),
                "next_attempt_at": pending.then(|| delivery.next_at.rfc3339()),
            })
        };
        json!({
            "object": "alert",
            "id": id,
            "type": self.kind,
            "at": self.at.rfc3339(),
            "data": self.data,
            "deliveries": self.deliveries.iter().map(delivery).collect::<Vec<_>>(),
        })
    }
}

fn webhook_told(id: &str, hook: &Webhook) -> Value {
    json!({
        "object": "webhook_endpoint",
        "id": id,
        // Some receivers have their token in the query: it is not told again.
        "url": hook.url.split_once('?').map_or_else(|| hook.url.clone(), |(bare, _)| format!("{bare}?…")),
        "events": hook.events,
        "group_id": hook.group_id,
        "description": hook.description,
        "status": if hook.disabled { "disabled" } else { "active" },
        "secret_version": hook.version,
        "created_at": hook.created_at.rfc3339(),
    })
}

impl Account {
    /// Something happened. Those who want to hear of it will; the rows are written with the turn.
    pub(super) fn raise(&mut self, kind: &str, path: Vec<Scope>, data: Value, to: To<'_>, now: Millis) -> String {
        let inside = |hook: &Webhook| hook.group_id.clone().is_none_or(|id| path.contains(&Scope::Group(id)));
        let wants = |id: &String, hook: &Webhook| match to {
            To::One(only) => id == only,
            To::All => hook.wants(kind) && inside(hook),
            To::Readers => self.hears(hook, kind) && inside(hook),
        };
        let hooks = self.webhooks.iter().filter(|(id, hook)| wants(id, hook));
        let deliveries =
            hooks.map(|(id, _)| Delivery { endpoint_id: id.clone(), next_at: now, ..Delivery::default() }).collect();
        // In the order in which they happened; after a restart the count begins anew, the entries go on.
        self.raised += 1;
        let id = mint("evt", now, self.own_bits() | u128::from(self.seq & 0xff_ffff) << 32 | u128::from(self.raised));
        let of_trail = matches!(to, To::Readers);
        self.keep_alert(&id, Alert { kind: kind.to_owned(), at: now, data, path, deliveries, of_trail });
        while self.alerts.len() > ALERTS_MAX {
            // The oldest that is done with, else of acts, else of all.
            let rank = |(id, alert): &(&String, &Alert)| (alert.is_pending(), !alert.of_trail, (*id).clone());
            let Some(oldest) = self.alerts.iter().min_by_key(rank).map(|(id, _)| id.clone()) else { break };
            self.alerts.remove(&oldest);
            self.news.push(Write::Record { kind: "alert", id: oldest, body: None });
        }
        id
    }

    /// What no other organisation's ids have: one receiver may hear of several.
    pub(super) fn own_bits(&self) -> u128 {
        let hash = sha256_hex(self.organization.id.as_bytes());
        u128::from_str_radix(hash.get(..6).unwrap_or_default(), 16).unwrap_or_default() << 56
    }

    fn keep_alert(&mut self, id: &str, alert: Alert) {
        self.news.push(record("alert", id, Some(&alert)));
        self.alerts.insert(id.to_owned(), alert);
        self.deliver_at = self.next_delivery();
    }

    /// When the next alert has to be sent.
    pub(super) fn next_delivery(&self) -> Option<Millis> {
        let all = self.alerts.values().flat_map(|alert| &alert.deliveries);
        all.filter(|delivery| delivery.status == Stand::Pending).map(|delivery| delivery.next_at).min()
    }

    /// Whether something is new under a name, and remembers that it is.
    fn first(&mut self, name: String, mark: String) -> bool {
        if self.fired.get(&name) == Some(&mark) {
            return false;
        }
        self.news.push(record("fired", &name, Some(&mark)));
        self.fired.insert(name, mark);
        true
    }

    /// A provider is gone: nothing of it is known any more.
    pub(super) fn forget_provider(&mut self, id: &str) {
        self.forget_fired(&format!("provider|{id}"));
        self.forget_fired(&format!("credential|{id}"));
        self.failures.remove(id);
    }

    /// What is told of may be told once more.
    pub(super) fn forget_fired(&mut self, name: &str) {
        if self.fired.remove(name).is_some() {
            self.news.push(Write::Record { kind: "fired", id: name.to_owned(), body: None });
        }
    }

    /// Looks whether a posting carried a budget over one of its thresholds, or the wallet below its mark.
    pub(super) fn watch_money(&mut self, counted: &[Counted], now: Millis) {
        for one in counted {
            self.watch_budget(one, now);
        }
        let Some(mark) = self.wallet_terms.low_balance_alert_usd else { return };
        // Holds come and go: what is left for good counts.
        let left = self.wallet.credits.minus(self.wallet.posted);
        if (left < mark) == self.wallet_terms.low {
            return;
        }
        self.wallet_terms.low = left < mark;
        self.news.push(record("wallet", "", Some(&self.wallet_terms)));
        if left < mark {
            let data = json!({"available_usd": left, "threshold_usd": mark});
            self.raise("wallet.low_balance", vec![Scope::Organization], data, To::All, now);
        }
    }

    /// The thresholds a budget has reached, the lowest first. A session's budget is its caller's own: nobody is told.
    fn reached(&self, counted: &Counted, now: Millis) -> Vec<u8> {
        let Some(budget) = self.budgets.budget(&counted.scope, counted.window) else { return Vec::new() };
        let (limit, posted) = (budget.ceiling(now), self.budgets.posted(counted));
        if limit.0 <= 0 || counted.window == Window::Session {
            return Vec::new();
        }
        let reached = |percent: &u8| i128::from(posted.0) * 100 >= i128::from(limit.0) * i128::from(*percent);
        budget.limit.thresholds.iter().copied().filter(reached).collect()
    }

    fn watch_budget(&mut self, counted: &Counted, now: Millis) {
        let reached = self.reached(counted, now);
        if reached.is_empty() {
            return;
        }
        let Counted { scope, window, window_id } = counted;
        let name = fired_name(scope, window.word());
        let mark = self.fired.get(&name).and_then(|mark| mark.split_once('|'));
        let before: u8 = match mark {
            // A charge that became known later: what its window reached was told then. Windows of a kind are in the order of time.
            Some((told, _)) if told > window_id.as_str() => return,
            Some((told, percent)) if told == window_id => percent.parse().unwrap_or(0),
            _ => 0,
        };
        for percent in reached.into_iter().filter(|percent| *percent > before) {
            self.first(name.clone(), format!("{window_id}|{percent}"));
            let budget = self.budgets.budget(scope, *window);
            let data = json!({
                "scope": {"type": scope.word(), "id": self.id_of(scope), "name": self.name_of(scope)},
                "window": window,
                "window_id": window_id,
                "threshold": percent,
                "limit_usd": budget.map(|budget| budget.ceiling(now)),
                "posted_usd": self.budgets.posted(counted),
                "resets_at": self.place(&[], "", now).resets_at(*window),
            });
            self.raise("budget.threshold_reached", self.path_of(scope), data, To::All, now);
        }
    }

    /// A limit was changed: what the new one has reached already is not told, what it reaches from now on is.
    pub(super) fn remark(&mut self, scope: &Scope, window: Window, now: Millis) {
        let name = fired_name(scope, window.word());
        self.forget_fired(&format!("{name}|exhausted"));
        let window_id = self.place(&[], "", now).window_id(window).unwrap_or_default();
        let counted = Counted { scope: scope.clone(), window, window_id };
        match self.reached(&counted, now).last() {
            Some(percent) => drop(self.first(name, format!("{}|{percent}", counted.window_id))),
            None => self.forget_fired(&name),
        }
    }

    /// A call did not fit in a budget any more: told once in its window.
    pub(super) fn watch_refusal(&mut self, blocked: &Blocked, now: Millis) {
        let Blocked { scope, window, limit_usd, posted_usd, resets_at, .. } = blocked;
        // One call that is too large for what is left says nothing of the rest, while there is much of it.
        let spent = i128::from(posted_usd.0) * 100 >= i128::from(limit_usd.0) * EXHAUSTED_PERCENT;
        if *window == Window::Session || !spent {
            return;
        }
        let window_id = self.place(&[], "", now).window_id(*window).unwrap_or_default();
        if !self.first(format!("{}|exhausted", fired_name(scope, window.word())), window_id.clone()) {
            return;
        }
        let data = json!({
            "scope": {"type": scope.word(), "id": self.id_of(scope), "name": self.name_of(scope)},
            "window": window,
            "window_id": window_id,
            "limit_usd": limit_usd,
            "posted_usd": posted_usd,
            "resets_at": resets_at,
        });
        self.raise("budget.exhausted", self.path_of(scope), data, To::All, now);
    }

    /// Looks at how providers did: as this organisation has seen it.
    pub(super) fn watch_providers(&mut self, call: &CallRecord, now: Millis) {
        for attempt in &call.attempts {
            let provider = &attempt.provider;
            match attempt.outcome.as_str() {
                "answered" => {
                    self.failures.remove(provider);
                    let name = format!("provider|{provider}");
                    if self.fired.contains_key(&name) {
                        self.forget_fired(&name);
                        let data = json!({"provider": provider});
                        self.raise("provider.recovered", vec![Scope::Organization], data, To::All, now);
                    }
                }
                "overloaded" | "server_error" | "malformed" | "connection" | "timeout" => {
                    let failures = self.failures.get(provider).copied().unwrap_or(0) + 1;
                    self.failures.insert(provider.clone(), failures);
                    if failures >= FAILURES && self.first(format!("provider|{provider}"), "degraded".to_owned()) {
                        let data = json!({"provider": provider, "outcome": attempt.outcome});
                        self.raise("provider.degraded", vec![Scope::Organization], data, To::All, now);
                    }
                }
                "credential" | "out_of_funds" => {
                    let hour = (now.0 / HOUR_MS).to_string();
                    if self.first(format!("credential|{provider}"), hour) {
                        let data = json!({"provider": provider, "outcome": attempt.outcome, "status": attempt.status});
                        self.raise("credential.failing", vec![Scope::Organization], data, To::All, now);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is to be sent now. Until it is told what came of it, it is not sent again.
    pub fn sendings(&mut self, now: Millis) -> Vec<Sending> {
        let mut due = Vec::new();
        if self.deliver_at.is_none_or(|at| at > now) {
            return due;
        }
        // Who may still hear of acts.
        let heard: Vec<String> =
            self.webhooks.iter().filter(|(_, hook)| self.reads_trail(hook)).map(|(id, _)| id.clone()).collect();
        for (id, alert) in self.alerts.iter_mut() {
            let body = json!({"type": alert.kind, "timestamp": alert.at.rfc3339(), "data": alert.data});
            for delivery in &mut alert.deliveries {
                let waits = delivery.status == Stand::Pending && delivery.next_at <= now && due.len() < AT_ONCE;
                if !waits {
                    continue;
                }
                delivery.next_at = now.after(LEASE_MS);
                let of_trail = alert.of_trail;
                let hook = self.webhooks.get(&delivery.endpoint_id);
                match hook.filter(|hook| !hook.disabled && (!of_trail || heard.contains(&delivery.endpoint_id))) {
                    Some(hook) => due.push(Sending {
                        alert_id: id.clone(),
                        endpoint_id: delivery.endpoint_id.clone(),
                        url: hook.url.clone(),
                        versions: hook.versions(now),
                        at: now,
                        body: json::written(&body),
                    }),
                    None => delivery.status = Stand::Failed,
                }
            }
        }
        self.deliver_at = self.next_delivery();
        due
    }

    /// What a delivery came to: the status of its answer, 0 for none.
    pub fn delivered(&mut self, alert: &str, endpoint: &str, status: u64, now: Millis) -> Vec<Write> {
        let Some(mut found) = self.alerts.get(alert).cloned() else { return Vec::new() };
        for delivery in found.deliveries.iter_mut().filter(|delivery| delivery.endpoint_id == endpoint) {
            if delivery.tried(status, now)
                && let Some(hook) = self.webhooks.get_mut(endpoint)
            {
                hook.disabled = true;
                self.news.push(record("webhook", endpoint, Some(&*hook)));
            }
        }
        self.keep_alert(alert, found);
        std::mem::take(&mut self.news)
    }

    fn webhook_path(&self, id: &str) -> Vec<Scope> {
        self.group_path(self.webhooks.get(id).and_then(|hook| hook.group_id.as_deref()))
    }

    /// Refuses an act on an endpoint of a place the actor's roles do not reach.
    pub(super) fn gate_webhook(&self, actor: &Actor, id: &str, reads: bool) -> Result<(), Turn> {
        let path = self.webhook_path(id);
        if reads && self.sees_alerts(actor, &path) {
            return Ok(());
        }
        self.gate_new(actor, Permission::WriteAlert, &path)
    }

    fn sees_alert(&self, actor: &Actor, alert: &Alert) -> bool {
        let reads = actor.may(Permission::ReadAudit, &alert.path, true);
        reads || !alert.of_trail && self.sees_alerts(actor, &alert.path)
    }

    fn sees_alerts(&self, actor: &Actor, path: &[Scope]) -> bool {
        actor.may(Permission::WriteAlert, path, true) || actor.may(Permission::ReadAudit, path, true)
    }

    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn act_on_alerts(
        &mut self,
        actor: &Actor,
        act: &Admin,
        ask: &AdminAsk,
        now: Millis,
    ) -> Result<Turn, Fault> {
        let body = ask.body.as_bytes();
        Ok(match act {
            Admin::CreateWebhook => {
                let hook = asks::read::<asks::WebhookAsk>(body)?.first(self.terms.private_upstreams, now)?;
                self.create_webhook(actor, &format!("whe_{}", ask.fresh), hook)
            }
            Admin::ListWebhooks => {
                let shown = self.webhooks.iter().filter(|(id, _)| self.sees_alerts(actor, &self.webhook_path(id)));
                page(shown.map(|(id, hook)| webhook_told(id, hook)))
            }
            Admin::GetWebhook(id) => {
                found("webhook endpoint", self.webhooks.get(id).map(|hook| webhook_told(id, hook)))
            }
            Admin::UpdateWebhook(id) => {
                let ask: asks::WebhookAsk = asks::read(body)?;
                let Some(old) = self.webhooks.get(id).cloned() else { return Ok(missing("webhook endpoint")) };
                let hook = ask.over(old, self.terms.private_upstreams)?;
                self.keep_webhook(id, Self::as_written(actor, hook), 200)
            }
            Admin::RotateWebhook(id) => match self.webhooks.get(id).cloned() {
                None => missing("webhook endpoint"),
                Some(hook) => {
                    let hook = Webhook { version: hook.version + 1, rotated_at: now, ..hook };
                    self.keep_webhook(id, hook, 200)
                }
            },
            Admin::DeleteWebhook(id) if self.webhooks.remove(id).is_none() => missing("webhook endpoint"),
            Admin::DeleteWebhook(id) => {
                let write = Write::Record { kind: "webhook", id: id.clone(), body: None };
                super::act::deleted("webhook_endpoint", id).with(vec![write])
            }
            Admin::TestWebhook(id) if !self.webhooks.contains_key(id) => missing("webhook endpoint"),
            Admin::TestWebhook(id) => {
                let (path, data) = (self.webhook_path(id), json!({"endpoint_id": id}));
                let alert = self.raise("test", path, data, To::One(id), now);
                told(202, self.alerts.get(&alert).map_or(Value::Null, |row| row.told(&alert)))
            }
            Admin::ListAlerts => {
                let mut shown: Vec<(&String, &Alert)> = self.alerts.iter().collect();
                shown.reverse();
                let failed = |alert: &Alert| alert.deliveries.iter().any(|delivery| delivery.status == Stand::Failed);
                let wanted = |alert: &Alert| match ask.query.as_str() {
                    "status=failed" => failed(alert),
                    _ => true,
                };
                if !["", "status=failed"].contains(&ask.query.as_str()) {
                    return Err(Fault::parameter("status", "The query takes status=failed, or nothing."));
                }
                let shown = shown.into_iter().filter(|(_, alert)| wanted(alert) && self.sees_alert(actor, alert));
                page(shown.map(|(id, alert)| alert.told(id)))
            }
            Admin::ResendAlert(id) => self.resend(actor, id, now),
            other => self.act_on_wallet(actor, other, ask, now)?,
        })
    }

    /// # Errors
    /// 400 for a body that cannot be taken.
    fn act_on_wallet(&mut self, actor: &Actor, act: &Admin, ask: &AdminAsk, now: Millis) -> Result<Turn, Fault> {
        let body = ask.body.as_bytes();
        Ok(match act {
            Admin::GetWallet => Turn::told(self.wallet_told(200)),
            Admin::TopUp => told(201, asks::read::<asks::TopUpAsk>(body)?.told(&format!("top_{}", ask.fresh))?),
            Admin::UpdateWallet => {
                let asks::WalletAsk { low_balance_alert_usd, auto_topup } =
                    asks::read::<asks::WalletAsk>(body)?.check()?;
                // What is left out stays.
                let gone = asks::nulls(body);
                let named = |there: bool, name: &str| there || gone.iter().any(|one| one == name);
                if named(auto_topup.is_some(), "auto_topup") {
                    // Only who may pay may let the wallet pay by itself.
                    if let Err(turn) = self.gate(actor, Permission::TopUp, &Scope::Organization) {
                        return Ok(turn);
                    }
                    self.set_auto_topup(auto_topup);
                }
                if named(low_balance_alert_usd.is_some(), "low_balance_alert_usd") {
                    self.wallet_terms.low_balance_alert_usd = low_balance_alert_usd;
                    self.wallet_terms.low = false;
                    self.news.push(record("wallet", "", Some(&self.wallet_terms)));
                    self.watch_money(&[], now);
                }
                Turn::told(self.wallet_told(200))
            }
            _ => nothing_answered(),
        })
    }

    fn create_webhook(&mut self, actor: &Actor, id: &str, hook: Webhook) -> Turn {
        if let Some(turn) = hook.group_id.as_ref().and_then(|id| self.absent(&Scope::Group(id.clone()))) {
            return turn;
        }
        if let Err(turn) = self.gate_new(actor, Permission::WriteAlert, &self.group_path(hook.group_id.as_deref())) {
            return turn;
        }
        if self.webhooks.len() >= WEBHOOKS_MAX {
            return too_many("webhook endpoints");
        }
        let hook = Self::as_written(actor, hook);
        self.keep_webhook(id, hook, 201)
    }

    /// An endpoint by whoever wrote it: nobody hears of acts that it may not read of.
    fn as_written(actor: &Actor, hook: Webhook) -> Webhook {
        Webhook { written_by: actor.member.clone(), ..hook }
    }

    /// Whether an endpoint wants to hear of an act, and may.
    pub(super) fn hears(&self, hook: &Webhook, act: &str) -> bool {
        hook.wants(act) && self.reads_trail(hook)
    }

    /// Whether whoever wrote an endpoint may read the trail now.
    fn reads_trail(&self, hook: &Webhook) -> bool {
        let actor = self.actor_of(&hook.written_by);
        actor.may(Permission::ReadAudit, &self.group_path(hook.group_id.as_deref()), true)
    }

    fn keep_webhook(&mut self, id: &str, hook: Webhook, status: u16) -> Turn {
        let (write, body) = (record("webhook", id, Some(&hook)), webhook_told(id, &hook));
        self.webhooks.insert(id.to_owned(), hook);
        told(status, body).with(vec![write])
    }

    /// Sends what was given up once more, or what is waiting at once.
    fn resend(&mut self, actor: &Actor, id: &str, now: Millis) -> Turn {
        let found = self.alerts.get(id).filter(|alert| self.sees_alert(actor, alert));
        let Some(mut alert) = found.cloned() else { return missing("alert") };
        if let Err(turn) = self.gate_new(actor, Permission::WriteAlert, &alert.path) {
            return turn;
        }
        for delivery in alert.deliveries.iter_mut().filter(|delivery| delivery.status != Stand::Delivered) {
            *delivery = Delivery { endpoint_id: delivery.endpoint_id.clone(), next_at: now, ..Delivery::default() };
        }
        let body = alert.told(id);
        self.keep_alert(id, alert);
        told(202, body)
    }
}

/// The name under which it is kept what was told of a budget.
pub(super) fn fired_name(scope: &Scope, window: &str) -> String {
    format!("{}|{window}", String::from(scope.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::{
        letter::{Answer, PostOutcome},
        tests::{ADMIN, Kept, req, told_body},
    };
    use super::*;
    use crate::ledger::AttemptRecord;

    fn types(kept: &mut Kept) -> Vec<String> {
        let told = kept.admin("GET", "alerts", &Value::Null);
        let rows = told_body(&told)["data"].as_array().expect("a list").clone();
        rows.iter().rev().filter_map(|row| row["type"].as_str().map(str::to_owned)).collect()
    }

    fn spend(kept: &mut Kept, number: u128, nanos: i64) {
        kept.hold(&req(number), nanos);
        kept.post(&req(number), PostOutcome::Charge(Nanos(nanos)));
    }

    #[test]
    fn a_threshold_is_told_once_in_its_window() {
        let mut kept = Kept::new("1");
        kept.admin("PUT", "organization/budgets/day", &json!({"limit_usd": "0.000001", "thresholds": [50, 80]}));
        spend(&mut kept, 1, 490);
        assert_eq!(types(&mut kept), ["wallet.topped_up"]);
        spend(&mut kept, 2, 20);
        spend(&mut kept, 3, 20);
        kept.account = kept.reloaded();
        spend(&mut kept, 4, 20);
        assert_eq!(types(&mut kept), ["wallet.topped_up", "budget.threshold_reached"]);
        spend(&mut kept, 5, 250);
        let told = kept.admin("GET", "alerts", &Value::Null);
        let alert = &told_body(&told)["data"][0];
        assert_eq!((&alert["data"]["threshold"], &alert["data"]["posted_usd"]), (&json!(80), &json!("0.0000008")));
        assert_eq!(kept.hold(&req(6), 300), kept.hold(&req(7), 300), "both are refused");
        assert_eq!(types(&mut kept).last().map(String::as_str), Some("budget.exhausted"));
        assert_eq!(types(&mut kept).len(), 4);
        kept.now = kept.now.after(86_400_000);
        kept.account = kept.reloaded();
        kept.hold(&crate::id::mint("req", kept.now, 9), 600);
        kept.post(&crate::id::mint("req", kept.now, 9), PostOutcome::Charge(Nanos(600)));
        assert_eq!(types(&mut kept).len(), 5, "the next day it is told again");
    }

    #[test]
    fn a_low_wallet_is_told_until_it_rises() {
        let mut kept = Kept::new("1");
        kept.admin("PATCH", "wallet", &json!({"low_balance_alert_usd": "0.9999999"}));
        spend(&mut kept, 1, 90);
        assert_eq!(types(&mut kept), ["wallet.topped_up"]);
        spend(&mut kept, 2, 90);
        spend(&mut kept, 3, 90);
        assert_eq!(types(&mut kept), ["wallet.topped_up", "wallet.low_balance"]);
        let told = kept.admin("PATCH", "wallet", &json!({"low_balance_alert_usd": null}));
        assert_eq!(told_body(&told)["low_balance_alert_usd"], Value::Null);
        spend(&mut kept, 4, 90);
        assert_eq!(types(&mut kept).len(), 2);
    }

    #[test]
    fn a_provider_that_fails_again_and_again_is_told_of_and_so_is_its_recovery() {
        let mut kept = Kept::new("1");
        let came = |kept: &mut Kept, outcome: &str| {
            let attempt =
                AttemptRecord { provider: "acme".into(), outcome: outcome.into(), ..AttemptRecord::default() };
            let call = CallRecord { attempts: vec![attempt], ..CallRecord::default() };
            let now = kept.now;
            kept.account.watch_providers(&call, now);
        };
        for _ in 0..6 {
            came(&mut kept, "server_error");
        }
        came(&mut kept, "answered");
        came(&mut kept, "answered");
        came(&mut kept, "credential");
        came(&mut kept, "credential");
        let expected = ["wallet.topped_up", "provider.degraded", "provider.recovered", "credential.failing"];
        assert_eq!(types(&mut kept), expected);
    }

    #[test]
    fn an_alert_is_sent_until_it_is_taken_or_given_up() {
        let mut kept = Kept::new("1");
        let hook = |fresh: &'static str, events: Value| {
            move |kept: &mut Kept| {
                let body = json!({"url": format!("https://{fresh}.acme.com/h?t=1"), "events": events});
                kept.ask(ADMIN, "POST", "webhook_endpoints", &body, |ask| ask.fresh = fresh.into())
            }
        };
        assert_eq!(told_body(&hook("a", json!(["*"]))(&mut kept))["id"], "whe_a");
        hook("b", json!(["wallet.*"]))(&mut kept);
        kept.flush();
        kept.now = kept.now.after(10);
        kept.admin("POST", "webhook_endpoints/whe_a/test", &Value::Null);
        assert!(kept.account.wake().is_some_and(|at| at <= kept.now), "the alarm rings at once");
        let now = kept.now;
        let sent = kept.account.sendings(now);
        let to: Vec<&str> = sent.iter().map(|sending| sending.url.as_str()).collect();
        // The act itself is one of everything.
        assert_eq!(to, ["https://a.acme.com/h?t=1"; 4], "both endpoints, the test, and that it was tested");
        assert_eq!(kept.account.sendings(now), [], "not twice at once");
        let test = sent.iter().find(|sending| sending.body.starts_with(r#"{"type":"test","#)).expect("the test");
        let (alert, body) = (test.alert_id.clone(), test.body.clone());
        assert!(body.starts_with(r#"{"type":"test","timestamp":"#), "{body}");
        let writes = kept.account.delivered(&alert, "whe_a", 500, now);
        kept.write(writes);
        kept.account = kept.reloaded();
        kept.now = kept.now.after(5_000);
        let again = kept.account.sendings(kept.now);
        assert!(again.iter().any(|sending| sending.alert_id == alert), "five seconds later");
        let now = kept.now;
        let writes = kept.account.delivered(&alert, "whe_a", 410, now);
        kept.write(writes);
        let told = kept.admin("GET", "webhook_endpoints/whe_a", &Value::Null);
        assert_eq!(told_body(&told)["status"], "disabled", "it is gone");
        kept.admin("PATCH", "webhook_endpoints/whe_a", &json!({"status": "active"}));
        let told = kept.admin("POST", &format!("alerts/{alert}/resend"), &Value::Null);
        assert_eq!(told_body(&told)["deliveries"][0]["status"], "pending");
        let now = kept.now;
        kept.account.delivered(&alert, "whe_a", 200, now);
        let told = kept.admin("GET", "alerts", &Value::Null);
        let rows = told_body(&told)["data"].as_array().expect("a list").clone();
        let row = rows.iter().find(|row| row["id"] == alert.as_str()).expect("the test");
        assert_eq!(
            (&row["deliveries"][0]["status"], &row["deliveries"][0]["attempts"]),
            (&json!("delivered"), &json!(1))
        );
    }

    #[test]
    fn endpoints_are_for_those_who_may_and_in_public() {
        let mut kept = super::super::tests::staffed();
        let code = |answer: Answer| match answer {
            Answer::Refused(refusal) => refusal.to_fault().code.to_owned(),
            _ => "ok".to_owned(),
        };
        for (who, body, came) in [
            ("key_lead", json!({"url": "https://x.acme.com", "group_id": "grp_labs"}), "ok"),
            ("key_lead", json!({"url": "https://x.acme.com"}), "role_required"),
            ("key_purse", json!({"url": "https://x.acme.com"}), "ok"),
            ("key_ada", json!({"url": "https://x.acme.com"}), "role_required"),
            ("key_boss", json!({"url": "http://127.0.0.1/x"}), "invalid_parameter"),
            ("key_boss", json!({"url": "https://10.0.0.1/x"}), "invalid_parameter"),
            ("key_boss", json!({"url": "https://x.acme.com", "events": []}), "invalid_parameter"),
            ("key_boss", json!({}), "invalid_parameter"),
        ] {
            assert_eq!(
                code(kept.ask(who, "POST", "webhook_endpoints", &body, |ask| ask.fresh = "h".into())),
                came,
                "{who} {body}"
            );
        }
    }
}
