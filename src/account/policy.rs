//! Routing policies: put and read at a scope, and all that a key stands under.
use super::{
    Account, Turn,
    act::{ROWS_MAX, told, too_many},
    record,
};
use crate::{
    access::{Tenant, Written},
    id::Scope,
    json::json,
};
use serde_json::Value;

impl Account {
    pub(super) fn put_policy(&mut self, scope: Scope, written: Written) -> Turn {
        if let Some(turn) = self.absent(&scope) {
            return turn;
        }
        if self.policies.len() >= ROWS_MAX && !self.policies.contains_key(&scope) {
            return too_many("routing policies");
        }
        let write = record("routing_policy", &String::from(scope.clone()), Some(&written.text));
        let body = self.policy_told(&scope, &written);
        self.policies.insert(scope, written);
        Turn { writes: vec![write, self.next_tenant()], ..told(200, body) }
    }

    pub(super) fn policy_told(&self, scope: &Scope, written: &Written) -> Value {
        let mut told = written.text.clone();
        if let Some(members) = told.as_object_mut() {
            members.insert("object".into(), "routing_policy".into());
            members.insert("scope".into(), json!({"type": scope.word(), "id": self.id_of(scope)}));
        }
        told
    }

    fn policies_over<'a>(&'a self, path: &'a [Scope]) -> impl Iterator<Item = (&'a Scope, &'a Written)> {
        path.iter().filter_map(|scope| Some((scope, self.policies.get(scope)?)))
    }

    /// The version of the policies on a path: the tenant's, or 0 for none. Whoever changes what lies on a path has to raise it.
    pub(super) fn policies_version(&self, path: &[Scope]) -> u64 {
        self.policies_over(path).next().map_or(0, |_| self.tenant.version)
    }

    /// Whether the lists of every policy on a path let a model pass.
    pub(super) fn policies_permit(&self, path: &[Scope], provider: &str, model: &str) -> bool {
        self.policies_over(path).all(|(_, written)| written.policy.permits(provider, model))
    }

    /// What a decision for a key under this path needs to know.
    pub(super) fn tenant_of(&self, path: &[Scope]) -> Tenant {
        let mut tenant = self.tenant.clone();
        for (scope, written) in self.policies_over(path) {
            tenant.policies.push(json!({"scope": scope, "name": self.name_of(scope), "written": written.text}));
        }
        tenant
    }
}
