//! What admins do to an account: keys, budgets, wallet, own providers, named routes.
use super::{
    Account, StoredBudget, StoredKey, Turn, Write, ask as asks,
    letter::{AdminAsk, Answer, Refusal},
    record,
    told::{member_told, provider_told, route_told},
};
use crate::json::{json, list_of};
use crate::{
    access::{
        KeyKind, MemberKind, NamedRoute, OwnProvider,
        role::{Actor, Permission},
    },
    budget::{Budget, Extra},
    endpoint::Admin,
    fault::Fault,
    id::Scope,
    quality::lift,
    time::{Millis, Window},
};
use serde_json::Value;

/// Rows of one kind an organisation may have.
pub(super) const ROWS_MAX: usize = 1_000;

impl Account {
    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn act(&mut self, actor: &Actor, act: &Admin, ask: &AdminAsk, now: Millis) -> Result<Turn, Fault> {
        let (body, fresh) = (ask.body.as_bytes(), ask.fresh.as_str());
        Ok(match act {
            Admin::ListKeys => {
                let shown =
                    |id: &str, key: &StoredKey| actor.may(Permission::ReadKey, &self.path(id, &key.spec), false);
                let shown = self.keys.iter().filter(|(id, key)| key.kind != KeyKind::Invite && shown(id, key));
                page(shown.map(|(id, _)| self.key_told(id, now)))
            }
            Admin::GetKey(id) => {
                let there = self.keys.get(id).is_some_and(|key| key.kind != KeyKind::Invite);
                found("key", there.then(|| self.key_told(id, now)))
            }
            Admin::GetOrganization => told(200, self.organization_told()),
            Admin::UpdateOrganization => self.update_organization(asks::read(body)?)?,
            Admin::CreateGroup => {
                self.put_group(actor, &format!("grp_{fresh}"), asks::group(asks::read(body)?, true)?, true, now)
            }
            Admin::UpdateGroup(id) => {
                let ask = asks::GroupAsk { gone: asks::nulls(body), ..asks::group(asks::read(body)?, false)? };
                self.put_group(actor, id, ask, false, now)
            }
            Admin::GetGroup(id) => found("group", self.groups.contains_key(id).then(|| self.group_told(id))),
            Admin::ListGroups => self.list_groups(actor),
            Admin::ArchiveGroup(id) => self.archive_group(id),
            // Nothing said is to the top.
            Admin::MoveGroup(id) if body.is_empty() => self.move_group(actor, id, None),
            Admin::MoveGroup(id) => self.move_group(actor, id, asks::read::<asks::MoveAsk>(body)?.parent_id),
            Admin::CreateMember | Admin::CreateServiceAccount => {
                let mut member = asks::member(asks::read(body)?, true)?;
                if matches!(act, Admin::CreateServiceAccount) {
                    if member.kind == Some(MemberKind::User) {
                        return Err(Fault::parameter("kind", "A service account is no user: leave kind out."));
                    }
                    member.kind = Some(MemberKind::ServiceAccount);
                }
                self.put_member(actor, &format!("mem_{fresh}"), member, true, now)
            }
            Admin::UpdateMember(id) => {
                let ask = asks::MemberAsk { gone: asks::nulls(body), ..asks::member(asks::read(body)?, false)? };
                self.put_member(actor, id, ask, false, now)
            }
            Admin::GetMember(id) => found("member", self.members.get(id).map(|member| member_told(id, member))),
            Admin::ListMembers => self.list_members(actor, false),
            Admin::ListServiceAccounts => self.list_members(actor, true),
            Admin::DisableMember(id) => self.disable_member(actor, id, now),
            Admin::Spend => told(200, json!(Self::scopes_seen(actor, Permission::ReadUsage))),
            Admin::AuditLogs => Self::trail_seen(actor),
            Admin::AuditCheckpoints => self.trail_told(actor, now),
            Admin::GetLift => told(200, lift::report(self.arms.rows(now))),
            other => self.act_on_limits(actor, other, ask, now)?,
        })
    }

    /// # Errors
    /// 400 for a body that cannot be taken.
    fn act_on_limits(&mut self, actor: &Actor, act: &Admin, ask: &AdminAsk, now: Millis) -> Result<Turn, Fault> {
        let body = ask.body.as_bytes();
        Ok(match act {
            Admin::Defaults(verb, scope) => self.act_on_defaults(verb, scope, body)?,
            Admin::PutBudget(scope, window) => {
                let limit = asks::limit(asks::read(body)?)?;
                let extra = self.budgets.budget(scope, *window).and_then(|budget| budget.extra);
                self.put_budget(scope, *window, Budget { limit, extra }, now)
            }
            Admin::PutOverride(scope, window) => {
                let extra = asks::read::<asks::OverrideAsk>(body)?.extra(now)?;
                self.put_override(scope, *window, Some(extra), now)
            }
            Admin::DeleteOverride(scope, window) => self.put_override(scope, *window, None, now),
            Admin::GetBudget(scope, window) => {
                let there = self.budgets.budget(scope, *window).is_some();
                found("budget", there.then(|| self.budget_told(scope, *window, now)))
            }
            Admin::ListBudgets(scope) => self.list_budgets(scope, now),
            Admin::DeleteBudget(scope, window) => self.delete_budget(scope, *window, now),
            Admin::PutRates(scope) => self.put_rates(scope, asks::rates(asks::read(body)?)?),
            Admin::GetRates(scope) => self.get_rates(scope),
            Admin::Policy(verb, scope) => self.act_on_policy(verb, scope, body)?,
            other => self.act_on_tenant(actor, other, ask, now)?,
        })
    }

    /// # Errors
    /// 400 for a body that cannot be taken.
    fn act_on_tenant(&mut self, actor: &Actor, act: &Admin, ask: &AdminAsk, now: Millis) -> Result<Turn, Fault> {
        let body = ask.body.as_bytes();
        Ok(match act {
            Admin::PutProvider(id) => {
                let own = asks::read::<asks::ProviderAsk>(body)?.own(id, self.terms.private_upstreams)?;
                self.put_provider(id, own)
            }
            Admin::GetProvider(id) => found("provider", self.tenant.providers.get(id).map(provider_told)),
            Admin::ListProviders => page(self.tenant.providers.values().map(provider_told)),
            Admin::DeleteProvider(id) => {
                self.forget_provider(id);
                let gone = self.tenant.providers.remove(id).is_some();
                self.delete_row(gone, "provider", id)
            }
            Admin::PutRoute(alias) => {
                let route = asks::route(alias, asks::read(body)?)?;
                self.put_route(alias.clone(), route)
            }
            Admin::GetRoute(alias) => {
                found("route", self.tenant.routes.get(alias).map(|route| route_told(alias, route)))
            }
            Admin::ListRoutes => page(self.tenant.routes.iter().map(|(alias, route)| route_told(alias, route))),
            Admin::DeleteRoute(alias) => {
                let gone = self.tenant.routes.remove(alias).is_some();
                self.delete_row(gone, "route", alias)
            }
            other => self.act_on_key(actor, other, ask, now)?,
        })
    }

    fn put_override(&mut self, scope: &Scope, window: Window, extra: Option<Extra>, now: Millis) -> Turn {
        match self.budgets.budget(scope, window).cloned() {
            Some(budget) => self.put_budget(scope, window, Budget { extra, ..budget }, now),
            None => missing("budget"),
        }
    }

    fn list_budgets(&self, scope: &Scope, now: Millis) -> Turn {
        if let Some(turn) = self.absent(scope) {
            return turn;
        }
        let set = Window::ALL.into_iter().filter(|window| self.budgets.budget(scope, *window).is_some());
        page(set.map(|window| self.budget_told(scope, window, now)))
    }

    fn delete_budget(&mut self, scope: &Scope, window: Window, now: Millis) -> Turn {
        if !self.budgets.remove(scope, window) {
            return missing("budget");
        }
        let mut writes = vec![Write::Record { kind: "budget", id: budget_id(scope, window), body: None }];
        self.remark(scope, window, now);
        // A restart must not find the old counters again.
        self.checkpoint(now, &mut writes);
        deleted("budget", window.word()).with(writes)
    }

    fn put_route(&mut self, alias: String, route: NamedRoute) -> Turn {
        if self.tenant.routes.len() >= ROWS_MAX && !self.tenant.routes.contains_key(&alias) {
            return too_many("routes");
        }
        let write = record("route", &alias, Some(&route));
        let body = route_told(&alias, &route);
        self.tenant.routes.insert(alias, route);
        told(200, body).with(vec![write, self.next_tenant()])
    }

    pub(super) fn put_budget(&mut self, scope: &Scope, window: Window, budget: Budget, now: Millis) -> Turn {
        if let Some(turn) = self.absent(scope) {
            return turn;
        }
        let Budget { limit, extra } = budget.clone();
        let stored = StoredBudget { scope: scope.clone(), window, limit, extra };
        self.budgets.put(scope.clone(), window, budget);
        self.remark(scope, window, now);
        let write = record("budget", &budget_id(scope, window), Some(&stored));
        told(200, self.budget_told(scope, window, now)).with(vec![write])
    }

    fn put_provider(&mut self, id: &str, own: OwnProvider) -> Turn {
        if self.tenant.providers.len() >= ROWS_MAX && !self.tenant.providers.contains_key(id) {
            return too_many("providers");
        }
        // A put without a credential keeps the one that is there: it cannot be read back to be put again.
        let kept = self.tenant.providers.get(id).and_then(|old| old.secret.clone());
        let own = OwnProvider { secret: own.secret.or(kept), ..own };
        let (write, body) = (record("provider", id, Some(&own)), provider_told(&own));
        self.tenant.providers.insert(id.to_owned(), own);
        told(200, body).with(vec![write, self.next_tenant()])
    }

    /// Puts credentials in place of others, and tells all that are stored, with their providers.
    pub(super) fn reseal(&mut self, swaps: &[(String, String)]) -> Turn {
        if self.organization.id.is_empty() {
            return missing("organization");
        }
        let mut writes = Vec::new();
        for (id, own) in self.tenant.providers.iter_mut() {
            let Some(secret) = &mut own.secret else { continue };
            let swapped = |line: &str| {
                let new = swaps.iter().find(|(old, _)| old == line).map(|(_, new)| new.as_str());
                new.unwrap_or(line).to_owned()
            };
            let lines: Vec<String> = secret.0.lines().map(swapped).collect();
            if lines.join("\n") != secret.0 {
                secret.0 = lines.join("\n");
                writes.push(record("provider", id, Some(&*own)));
            }
        }
        if !writes.is_empty() {
            writes.push(self.next_tenant());
        }
        let stored =
            self.tenant.providers.iter().flat_map(|(id, own)| own.secrets().map(move |line| json!([id, line])));
        told(200, Value::Array(stored.collect())).with(writes)
    }

    pub(super) fn delete_row(&mut self, gone: bool, kind: &'static str, id: &str) -> Turn {
        if !gone {
            return missing(kind);
        }
        let write = Write::Record { kind, id: id.to_owned(), body: None };
        deleted(kind, id).with(vec![write, self.next_tenant()])
    }

    pub(super) fn next_tenant(&mut self) -> Write {
        self.tenant.version += 1;
        record("tenant", "version", Some(&self.tenant.version))
    }
}

#[inline(never)]
pub(super) fn told(status: u16, body: Value) -> Turn {
    Turn::told(Answer::Told { status, body })
}

pub(super) fn page(rows: impl Iterator<Item = Value>) -> Turn {
    page_of(rows.collect())
}

#[inline(never)]
fn page_of(rows: Vec<Value>) -> Turn {
    told(200, list_of(rows, false))
}

/// The endpoint is another room's.
pub(super) fn nothing_answered() -> Turn {
    Turn::refused(Refusal::NotServed("This is nothing an account answers.".to_owned()))
}

pub(super) fn missing(what: &str) -> Turn {
    Turn::refused(Refusal::NotFound { what: what.to_owned() })
}

pub(super) fn found(what: &str, row: Option<Value>) -> Turn {
    row.map_or_else(|| missing(what), |row| told(200, row))
}

pub(super) fn too_many(what: &str) -> Turn {
    let message = format!("The organisation has as many {what} as it may have. Delete some first.");
    Turn::refused(Refusal::Invalid { param: what.to_owned(), message })
}

pub(super) fn deleted(object: &str, id: &str) -> Turn {
    told(200, json!({"object": format!("{object}.deleted"), "id": id, "deleted": true}))
}

fn budget_id(scope: &Scope, window: Window) -> String {
    format!("{}:{}:{}", scope.word(), scope.id().unwrap_or_default(), window.word())
}
