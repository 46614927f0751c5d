//! Routing policies: put and read at a scope, and all that a key stands under.
use super::{
    Account, Turn,
    act::{ROWS_MAX, found, told, too_many},
    ask as asks, record,
};
use crate::json::{put, put_text};
use crate::{
    access::{Retention, Tenant, Written},
    fault::Fault,
    id::Scope,
    json::json,
};
use serde_json::Value;

/// Of its rows, and in its answers.
const KIND: &str = "routing_policy";

impl Account {
    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn act_on_policy(&mut self, verb: &str, scope: &Scope, body: &[u8]) -> Result<Turn, Fault> {
        match verb {
            "PUT" => {
                let written: Box<Written> = asks::read(body)?;
                asks::policy(&written)?;
                Ok(self.put_policy(scope.clone(), written))
            }
            "GET" => {
                let written = self.policies.get(scope);
                Ok(found(KIND, written.map(|written| self.policy_told(scope, written))))
            }
            _ => {
                let gone = self.policies.remove(scope).is_some();
                Ok(self.delete_row(gone, KIND, &String::from(scope.clone())))
            }
        }
    }

    fn put_policy(&mut self, scope: Scope, written: Box<Written>) -> Turn {
        if let Some(turn) = self.absent(&scope) {
            return turn;
        }
        if self.policies.len() >= ROWS_MAX && !self.policies.contains_key(&scope) {
            return too_many("routing policies");
        }
        let write = record(KIND, &String::from(scope.clone()), Some(&written.text));
        let body = self.policy_told(&scope, &written);
        self.policies.insert(scope, written);
        told(200, body).with(vec![write, self.next_tenant()])
    }

    fn policy_told(&self, scope: &Scope, written: &Written) -> Value {
        let mut told = written.text.clone();
        if let Some(members) = told.as_object_mut() {
            put_text(members, "object", KIND);
            put(members, "scope", json!({"type": scope.word(), "id": self.id_of(scope)}));
        }
        told
    }

    fn policies_over<'a>(&'a self, path: &'a [Scope]) -> impl Iterator<Item = (&'a Scope, &'a Written)> {
        path.iter().filter_map(|scope| Some((scope, &**self.policies.get(scope)?)))
    }

    /// What was changed, and not made just now, may lead paths elsewhere or be called something else: who knows the policies of
    /// a path learns them again.
    pub(super) fn restated(&mut self, status: u16, mut turn: Turn) -> Turn {
        if status == 200 && !self.policies.is_empty() {
            turn.writes.push(self.next_tenant());
        }
        turn
    }

    /// The version of the policies on a path: the tenant's, or 0 for none. Whoever changes what lies on a path has to raise it.
    pub(super) fn policies_version(&self, path: &[Scope]) -> u64 {
        self.policies_over(path).next().map_or(0, |_| self.tenant.version)
    }

    /// Whether the lists of every policy on a path let a model pass.
    pub(super) fn policies_permit(&self, path: &[Scope], provider: &str, model: &str) -> bool {
        self.policies_over(path).all(|(_, written)| written.policy.permits(provider, model))
    }

    /// Whether a policy on a path has nothing kept of requests.
    pub(super) fn keep_nothing(&self, path: &[Scope]) -> bool {
        self.policies_over(path).any(|(_, written)| written.policy.data_policy.retention == Retention::Zero)
    }

    /// What a decision for a key under this path needs to know.
    pub(super) fn tenant_of(&self, path: &[Scope]) -> Tenant {
        let mut layers = Vec::new();
        for (scope, written) in self.policies_over(path) {
            layers.push(json!({"scope": scope, "name": self.name_of(scope), "written": written.text}));
        }
        let policies = if layers.is_empty() { Value::Null } else { layers.into() };
        Tenant { policies, payment_challenge: self.organization.payment_challenge, ..self.tenant.clone() }
    }
}
