//! Routing policies: put, read and deleted at a scope, and all that a key stands under.
use super::{
    Account, Turn, Write,
    act::{ROWS_MAX, deleted, missing, told, too_many},
    record,
};
use crate::{
    access::{Tenant, Written},
    id::Scope,
    json::{json, written as text_of},
};
use serde_json::Value;

/// A policy and the number that stands for what it says.
#[derive(Debug)]
pub(super) struct Kept {
    mark: u64,
    written: Written,
}

/// Takes a text into a number that stands for it: FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn mixed(mark: u64, text: &str) -> u64 {
    text.bytes().fold(mark, |mark, byte| (mark ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl Account {
    pub(super) fn put_policy(&mut self, scope: Scope, written: Written) -> Turn {
        if let Some(turn) = self.absent(&scope) {
            return turn;
        }
        if self.policies.len() >= ROWS_MAX && !self.policies.contains_key(&scope) {
            return too_many("routing policies");
        }
        let write = record("policy", &String::from(scope.clone()), Some(&written.text));
        self.keep_policy(scope.clone(), written);
        Turn { writes: vec![write], ..told(200, self.policy_told(&scope).unwrap_or_default()) }
    }

    pub(super) fn keep_policy(&mut self, scope: Scope, written: Written) {
        let mark = mixed(mixed(0xcbf2_9ce4_8422_2325, &String::from(scope.clone())), &text_of(&written.text));
        self.policies.insert(scope, Kept { mark, written });
    }

    pub(super) fn delete_policy(&mut self, scope: &Scope) -> Turn {
        if self.policies.remove(scope).is_none() {
            return missing("routing policy");
        }
        let write = Write::Record { kind: "policy", id: String::from(scope.clone()), body: None };
        Turn { writes: vec![write], ..deleted("routing_policy", self.id_of(scope)) }
    }

    pub(super) fn policy_told(&self, scope: &Scope) -> Option<Value> {
        let mut told = self.policies.get(scope)?.written.text.clone();
        let members = told.as_object_mut()?;
        members.insert("object".into(), "routing_policy".into());
        members.insert("scope".into(), json!({"type": scope.word(), "id": self.id_of(scope)}));
        Some(told)
    }

    fn policies_over<'a>(&'a self, path: &'a [Scope]) -> impl Iterator<Item = (&'a Scope, &'a Kept)> {
        path.iter().filter_map(|scope| Some((scope, self.policies.get(scope)?)))
    }

    /// Stands for the policies on a path and whose they are called; 0 for none.
    pub(super) fn policies_version(&self, path: &[Scope]) -> u64 {
        self.policies_over(path).fold(0, |version, (scope, kept)| mixed(version ^ kept.mark, &self.name_of(scope)))
    }

    /// Whether the lists of every policy on a path let a model pass.
    pub(super) fn policies_permit(&self, path: &[Scope], provider: &str, model: &str) -> bool {
        self.policies_over(path).all(|(_, kept)| kept.written.policy.permits(provider, model))
    }

    /// What a decision for a key under this path needs to know.
    pub(super) fn tenant_of(&self, path: &[Scope]) -> Tenant {
        let layer = |(scope, kept): (&Scope, &Kept)| json!({"scope": scope, "name": self.name_of(scope), "written": kept.written.text});
        let layers: Vec<Value> = self.policies_over(path).map(layer).collect();
        let told = json!({"version": self.policies_version(path), "layers": layers});
        let policies = if layers.is_empty() { Value::Null } else { told };
        Tenant { policies, ..self.tenant.clone() }
    }
}
