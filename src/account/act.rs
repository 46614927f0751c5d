//! What admins do to an account: keys, budgets, wallet, own providers, named routes.
use super::{
    Account, StoredBudget, StoredKey, Turn, Write,
    letter::{Act, Answer, KeySpec, NewKey, Refusal},
    record,
};
use crate::json::{json, list_of, told_by_text};
use crate::{
    access::{KeyKind, OwnProvider},
    id::Scope,
    time::{Millis, Window},
};
use serde_json::{Map, Value};

/// Rows of one kind an organisation may have.
const ROWS_MAX: usize = 1_000;

impl Account {
    pub(super) fn act(&mut self, act: Act, now: Millis) -> Turn {
        match act {
            Act::Prove => {
                Turn::told(Answer::Told { status: 200, body: json!({"organization_id": self.organization.id}) })
            }
            Act::CreateKey(key) => self.create_key(key, now),
            Act::ListKeys => page(self.keys.iter().map(|(id, key)| key_told(id, key, now))),
            Act::GetKey(id) => match self.keys.get(&id) {
                Some(key) => told(200, key_told(&id, key, now)),
                None => missing("key"),
            },
            Act::RevokeKey(id) => self.revoke_key(&id, now),
            Act::PutBudget { scope, window, limit } => {
                if let Err(turn) = self.exists(&scope) {
                    return turn;
                }
                let stored = StoredBudget { scope: scope.clone(), window, limit: limit.clone() };
                self.budgets.put(scope.clone(), window, limit);
                let write = record("budget", &budget_id(&scope, window), Some(&stored));
                Turn { writes: vec![write], ..told(200, self.budget_told(&scope, window, now)) }
            }
            Act::GetBudget { scope, window } => match self.budgets.limit(&scope, window) {
                Some(_) => told(200, self.budget_told(&scope, window, now)),
                None => missing("budget"),
            },
            Act::DeleteBudget { scope, window } => {
                if !self.budgets.remove(&scope, window) {
                    return missing("budget");
                }
                let id = budget_id(&scope, window);
                let write = Write::Record { kind: "budget", id, body: None };
                Turn { writes: vec![write], ..deleted("budget", window.word()) }
            }
            Act::GetWallet => Turn::told(self.wallet_told(200)),
            Act::PutProvider { id, own } => self.put_provider(&id, own),
            Act::GetProvider(id) => match self.tenant.providers.get(&id) {
                Some(own) => told(200, provider_told(own)),
                None => missing("provider"),
            },
            Act::ListProviders => page(self.tenant.providers.values().map(provider_told)),
            Act::DeleteProvider(id) => {
                let gone = self.tenant.providers.remove(&id).is_some();
                self.delete_row(gone, "provider", &id)
            }
            Act::PutRoute { alias, route } => {
                if self.tenant.routes.len() >= ROWS_MAX {
                    return too_many("routes");
                }
                let write = record("route", &alias, Some(&route));
                let body = route_told(&alias, &route);
                self.tenant.routes.insert(alias, route);
                Turn { writes: vec![write, self.next_tenant()], ..told(200, body) }
            }
            Act::GetRoute(alias) => match self.tenant.routes.get(&alias) {
                Some(route) => told(200, route_told(&alias, route)),
                None => missing("route"),
            },
            Act::ListRoutes => page(self.tenant.routes.iter().map(|(alias, route)| route_told(alias, route))),
            Act::DeleteRoute(alias) => {
                let gone = self.tenant.routes.remove(&alias).is_some();
                self.delete_row(gone, "route", &alias)
            }
        }
    }

    fn exists(&self, scope: &Scope) -> Result<(), Turn> {
        match scope {
            Scope::ApiKey(id) if !self.keys.contains_key(id) => Err(missing("key")),
            _ => Ok(()),
        }
    }

    fn create_key(&mut self, key: NewKey, now: Millis) -> Turn {
        if self.keys.len() >= 100 * ROWS_MAX {
            return too_many("keys");
        }
        let id = key.id.clone();
        let write = self.keep_key(key, now);
        let body = self.keys.get(&id).map_or(Value::Null, |key| key_told(&id, key, now));
        Turn { writes: vec![write], ..told(201, body) }
    }

    pub(super) fn keep_key(&mut self, key: NewKey, now: Millis) -> Write {
        let NewKey { id, digest, redacted, kind, spec } = key;
        let stored = StoredKey { digest, redacted, kind, created_at: now, revoked: false, spec };
        let write = record("key", &id, Some(&stored));
        self.keys.insert(id, stored);
        write
    }

    fn revoke_key(&mut self, id: &str, now: Millis) -> Turn {
        let last_admin = self.keys.values().filter(|key| key.kind == KeyKind::Admin && !key.revoked).count() == 1;
        let Some(key) = self.keys.get_mut(id) else { return missing("key") };
        if key.kind == KeyKind::Admin && last_admin && !key.revoked {
            let message = "This is the last admin key. Create another before you revoke it.".to_owned();
            return Turn::refused(Refusal::Invalid { param: "id".into(), message });
        }
        key.revoked = true;
        let write = record("key", id, Some(&*key));
        Turn { writes: vec![write], ..told(200, key_told(id, key, now)) }
    }

    fn put_provider(&mut self, id: &str, own: OwnProvider) -> Turn {
        if self.tenant.providers.len() >= ROWS_MAX {
            return too_many("providers");
        }
        // A put without a credential keeps the one that is there: it cannot be read back to be put again.
        let kept = self.tenant.providers.get(id).and_then(|old| old.secret.clone());
        let own = OwnProvider { secret: own.secret.or(kept), ..own };
        let (write, body) = (record("provider", id, Some(&own)), provider_told(&own));
        self.tenant.providers.insert(id.to_owned(), own);
        Turn { writes: vec![write, self.next_tenant()], ..told(200, body) }
    }

    fn delete_row(&mut self, gone: bool, kind: &'static str, id: &str) -> Turn {
        if !gone {
            return missing(kind);
        }
        let write = Write::Record { kind, id: id.to_owned(), body: None };
        Turn { writes: vec![write, self.next_tenant()], ..deleted(kind, id) }
    }

    fn next_tenant(&mut self) -> Write {
        self.tenant.version += 1;
        record("tenant", "version", Some(&self.tenant.version))
    }

    pub(super) fn wallet_told(&self, status: u16) -> Answer {
        let wallet = &self.wallet;
        let body = json!({
            "object": "wallet",
            "organization_id": self.organization.id,
            "available_usd": wallet.available(),
            "held_usd": wallet.held,
            "posted_usd": wallet.posted,
            "credits_usd": wallet.credits,
        });
        Answer::Told { status, body }
    }

    fn budget_told(&self, scope: &Scope, window: Window, now: Millis) -> Value {
        let limit = self.budgets.limit(scope, window);
        let scope_id = match scope {
            Scope::Organization => &self.organization.id,
            Scope::ApiKey(id) => id,
        };
        json!({
            "object": "budget",
            "scope": {"type": scope.word(), "id": scope_id},
            "window": window,
            "limit_usd": limit.map(|limit| limit.limit_usd),
            "mode": limit.map(|limit| limit.mode),
            "thresholds": limit.map(|limit| &limit.thresholds),
            "state": self.budgets.state(scope, window, now),
        })
    }
}

fn told(status: u16, body: Value) -> Turn {
    Turn::told(Answer::Told { status, body })
}

fn page(rows: impl Iterator<Item = Value>) -> Turn {
    told(200, list_of(rows.collect(), false))
}

fn missing(what: &str) -> Turn {
    Turn::refused(Refusal::NotFound { what: what.to_owned() })
}

fn too_many(what: &str) -> Turn {
    let message = format!("The organisation has as many {what} as it may have. Delete some first.");
    Turn::refused(Refusal::Invalid { param: what.to_owned(), message })
}

fn deleted(object: &str, id: &str) -> Turn {
    told(200, json!({"object": format!("{object}.deleted"), "id": id, "deleted": true}))
}

fn budget_id(scope: &Scope, window: Window) -> String {
    let id = match scope {
        Scope::Organization => "",
        Scope::ApiKey(id) => id,
    };
    format!("{}:{id}:{}", scope.word(), window.word())
}

fn key_told(id: &str, key: &StoredKey, now: Millis) -> Value {
    let KeySpec { name, model_allowlist, provider_allowlist, rpm, tpm, concurrency, expires_at } = &key.spec;
    let expired = expires_at.is_some_and(|at| at <= now.seconds());
    let status = if key.revoked {
        "revoked"
    } else if expired {
        "expired"
    } else {
        "active"
    };
    json!({
        "object": "api_key",
        "id": id,
        "name": name,
        "kind": key.kind,
        "redacted_value": key.redacted,
        "status": status,
        "created_at": key.created_at.rfc3339(),
        "expires_at": expires_at.map(|at| Millis(at * 1_000).rfc3339()),
        "model_allowlist": model_allowlist,
        "provider_allowlist": provider_allowlist,
        "rpm": rpm,
        "tpm": tpm,
        "concurrency": concurrency,
    })
}

fn provider_told(own: &OwnProvider) -> Value {
    json!({
        "object": "provider",
        "id": own.provider.id,
        "dialect": own.provider.dialect,
        "base_url": own.provider.base_url,
        "abort_stops_billing": own.provider.abort_stops_billing,
        "has_credential": own.secret.is_some(),
        "models": told_by_text(&own.models),
    })
}

fn route_told(alias: &str, route: &crate::access::NamedRoute) -> Value {
    let mut told: Map<String, Value> = Map::new();
    told.insert("object".into(), "route".into());
    told.insert("id".into(), alias.into());
    if let Ok(Value::Object(members)) = serde_json::to_value(route) {
        told.extend(members);
    }
    Value::Object(told)
}
