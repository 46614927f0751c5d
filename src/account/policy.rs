//! Routing policies: put, read and deleted at a scope, and all that a key stands under.
use super::{
    Account, Turn, Write,
    act::{ROWS_MAX, deleted, missing, told, too_many},
    record,
};
use crate::{
    access::{Layer, Policies, RoutingPolicy, Tenant},
    id::Scope,
    json::{json, told_by_text},
};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A policy and the number that stands for what it says.
#[derive(Debug)]
pub(super) struct Kept {
    mark: u64,
    policy: RoutingPolicy,
}

impl Account {
    pub(super) fn put_policy(&mut self, scope: Scope, policy: RoutingPolicy) -> Turn {
        if let Some(turn) = self.absent(&scope) {
            return turn;
        }
        if self.policies.len() >= ROWS_MAX && !self.policies.contains_key(&scope) {
            return too_many("routing policies");
        }
        let write = self.keep_policy(scope.clone(), policy);
        Turn { writes: vec![write], ..told(200, self.policy_told(&scope).unwrap_or_default()) }
    }

    pub(super) fn keep_policy(&mut self, scope: Scope, policy: RoutingPolicy) -> Write {
        let write = record("policy", &String::from(scope.clone()), Some(&policy));
        let mut hasher = DefaultHasher::new();
        if let Write::Record { body, .. } = &write {
            body.hash(&mut hasher);
        }
        self.policies.insert(scope, Kept { mark: hasher.finish(), policy });
        write
    }

    pub(super) fn delete_policy(&mut self, scope: &Scope) -> Turn {
        if self.policies.remove(scope).is_none() {
            return missing("routing policy");
        }
        let write = Write::Record { kind: "policy", id: String::from(scope.clone()), body: None };
        Turn { writes: vec![write], ..deleted("routing_policy", self.id_of(scope)) }
    }

    pub(super) fn policy_told(&self, scope: &Scope) -> Option<Value> {
        let kept = self.policies.get(scope)?;
        let mut body = json!({"object": "routing_policy", "scope": {"type": scope.word(), "id": self.id_of(scope)}});
        if let (Some(members), Value::Object(more)) = (body.as_object_mut(), told_by_text(&kept.policy)) {
            members.extend(more);
        }
        Some(body)
    }

    fn policies_over<'a>(&'a self, path: &'a [Scope]) -> impl Iterator<Item = (&'a Scope, &'a Kept)> {
        path.iter().filter_map(|scope| Some((scope, self.policies.get(scope)?)))
    }

    /// Stands for the policies on a path, whose they are and how those are called; 0 for none.
    pub(super) fn policies_version(&self, path: &[Scope]) -> u64 {
        let mut over = self.policies_over(path).peekable();
        if over.peek().is_none() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        for (scope, kept) in over {
            (scope, self.name_of(scope), kept.mark).hash(&mut hasher);
        }
        hasher.finish().max(1)
    }

    /// Whether the lists of every policy on a path let a model pass.
    pub(super) fn policies_permit(&self, path: &[Scope], provider: &str, model: &str) -> bool {
        self.policies_over(path).all(|(_, kept)| kept.policy.permits(provider, model))
    }

    /// What a decision for a key under this path needs to know.
    pub(super) fn tenant_of(&self, path: &[Scope]) -> Tenant {
        let layer = |(scope, kept): (&Scope, &Kept)| Layer {
            scope: scope.clone(),
            name: self.name_of(scope),
            policy: kept.policy.clone(),
        };
        let layers = self.policies_over(path).map(layer).collect();
        Tenant { policies: Policies { version: self.policies_version(path), layers }, ..self.tenant.clone() }
    }
}
