//! Every request of the admin plane: repeated or new, allowed or not, and what is kept of it. What it changes is in [`super::act`].
use super::{
    Account, Led, Turn, Write,
    act::{missing, nothing_answered},
    letter::{AdminAsk, Answer, Caller, Conflict, Organization, Refusal},
    record,
};
use crate::{
    access::{
        KeyKind,
        role::{Actor, Permission},
    },
    audit,
    catalog::sha256_hex,
    endpoint::{Admin, Endpoint},
    id::{Scope, mint},
    json::{self, json},
    ledger::{Entry, EntryKind, GENESIS},
    money::Nanos,
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;

/// How long an answer is kept for who asks again with the same `Idempotency-Key`, as long as Stripe keeps its
/// (<https://docs.stripe.com/api/idempotent_requests>), and how many are kept at most.
const KEPT_MS: u64 = 86_400_000;
const KEPT_MAX: usize = 1_000;
/// Of one key.
const KEPT_MAX_KEY: usize = 100;
/// An answer that is longer is kept without its lists.
const KEPT_BYTES: usize = 8_192;
/// What an entry holds of a state at most: longer ones are told by their hash.
const STATE_BYTES: usize = 32_768;
/// Entries that may wait for the journal, and the bytes of one statement: the database takes two megabytes,
/// <https://developers.cloudflare.com/d1/platform/limits/>.
const WAITING_MAX: usize = 2_000;
const BATCH_BYTES: usize = 1_000_000;
/// Refusals of one key in an hour that are kept: a key that tries everything must not fill the journal.
const DENIED_MAX: u32 = 100;
const HOUR_MS: u64 = 3_600_000;

/// Rows of entries that wait for the journal.
const KIND: &str = "audit";

/// The answer to a request that may come again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Once {
    at: Millis,
    /// Of method, path and body.
    hash: String,
    status: u16,
    body: Value,
    /// The ULID it came with: the secret that it made is made from that again.
    fresh: String,
}

json::members!(Once { at, hash, status, body = Value::Null, fresh = String::new() });

/// Where the audit trail ends: how many entries it has, and the seal of the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Trail {
    seq: u64,
    head: String,
}

json::members!(default Trail { seq, head });

impl Default for Trail {
    fn default() -> Self {
        Self { seq: 0, head: GENESIS.to_owned() }
    }
}

impl Trail {
    fn after(entry: &Entry) -> Self {
        Self { seq: entry.seq, head: entry.hash.clone() }
    }
}

impl Account {
    pub(super) fn admin(&mut self, caller: &Caller, ask: AdminAsk, now: Millis) -> Turn {
        let act = match Endpoint::of(&ask.method, &ask.path) {
            Ok(Endpoint::Admin(act)) => act,
            Ok(_) => return nothing_answered(),
            Err(fault) => return Turn::refused(fault.into()),
        };
        let actor = self.actor(caller);
        if (caller.kind == KeyKind::Invite) != matches!(act, Admin::AcceptInvite) {
            return Turn::refused(Refusal::WrongKind);
        }
        self.note_use(&caller.key_id, now);
        if ask.method == "GET" {
            let gate = self.gate_act(&actor, &act);
            return gate.map_or_else(|turn| turn, |()| self.acted(&actor, &act, &ask, now));
        }
        // What takes a key away may be done all the same.
        let takes = matches!(act, Admin::RevokeKey(_) | Admin::DisableMember(_));
        if let (Err(refusal), false) = (self.stands(), takes) {
            return Turn::refused(refusal);
        }
        if self.audits.len() >= WAITING_MAX {
            return Turn::refused(Refusal::Backpressure);
        }
        let once = match self.repeated(caller, &ask, now) {
            Ok(once) => once,
            Err(turn) => return turn,
        };
        let before = self.shown(&actor, &ask, now);
        let turn = match self.gate_act(&actor, &act) {
            Ok(()) if !audit::matches(&ask.if_match, &before) => Turn::refused(Refusal::Conflict(Conflict::Changed)),
            Ok(()) if matches!(act, Admin::AcceptInvite) => {
                self.accept(caller, &ask, now).unwrap_or_else(|fault| Turn::refused(fault.into()))
            }
            Ok(()) => self.acted(&actor, &act, &ask, now),
            Err(turn) => turn,
        };
        let turn = self.audited(caller, &actor, &ask, &before, turn, now);
        self.kept(once, &ask.fresh, turn, now)
    }

    fn acted(&mut self, actor: &Actor, act: &Admin, ask: &AdminAsk, now: Millis) -> Turn {
        self.act(actor, act, ask, now).unwrap_or_else(|fault| Turn::refused(fault.into()))
    }

    /// The object of an act as it is now; null where there is none.
    fn shown(&mut self, actor: &Actor, ask: &AdminAsk, now: Millis) -> Value {
        let path = audit::object_path(&ask.method, &ask.path);
        let read = path.map(|path| Endpoint::of("GET", &path));
        let Some(Ok(Endpoint::Admin(read))) = read else { return Value::Null };
        match self.acted(actor, &read, &AdminAsk::default(), now).into_inner().answer {
            Answer::Told { status: 200, body } => body,
            _ => Value::Null,
        }
    }

    /// The row an answer is to be kept under, or the answer that was given before.
    pub(super) fn repeated(
        &self,
        caller: &Caller,
        ask: &AdminAsk,
        now: Millis,
    ) -> Result<Option<(String, String)>, Turn> {
        if ask.once.is_empty() || ask.method != "POST" {
            return Ok(None);
        }
        let hash = sha256_hex(format!("{}\n{}", ask.path, ask.body).as_bytes());
        let id = format!("{}:{}", caller.key_id, ask.once);
        match self.once.get(&id) {
            Some(kept) if kept.at.after(KEPT_MS) <= now => Ok(Some((id, hash))),
            Some(kept) if kept.hash == hash => {
                let mut body = kept.body.clone();
                if let Some(members) = body.as_object_mut() {
                    json::put(members, "made", kept.fresh.as_str().into());
                }
                Err(Turn::told(Answer::Told { status: kept.status, body }))
            }
            Some(_) => Err(Turn::refused(Refusal::Conflict(Conflict::OtherRequest))),
            None => Ok(Some((id, hash))),
        }
    }

    /// Keeps the answer of what was done, in place of those that are too old.
    fn kept(&mut self, once: Option<(String, String)>, fresh: &str, mut turn: Turn, now: Millis) -> Turn {
        let Led { answer, writes } = &mut *turn;
        let (Some((id, hash)), Answer::Told { status, body }) = (once, answer) else { return turn };
        let stale = |kept: &Once| kept.at.after(KEPT_MS) <= now;
        let mut gone: Vec<String> =
            self.once.iter().filter(|(_, kept)| stale(kept)).map(|(id, _)| id.clone()).collect();
        // Nobody takes the place of others.
        let of_it = |other: &String| other.split(':').next() == id.split(':').next();
        let mut of_its_own: Vec<(Millis, &String)> = Vec::new();
        of_its_own.extend(self.once.iter().filter(|(other, _)| of_it(other)).map(|(other, kept)| (kept.at, other)));
        if of_its_own.len() >= KEPT_MAX_KEY {
            gone.extend(of_its_own.into_iter().min().map(|(_, id)| id.clone()));
        } else if self.once.len() - gone.len() >= KEPT_MAX {
            gone.extend(self.once.iter().min_by_key(|(_, kept)| kept.at).map(|(id, _)| id.clone()));
        }
        for id in gone {
            self.once.remove(&id);
            writes.push(Write::Record { kind: "once", id, body: None });
        }
        let kept = Once { at: now, hash, status: *status, body: short(body), fresh: fresh.to_owned() };
        writes.push(record("once", &id, Some(&kept)));
        self.once.insert(id, kept);
        turn
    }

    /// Books what was done, or refused for want of a role.
    fn audited(
        &mut self,
        caller: &Caller,
        actor: &Actor,
        ask: &AdminAsk,
        before: &Value,
        mut turn: Turn,
        now: Millis,
    ) -> Turn {
        let (decision, after) = match &turn.answer {
            Answer::Told { body, .. } if body.get("deleted").is_some() => ("allowed", Value::Null),
            Answer::Told { body, .. } => ("allowed", body.clone()),
            Answer::Refused(Refusal::Role { .. }) if self.counts_denial(&caller.key_id, now) => ("denied", Value::Null),
            _ => return turn,
        };
        // A test of an endpoint is told as an alert.
        let after = if before.is_null() || after.get("object") == before.get("object") { after } else { Value::Null };
        let object = if after.is_null() { before } else { &after };
        let path = ask.path.strip_prefix("/admin/v1/").unwrap_or(&ask.path).trim_end_matches('/');
        let (kind, id, over) = self.resource(path, object);
        // Who accepts an invite is the member it becomes.
        let new = after.get("member").and_then(|member| member.get("id")?.as_str());
        let member = if actor.member.is_empty() { new } else { Some(actor.member.as_str()) };
        let keeps = decision == "denied" || audit::verb(&ask.method, path, false) == "tested";
        let (was, is) = if keeps { Default::default() } else { audit::difference(before, &after) };
        let note = json!({
            "type": format!("{kind}.{}", audit::verb(&ask.method, path, before.is_null())),
            "decision": decision,
            "actor": {
                "member_id": member, "api_key_id": caller.key_id, "ip": ask.ip, "user_agent": ask.user_agent,
            },
            "resource": {"type": kind, "id": id, "path": path},
            "scopes": json::told_by_text(&over),
            "before": bounded(was),
            "after": bounded(is),
        });
        let event = note.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        turn.writes.push(self.book_audit(&note, now));
        self.tell_act(&event, &note, over, now);
        turn
    }

    /// What an act is on, by its path and by what is told of it: its kind, its id, and the scopes over it.
    fn resource(&self, path: &str, object: &Value) -> (String, String, Vec<Scope>) {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut parts = path.split('/').chain(std::iter::repeat(""));
        let mut part = || parts.next().unwrap_or_default();
        let (rows, row, below_it) = (part(), part(), part());
        let kind = match (object.is_null(), below_it) {
            (false, _) => text("object"),
            (true, "budgets") => "budget",
            (true, "rate_limits" | "routing_policy" | "member_defaults") => below_it,
            (true, _) => rows.trim_end_matches('s'),
        };
        // What lies under a scope is known by it.
        let below = scope_of(rows.trim_end_matches('s'), row).filter(|_| !row.is_empty());
        let id = match &below {
            Some(_) => row,
            None if text("id").is_empty() || rows == "organization" => self.organization.id.as_str(),
            None => text("id"),
        };
        let group = object.get("group_id").or_else(|| object.get("member")?.get("group_id"));
        let over = match (kind, group.and_then(Value::as_str)) {
            ("invite" | "webhook_endpoint", group) => self.group_path(group),
            _ => self.path_of(&scope_of(kind, id).or(below).unwrap_or(Scope::Organization)),
        };
        (kind.to_owned(), id.to_owned(), over)
    }

    /// The first entry of a trail: the operator made the organisation.
    pub(super) fn founded(&mut self, now: Millis) -> Write {
        let Organization { name, timezone, .. } = &self.organization;
        let after = json!({"name": name, "timezone": timezone});
        self.by_operator("organization.created", Value::Null, after, now)
    }

    /// An act of the operator's: no member's, and no key's.
    pub(super) fn by_operator(&mut self, kind: &str, before: Value, after: Value, now: Millis) -> Write {
        let what = kind.split('.').next().unwrap_or_default();
        let note = json!({
            "type": kind,
            "decision": "allowed",
            "actor": {"member_id": null, "api_key_id": null, "ip": "", "user_agent": ""},
            "resource": {"type": what, "id": self.organization.id, "path": what},
            "scopes": [Scope::Organization],
            "before": before,
            "after": after,
        });
        let write = self.book_audit(&note, now);
        self.tell_act(kind, &note, vec![Scope::Organization], now);
        write
    }

    /// Tells of an act those who asked for it: each is a row.
    fn tell_act(&mut self, event: &str, note: &Value, over: Vec<Scope>, now: Millis) {
        if self.webhooks.values().any(|hook| self.hears(hook, event)) {
            let told = |name: &str| note.get(name);
            let data = json!({"actor": told("actor"), "resource": told("resource"), "decision": told("decision")});
            self.raise(event, over, data, super::alerts::To::Readers, now);
        }
    }

    /// An entry of a chain of its own, beside the ledger's: no money moves.
    fn book_audit(&mut self, note: &Value, now: Millis) -> Write {
        let seq = self.trail.seq + 1;
        let entry = Entry {
            seq,
            id: mint("aud", now, self.own_bits() | u128::from(seq)),
            kind: EntryKind::Audit,
            at: now,
            amount_usd: Nanos::ZERO,
            legs: Vec::new(),
            call: None,
            note: Some(json::written(note)),
            prev_hash: self.trail.head.clone(),
            hash: String::new(),
        }
        .sealed();
        self.trail = Trail::after(&entry);
        self.flush_at.get_or_insert(now.after(self.terms.outbox_flush_ms));
        let write = record(KIND, &row_of(seq), Some(&entry));
        self.audits.push(entry);
        write
    }

    /// After a start: the trail ends with the last entry that waits, or with what the journal has.
    pub(super) fn take_up_trail(&mut self) {
        self.audits.sort_unstable_by_key(|entry| entry.seq);
        if let Some(last) = self.audits.last() {
            self.trail = Trail::after(last);
            self.flush_at = Some(Millis(0));
        }
    }

    /// Whether something waits for the journal.
    pub(super) fn waits(&self) -> bool {
        !self.outbox.is_empty() || !self.audits.is_empty()
    }

    /// The entries of the trail that the journal needs next, if it is time.
    #[must_use]
    pub fn trail_due(&self, now: Millis) -> Vec<Entry> {
        let due = self.flush_at.is_some_and(|at| at <= now);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            // Quotes are escaped once more on their way.
            bytes += 500 + 2 * entry.note.as_ref().map_or(0, String::len);
            first || bytes <= BATCH_BYTES
        };
        self.audits.iter().take(if due { super::JOURNAL_BATCH } else { 0 }).take_while(fits).cloned().collect()
    }

    /// The journal has the trail up to an entry.
    pub fn trail_journaled(&mut self, through: u64, now: Millis) -> Vec<Write> {
        let (gone, left): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.audits).into_iter().partition(|entry| entry.seq <= through);
        self.audits = left;
        if !gone.is_empty() {
            self.flush_failures = 0;
            self.flush_at = self.waits().then_some(now);
        }
        let mut writes: Vec<Write> =
            gone.iter().map(|entry| Write::Record { kind: KIND, id: row_of(entry.seq), body: None }).collect();
        writes.extend(gone.last().map(|last| record("trail", "", Some(&Trail::after(last)))));
        writes.extend(self.uses_kept());
        writes
    }

    fn counts_denial(&mut self, key_id: &str, now: Millis) -> bool {
        let hour = now.0 / HOUR_MS;
        if self.denied.0 != hour {
            self.denied = (hour, HashMap::new());
        }
        let count = self.denied.1.entry(key_id.to_owned()).or_default();
        *count += 1;
        *count <= DENIED_MAX
    }

    /// The scopes whose trail an actor may read; the journal is asked by them.
    pub(super) fn trail_seen(actor: &Actor) -> Turn {
        let scopes = Self::scopes_seen(actor, Permission::ReadAudit);
        if scopes.is_empty() {
            return super::gate::denied(actor, Permission::ReadAudit);
        }
        super::act::told(200, json!(scopes))
    }

    /// Where the trail ends, to be signed.
    pub(super) fn trail_told(&self, actor: &Actor, now: Millis) -> Turn {
        if Self::scopes_seen(actor, Permission::ReadAudit).is_empty() {
            return super::gate::denied(actor, Permission::ReadAudit);
        }
        let body = json!({
            "object": "audit_checkpoint",
            "organization_id": self.organization.id,
            "seq": self.trail.seq,
            "hash": self.trail.head,
            "at": now.rfc3339(),
        });
        if self.trail.seq == 0 { missing("audit entry") } else { super::act::told(200, body) }
    }
}

/// A state, or what tells it from others where it is long: a note is a row of the journal.
fn bounded(state: Value) -> Value {
    let text = json::written(&state);
    if text.len() <= STATE_BYTES {
        return state;
    }
    json!({"omitted_bytes": text.len(), "sha256": sha256_hex(text.as_bytes())})
}

/// An answer as it is kept.
fn short(body: &Value) -> Value {
    let mut kept = body.clone();
    if json::written(body).len() > KEPT_BYTES
        && let Some(members) = kept.as_object_mut()
    {
        members.retain(|_, value| json::written(value).len() <= 1_024);
    }
    kept
}

/// The row of an entry: in their order.
fn row_of(seq: u64) -> String {
    format!("{seq:020}")
}

/// The scope an object is, by its kind.
fn scope_of(kind: &str, id: &str) -> Option<Scope> {
    let id = id.to_owned();
    match kind {
        "api_key" => Some(Scope::ApiKey(id)),
        "group" => Some(Scope::Group(id)),
        "member" => Some(Scope::Member(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ADMIN, Kept, staffed, told_body};
    use super::*;

    fn trail(kept: &mut Kept) -> Vec<(Entry, Value)> {
        kept.now = kept.now.after(1_000);
        let due = kept.account.trail_due(kept.now);
        let (last, now) = (due.last().map_or(0, |entry| entry.seq), kept.now);
        let writes = kept.account.trail_journaled(last, now);
        kept.write(writes);
        let with_note = |entry: Entry| {
            let note = json::read(entry.note.as_deref().unwrap_or_default()).expect("JSON");
            (entry, note)
        };
        due.into_iter().map(with_note).collect()
    }

    #[test]
    fn what_admins_do_is_chained_and_says_what_changed() {
        let mut kept = Kept::new("1");
        kept.make("groups", "g", &json!({"name": "Labs"}));
        kept.admin("PATCH", "groups/grp_g", &json!({"name": "Research"}));
        kept.admin("PUT", "groups/grp_g/budgets/month", &json!({"limit_usd": "5"}));
        kept.admin("DELETE", "groups/grp_g/budgets/month", &Value::Null);
        kept.admin("PATCH", "groups/grp_x", &json!({"name": "none"}));
        let rows = trail(&mut kept);
        let types: Vec<&str> = rows.iter().filter_map(|(_, note)| note["type"].as_str()).collect();
        let expected = [
            "organization.created",
            "wallet.updated",
            "api_key.created",
            "group.created",
            "group.updated",
            "budget.created",
            "budget.deleted",
        ];
        assert_eq!(types, expected);
        let (_, renamed) = &rows[4];
        assert_eq!((&renamed["before"], &renamed["after"]), (&json!({"name": "Labs"}), &json!({"name": "Research"})));
        assert_eq!(renamed["scopes"], json!(["group:grp_g", "organization"]));
        assert_eq!(rows[5].1["scopes"], renamed["scopes"], "a budget stands where its group does");
        assert_eq!((&rows[6].1["after"], &rows[6].1["before"]["limit_usd"]), (&Value::Null, &json!("5")));
        let mut previous = GENESIS.to_owned();
        for (seq, (entry, _)) in (1..).zip(&rows) {
            assert!(entry.is_sound());
            assert_eq!((entry.seq, &entry.prev_hash), (seq, &previous));
            previous.clone_from(&entry.hash);
        }
        kept.account = kept.reloaded();
        assert_eq!(kept.account.trail, Trail { seq: 7, head: previous });
        assert!(trail(&mut kept).is_empty(), "the journal has them");
        kept.make("groups", "h", &json!({"name": "Sales"}));
        kept.account = kept.reloaded();
        assert_eq!((kept.account.trail.seq, trail(&mut kept).len()), (8, 1), "what it has not is not lost");
    }

    #[test]
    fn no_audit_row_is_a_member_of_another_shape() {
        let mut kept = Kept::new("1");
        kept.admin(
            "PUT",
            "providers/acme",
            &json!({"dialect": "openai_chat", "base_url": "https://llm.acme.com/v1",
            "credential": "s3cret", "models": [{"id": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2"}]}),
        );
        let rows = trail(&mut kept);
        let (entry, note) = rows.last().expect("a row");
        assert_eq!(note["type"], "provider.created");
        assert!(!entry.note.as_deref().unwrap_or_default().contains("s3cret"));
        assert_eq!(json::written(note), entry.note.clone().unwrap_or_default(), "the text can be made again");
    }

    #[test]
    fn refusals_for_want_of_a_role_are_kept_up_to_a_bound() {
        let mut kept = staffed();
        trail(&mut kept);
        for _ in 0..=DENIED_MAX {
            kept.ask("key_ada", "POST", "groups", &json!({"name": "Mine"}), |_| ());
        }
        let rows = trail(&mut kept);
        assert_eq!(rows.len(), DENIED_MAX as usize);
        let (_, note) = &rows[0];
        assert_eq!((note["type"].as_str(), note["decision"].as_str()), (Some("group.created"), Some("denied")));
        assert_eq!(note["actor"]["member_id"], "mem_ada");
    }

    #[test]
    fn a_request_that_comes_again_gets_its_answer_again() {
        let mut kept = Kept::new("1");
        let mut send = |fresh: &str, body: Value, once: &str, later: u64| {
            kept.now = kept.now.after(later);
            kept.ask(ADMIN, "POST", "groups", &body, |ask| (ask.fresh, ask.once) = (fresh.into(), once.into()))
        };
        let first = send("a", json!({"name": "A"}), "k1", 0);
        assert_eq!(told_body(&first)["id"], "grp_a");
        let again = send("b", json!({"name": "A"}), "k1", 5);
        let body = told_body(&again);
        assert_eq!(
            (&body["id"], &body["made"]),
            (&json!("grp_a"), &json!("a")),
            "the same group, and what it came with then"
        );
        let other = send("c", json!({"name": "B"}), "k1", 0);
        assert!(matches!(other, Answer::Refused(Refusal::Conflict(Conflict::OtherRequest))));
        assert_eq!(told_body(&send("d", json!({"name": "B"}), "k2", 0))["id"], "grp_d");
        assert_eq!(told_body(&send("e", json!({"name": "A"}), "k1", KEPT_MS))["id"], "grp_e", "a day later it is new");
        kept.account = kept.reloaded();
        let answer = kept.ask(ADMIN, "POST", "groups", &json!({"name": "A"}), |ask| ask.once = "k1".into());
        assert_eq!(told_body(&answer)["id"], "grp_e");
        assert_eq!(kept.account.once.len(), 1, "what is too old goes");
    }

    #[test]
    fn what_changed_meanwhile_is_not_changed_again() {
        let mut kept = Kept::new("1");
        kept.make("groups", "g", &json!({"name": "Labs"}));
        let tag = audit::tag(told_body(&kept.admin("GET", "groups/grp_g", &Value::Null)));
        let mut rename = |if_match: &str| {
            let body = json!({"name": "Research"});
            kept.ask(ADMIN, "PATCH", "groups/grp_g", &body, |ask| ask.if_match = if_match.into())
        };
        assert_eq!(told_body(&rename(&tag))["name"], "Research");
        let answer = rename(&tag);
        assert!(matches!(answer, Answer::Refused(Refusal::Conflict(Conflict::Changed))), "{answer:?}");
        assert!(matches!(rename("*"), Answer::Told { .. }));
    }
}
