//! What is told of an account's rows: to admins, and to a key's holder.
use super::{
    Account, StoredKey,
    letter::{Answer, KeySpec},
};
use crate::json::{json, put, put_text, told_by_text};
use crate::{
    access::{Group, Member, OwnProvider, role::RoleGrant},
    budget::{Place, RateLimits},
    catalog::sha256_hex,
    id::Scope,
    time::{Millis, Window},
};
use serde_json::{Map, Value};

impl Account {
    pub(super) fn wallet_told(&self, status: u16) -> Answer {
        let wallet = &self.wallet;
        let body = json!({
            "object": "wallet",
            "organization_id": self.organization.id,
            "available_usd": wallet.available(),
            "held_usd": wallet.held,
            "posted_usd": wallet.posted,
            "credits_usd": wallet.credits,
            "low_balance_alert_usd": self.wallet_terms.low_balance_alert_usd,
            "auto_topup": self.auto_topup.terms_told(),
            "auto_topup_state": self.auto_topup.told(),
        });
        Answer::Told { status, body }
    }

    pub(super) fn budget_told(&self, scope: &Scope, window: Window, now: Millis) -> Value {
        let budget = self.budgets.budget(scope, window);
        let limit = budget.map(|budget| &budget.limit);
        let place = self.place(&[], "", now);
        json!({
            "object": "budget",
            "id": window.word(),
            "scope": {"type": scope.word(), "id": self.id_of(scope)},
            "window": window,
            "limit_usd": limit.map(|limit| limit.limit_usd),
            "mode": limit.map(|limit| limit.mode),
            "thresholds": limit.map(|limit| &limit.thresholds),
            "override": budget.and_then(|budget| budget.extra).map(|extra| json!({
                "extra_usd": extra.extra_usd, "until": extra.until.rfc3339(),
            })),
            "state": told_by_text(&self.budgets.state(scope, window, place)),
        })
    }

    pub(super) fn id_of<'a>(&'a self, scope: &'a Scope) -> &'a str {
        scope.id().unwrap_or(&self.organization.id)
    }

    /// A key as its holder may see it: every limit it stands under, and what is left of the narrowest.
    pub(super) fn holder_told(&self, id: &str, key: &StoredKey, session: &str, now: Millis) -> Answer {
        let path = self.path(id, &key.spec);
        let place = self.place(&path, session, now);
        let mut body = self.key_told(id, now);
        let limits: Vec<Value> = path.iter().flat_map(|scope| self.limits_told(scope, place)).collect();
        let available = self.wallet.available();
        let left = self.budgets.room(&self.budgets.counted(place), now).min(available);
        let rates = |scope: &Scope| Some(rates_told(scope, self.rates_of(scope, &key.spec)?));
        let more = json!({
            "organization_id": self.organization.id,
            "limits": limits,
            "rate_limits": path.iter().filter_map(rates).collect::<Vec<_>>(),
            "wallet": {"available_usd": available, "held_usd": self.wallet.held},
            "left_usd": left.max(crate::money::Nanos::ZERO),
        });
        if let (Some(members), Value::Object(more)) = (body.as_object_mut(), more) {
            members.extend(more);
        }
        Answer::Told { status: 200, body }
    }

    fn limits_told<'a>(&'a self, scope: &'a Scope, place: Place<'a>) -> impl Iterator<Item = Value> + 'a {
        Window::ALL.into_iter().filter_map(move |window| {
            let budget = self.budgets.budget(scope, window)?;
            let state = self.budgets.state(scope, window, place);
            let limit = budget.ceiling(place.at);
            Some(json!({
                "scope_type": scope.word(),
                "scope_id": self.id_of(scope),
                "scope_name": self.name_of(scope),
                "window": window,
                "window_id": state.window_id,
                "mode": budget.limit.mode,
                "limit_usd": limit,
                "posted_usd": state.posted_usd,
                "held_usd": state.held_usd,
                "left_usd": limit.minus(state.posted_usd).minus(state.held_usd),
                "resets_at": state.resets_at,
            }))
        })
    }
}

/// A group, with what lies above it from the root down, itself last.
pub(super) fn group_told(id: &str, group: &Group, ancestors: &[String]) -> Value {
    let path: Vec<&str> = ancestors.iter().rev().map(String::as_str).collect();
    json!({
        "object": "group",
        "id": id,
        "name": group.name,
        "parent_id": group.parent_id,
        "depth": path.len(),
        "path": path.join("/"),
        "cost_center": group.cost_center,
        "status": if group.archived { "archived" } else { "active" },
        "created_at": group.created_at.rfc3339(),
    })
}

fn roles_told(member: &Member) -> Vec<RoleGrant> {
    let mut roles = member.all_roles();
    // Whoever was granted a role is a member all the same.
    if roles.len() > 1 {
        roles.pop();
    }
    roles
}

pub(super) fn member_told(id: &str, member: &Member) -> Value {
    json!({
        "object": "member",
        "id": id,
        "name": member.name,
        "kind": member.kind,
        "email": member.email,
        "group_id": member.group_id,
        "wallet": member.wallet,
        "roles": told_by_text(&roles_told(member)),
        "status": if member.disabled { "disabled" } else { "active" },
        "created_at": member.created_at.rfc3339(),
    })
}

pub(super) fn rates_told(scope: &Scope, limits: RateLimits) -> Value {
    json!({
        "object": "rate_limits",
        "scope_type": scope.word(),
        "scope_id": scope.id(),
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "concurrency": limits.concurrency,
    })
}

pub(super) fn key_told(id: &str, key: &StoredKey, used: Option<Millis>, now: Millis) -> Value {
    let KeySpec { name, model_allowlist, provider_allowlist, rpm, tpm, concurrency, expires_at, owner_member_id } =
        &key.spec;
    json!({
        "object": "api_key",
        "id": id,
        "name": name,
        "kind": key.kind,
        "owner_member_id": owner_member_id,
        "redacted_value": key.redacted,
        "status": key.status(now),
        "created_at": key.created_at.rfc3339(),
        "expires_at": expires_at.map(|at| Millis(at * 1_000).rfc3339()),
        "last_used_at": used.map(Millis::rfc3339),
        "model_allowlist": model_allowlist,
        "provider_allowlist": provider_allowlist,
        "rpm": rpm,
        "tpm": tpm,
        "concurrency": concurrency,
    })
}

/// An invite, with what its holder becomes.
pub(super) fn invite_told(id: &str, key: &StoredKey, now: Millis) -> Value {
    let preset = key.preset.as_deref().cloned().unwrap_or_default();
    json!({
        "object": "invite",
        "id": id,
        "name": preset.name,
        "email": preset.email,
        "group_id": preset.group_id,
        "roles": told_by_text(&roles_told(&preset)),
        "status": key.status(now),
        "redacted_value": key.redacted,
        "created_at": key.created_at.rfc3339(),
        "expires_at": key.spec.expires_at.map(|at| Millis(at * 1_000).rfc3339()),
    })
}

pub(super) fn provider_told(own: &OwnProvider) -> Value {
    json!({
        "object": "provider",
        "id": own.provider.id,
        "dialect": own.provider.dialect,
        "base_url": own.provider.base_url,
        "abort_stops_billing": own.provider.abort_stops_billing,
        "has_credential": own.secret.is_some(),
        "credentials": own.secrets().count(),
        // Another one is another version: sealed anew each time, it says nothing of the secret.
        "credential_version": own.secret.as_ref().map(|secret| sha256_hex(secret.0.as_bytes()).split_off(56)),
        "models": told_by_text(&own.models),
    })
}

pub(super) fn route_told(alias: &str, route: &crate::access::NamedRoute) -> Value {
    let mut told: Map<String, Value> = Map::new();
    put_text(&mut told, "object", "route");
    put(&mut told, "id", alias.into());
    if let Value::Object(members) = told_by_text(route) {
        told.extend(members);
    }
    Value::Object(told)
}
