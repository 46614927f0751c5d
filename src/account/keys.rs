//! Keys and invites: made, changed, given a new secret, taken away; and who becomes a member by one.
use super::{
    Account, StoredKey, Turn, Write,
    act::{ROWS_MAX, found, missing, page, told, too_many},
    ask as asks,
    letter::{AdminAsk, Caller, Conflict, KeySpec, MadeKey, NewKey, Refusal},
    record,
    told::{invite_told, member_told},
};
use crate::{
    access::{
        KeyKind, Member,
        role::{Actor, Permission},
    },
    endpoint::Admin,
    fault::Fault,
    id::Scope,
    json::{self, json},
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;

/// The use of a key is kept once in so long: each time it is a row.
const USED_KEPT_MS: u64 = 3_600_000;

/// The secret a key had before, for as long as it is still good.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Previous {
    digest: String,
    until: Millis,
}

json::members!(Previous { digest, until });

impl StoredKey {
    /// The kind of its row: an older worker cannot read an invite, and leaves rows alone that it does not know.
    fn row(&self) -> &'static str {
        if self.kind == KeyKind::Invite { "invite" } else { "key" }
    }

    /// Whether a digest is this key's, or was until lately.
    pub(super) fn is(&self, digest: &str, now: Millis) -> bool {
        let same = |known: &str| crate::access::same(known.as_bytes(), digest.as_bytes());
        let before = self.previous.as_ref().is_some_and(|before| same(&before.digest) && before.until > now);
        same(&self.digest) || before
    }

    /// Its word for whether it can be used.
    pub(super) fn status(&self, now: Millis) -> &'static str {
        match self {
            Self { revoked: true, preset: Some(member), .. } if member.created_at > Millis(0) => "accepted",
            Self { revoked: true, .. } => "revoked",
            Self { spec, .. } if spec.has_expired(now) => "expired",
            Self { disabled: true, .. } => "disabled",
            Self { preset: Some(_), .. } => "open",
            Self { .. } => "active",
        }
    }
}

/// The made key of a kind.
fn of_kind(keys: &[MadeKey], kind: KeyKind) -> Result<MadeKey, Turn> {
    let made = keys.iter().find(|made| made.kind == kind).cloned();
    made.ok_or_else(|| Turn::refused(Refusal::NotServed("No key was made. Try again.".to_owned())))
}

impl Account {
    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn act_on_key(
        &mut self,
        actor: &Actor,
        act: &Admin,
        ask: &AdminAsk,
        now: Millis,
    ) -> Result<Turn, Fault> {
        let (body, keys) = (ask.body.as_bytes(), ask.keys.as_slice());
        Ok(match act {
            Admin::CreateKey => {
                let (kind, spec) = asks::read::<asks::KeyAsk>(body)?.spec(now)?;
                let made = of_kind(keys, kind);
                made.map_or_else(|turn| turn, |made| self.create_key(actor, NewKey::of(made, spec), now))
            }
            Admin::UpdateKey(id) => self.update_key(actor, id, body, now)?,
            Admin::RotateKey(id) => {
                let ask = if body.is_empty() { asks::RotateAsk::default() } else { asks::read(body)? };
                self.rotate_key(id, keys, ask.grace(now)?, now)
            }
            Admin::RevokeKey(id) => self.revoke_key(id, now),
            Admin::CreateInvite => {
                let (ask, expires_at) = asks::read::<asks::InviteAsk>(body)?.member(now)?;
                let made = of_kind(keys, KeyKind::Invite);
                made.map_or_else(|turn| turn, |made| self.create_invite(actor, made, ask, expires_at, now))
            }
            Admin::ListInvites => {
                let path = |member: &Member| self.group_path(member.group_id.as_deref());
                let shown = |key: &StoredKey| {
                    key.preset.as_ref().is_some_and(|member| actor.may(Permission::WriteMember, &path(member), true))
                };
                let invites = self.keys.iter().filter(|(_, key)| shown(key));
                page(invites.map(|(id, key)| invite_told(id, key, now)))
            }
            Admin::GetInvite(id) => found("invite", self.invite(id).map(|key| invite_told(id, key, now))),
            Admin::RevokeInvite(id) => match self.invite(id) {
                None => missing("invite"),
                Some(_) => self.revoke_key(id, now),
            },
            other => self.act_on_alerts(actor, other, ask, now)?,
        })
    }

    pub(super) fn invite(&self, id: &str) -> Option<&StoredKey> {
        self.keys.get(id).filter(|key| key.kind == KeyKind::Invite)
    }

    fn create_key(&mut self, actor: &Actor, mut key: NewKey, now: Millis) -> Turn {
        if self.keys.len() >= 100 * ROWS_MAX {
            return too_many("keys");
        }
        if key.spec.owner_member_id.is_none() {
            // An owner's are the first owner's; whoever else makes a key makes its own.
            key.spec.owner_member_id = if actor.is_owner() { self.first_owner() } else { Some(actor.member.clone()) };
        }
        if let Err(turn) = self.gate_key(actor, &key) {
            return turn;
        }
        match key.spec.owner_member_id.as_ref().map(|id| self.members.get(id)) {
            Some(None) => return missing("member"),
            Some(Some(member)) if member.disabled => return Turn::refused(Refusal::MemberDisabled),
            None | Some(Some(_)) => {}
        }
        let id = key.id.clone();
        let write = self.keep_key(key, now);
        told(201, self.key_told(&id, now)).with(vec![write])
    }

    pub(super) fn keep_key(&mut self, key: NewKey, now: Millis) -> Write {
        self.keep(key, None, now)
    }

    /// Keeps a new key; of an invite, with what its holder becomes.
    fn keep(&mut self, key: NewKey, preset: Option<Box<Member>>, now: Millis) -> Write {
        let NewKey { id, digest, redacted, kind, spec } = key;
        let stored = StoredKey { digest, redacted, kind, created_at: now, spec, preset, ..StoredKey::default() };
        let write = record(stored.row(), &id, Some(&stored));
        self.keys.insert(id, stored);
        write
    }

    /// Changes a key's row and tells of it.
    fn change_key(&mut self, id: &str, now: Millis, change: impl FnOnce(&mut StoredKey)) -> Turn {
        let Some(key) = self.keys.get_mut(id) else { return missing("key") };
        change(key);
        let write = record(key.row(), id, Some(&*key));
        told(200, self.key_told(id, now)).with(vec![write])
    }

    /// # Errors
    /// 400 for a body that cannot be taken.
    fn update_key(&mut self, actor: &Actor, id: &str, body: &[u8], now: Millis) -> Result<Turn, Fault> {
        let Some(key) = self.keys.get(id) else { return Ok(missing("key")) };
        if key.revoked {
            return Ok(Turn::refused(Refusal::Conflict(Conflict::KeyRevoked)));
        }
        let (spec, disabled) = asks::changed_key(&key.spec, body, now)?;
        let disabled = disabled.unwrap_or(key.disabled);
        // What was set above a member it does not take away itself: it may rename its key, and stop it.
        let kept = KeySpec { name: key.spec.name.clone(), ..spec.clone() };
        if (kept != key.spec || key.disabled && !disabled) && !self.leads(actor, id) {
            return Ok(super::gate::denied(actor, Permission::WriteKey));
        }
        if let Some(turn) = self.keeps_an_owner(id, now).filter(|_| disabled || spec.expires_at.is_some()) {
            return Ok(turn);
        }
        Ok(self.change_key(id, now, |key| (key.spec, key.disabled) = (spec, disabled)))
    }

    /// Whether an actor may change a key by another role than that of its own member.
    fn leads(&self, actor: &Actor, id: &str) -> bool {
        let mut above = self.path_of(&Scope::ApiKey(id.to_owned()));
        above.retain(|scope| matches!(scope, Scope::Group(_) | Scope::Organization));
        actor.may(Permission::WriteKey, &above, true)
    }

    /// A new secret for a key; the old one stays good until `until`.
    fn rotate_key(&mut self, id: &str, keys: &[MadeKey], until: Millis, now: Millis) -> Turn {
        let Some(key) = self.keys.get(id) else { return missing("key") };
        if key.revoked {
            return Turn::refused(Refusal::Conflict(Conflict::KeyRevoked));
        }
        let made = match of_kind(keys, key.kind) {
            Ok(made) => made,
            Err(turn) => return turn,
        };
        self.change_key(id, now, |key| {
            let digest = std::mem::replace(&mut key.digest, made.digest);
            key.previous = (until > now).then_some(Previous { digest, until });
            key.redacted = made.redacted;
        })
    }

    /// The refusal to take away the last admin key of an owner.
    fn keeps_an_owner(&self, id: &str, now: Millis) -> Option<Turn> {
        let key = self.keys.get(id).filter(|key| key.kind == KeyKind::Admin)?;
        (self.opens_all(key, now) && self.owner_keys(None, now) == 1).then(|| {
            let message = "This is the last admin key of an owner. Create another before you take it away.".to_owned();
            Turn::refused(Refusal::Invalid { param: "id".into(), message })
        })
    }

    fn revoke_key(&mut self, id: &str, now: Millis) -> Turn {
        if let Some(turn) = self.keeps_an_owner(id, now) {
            return turn;
        }
        self.change_key(id, now, |key| (key.revoked, key.previous) = (true, None))
    }

    fn create_invite(
        &mut self,
        actor: &Actor,
        made: MadeKey,
        ask: asks::MemberAsk,
        expires_at: u64,
        now: Millis,
    ) -> Turn {
        let member = match self.drafted(actor, None, ask) {
            Ok(member) => member,
            Err(turn) => return turn,
        };
        if self.keys.len() >= 100 * ROWS_MAX {
            return too_many("keys");
        }
        let spec = KeySpec { name: member.name.clone(), expires_at: Some(expires_at), ..KeySpec::default() };
        let id = made.id.clone();
        let write = self.keep(NewKey::of(made, spec), Some(Box::new(member)), now);
        told(201, self.key_told(&id, now)).with(vec![write])
    }

    /// Whoever holds an invite becomes a member, with an admin key that does what its roles open.
    ///
    /// # Errors
    /// 400 for a body that cannot be taken.
    pub(super) fn accept(&mut self, caller: &Caller, ask: &AdminAsk, now: Millis) -> Result<Turn, Fault> {
        let named = if ask.body.is_empty() { asks::NameAsk::default() } else { asks::read(ask.body.as_bytes())? };
        let name = named.check()?;
        let Some(preset) = self.keys.get(&caller.key_id).and_then(|key| key.preset.as_deref()) else {
            return Ok(missing("invite"));
        };
        let mut member = Member { created_at: now, ..preset.clone() };
        member.name = name.unwrap_or(member.name);
        if member.name.is_empty() {
            "member".clone_into(&mut member.name);
        }
        let made = match self.admits(&member).map_or_else(|| of_kind(&ask.keys, KeyKind::Admin), Err) {
            Ok(made) => made,
            Err(turn) => return Ok(turn),
        };
        let id = format!("mem_{}", ask.fresh);
        let mut turn = self.keep_new_member(&id, member.clone(), now);
        let spec = KeySpec { name: "from an invite".into(), owner_member_id: Some(id.clone()), ..KeySpec::default() };
        let key_id = made.id.clone();
        turn.writes.push(self.keep_key(NewKey::of(made, spec), now));
        let spent = self.change_key(&caller.key_id, now, |key| {
            (key.revoked, key.preset) = (true, Some(Box::new(member.clone())));
        });
        turn.writes.extend(spent.into_inner().writes);
        let body = json!({
            "object": "invite",
            "id": caller.key_id,
            "status": "accepted",
            "member": member_told(&id, &member),
            "admin_key": self.key_told(&key_id, now),
        });
        Ok(told(201, body).with(turn.into_inner().writes))
    }

    /// A key was used.
    pub(super) fn note_use(&mut self, id: &str, now: Millis) {
        if let Some((at, kept)) = self.used.get_mut(id) {
            *at = now;
            if now.since(*kept) < USED_KEPT_MS {
                return;
            }
            *kept = now;
        } else {
            self.used.insert(id.to_owned(), (now, now));
        }
        self.touched.push(id.to_owned());
    }

    /// What is new of the use of keys.
    pub(super) fn uses_kept(&mut self) -> Vec<Write> {
        let touched = std::mem::take(&mut self.touched);
        let at = |id: &String| self.used.get(id).map(|(at, _)| *at);
        touched.iter().filter_map(|id| Some(record("used", id, Some(&at(id)?)))).collect()
    }

    /// A key, or an invite, as admins see it.
    pub(super) fn key_told(&self, id: &str, now: Millis) -> Value {
        let Some(key) = self.keys.get(id) else { return Value::Null };
        if key.kind == KeyKind::Invite {
            return invite_told(id, key, now);
        }
        super::told::key_told(id, key, self.used.get(id).map(|(at, _)| *at), now)
    }

    /// The scope whose roles an act on an invite takes.
    pub(super) fn invite_path(&self, id: &str) -> Vec<Scope> {
        let preset = self.invite(id).and_then(|key| key.preset.as_ref());
        self.group_path(preset.and_then(|member| member.group_id.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        letter::{Answer, Letter},
        tests::{ADMIN, Kept, made_keys, staffed, told_body},
    };
    use super::*;

    fn code(answer: &Answer) -> &'static str {
        match answer {
            Answer::Refused(refusal) => refusal.to_fault().code,
            _ => "ok",
        }
    }

    /// Someone shows a key with this digest.
    fn shows(kept: &mut Kept, id: &str, digest: &str, kind: KeyKind, ask: AdminAsk) -> Answer {
        let caller = Caller { key_id: id.into(), digest: digest.into(), kind };
        kept.send(Letter::Admin { caller, ask })
    }

    fn wallet() -> AdminAsk {
        AdminAsk { method: "GET".into(), path: "/admin/v1/organization".into(), ..AdminAsk::default() }
    }

    #[test]
    fn an_old_secret_is_good_for_its_grace_and_no_longer() {
        let mut kept = Kept::new("1");
        kept.make("api_keys", "x", &json!({"name": "x", "kind": "admin"}));
        let rotate = |kept: &mut Kept, fresh: &str, grace: u64| {
            let mut keys = made_keys(fresh);
            for made in &mut keys {
                made.id = "key_x".into();
            }
            kept.ask(ADMIN, "POST", "api_keys/key_x/rotate", &json!({"grace_seconds": grace}), |ask| ask.keys = keys)
        };
        let look = |kept: &mut Kept, digest: &str| code(&shows(kept, "key_x", digest, KeyKind::Admin, wallet()));
        assert_eq!(told_body(&rotate(&mut kept, "y", 60))["id"], "key_x");
        assert_eq!((look(&mut kept, "digest of key_x"), look(&mut kept, "digest of key_y")), ("ok", "ok"));
        kept.account = kept.reloaded();
        kept.now = kept.now.after(60_000);
        assert_eq!((look(&mut kept, "digest of key_x"), look(&mut kept, "digest of key_y")), ("invalid_key", "ok"));
        rotate(&mut kept, "z", 0);
        assert_eq!((look(&mut kept, "digest of key_y"), look(&mut kept, "digest of key_z")), ("invalid_key", "ok"));
        rotate(&mut kept, "w", 60);
        kept.admin("DELETE", "api_keys/key_x", &Value::Null);
        assert_eq!(
            (look(&mut kept, "digest of key_z"), look(&mut kept, "digest of key_w")),
            ("invalid_key", "revoked_key")
        );
        assert_eq!(code(&rotate(&mut kept, "v", 0)), "key_revoked");
    }

    #[test]
    fn a_key_is_disabled_for_a_while_but_not_the_last_of_an_owner() {
        let mut kept = Kept::new("1");
        kept.make("api_keys", "x", &json!({"name": "x", "kind": "admin", "rpm": 5}));
        let off = json!({"status": "disabled", "rpm": null});
        let told = kept.admin("PATCH", "api_keys/key_x", &off);
        assert_eq!((&told_body(&told)["status"], &told_body(&told)["rpm"]), (&json!("disabled"), &Value::Null));
        let look = |kept: &mut Kept| code(&shows(kept, "key_x", "digest of key_x", KeyKind::Admin, wallet()));
        assert_eq!(look(&mut kept), "key_disabled");
        assert_eq!(code(&kept.admin("PATCH", &format!("api_keys/{ADMIN}"), &off)), "invalid_parameter");
        kept.admin("PATCH", "api_keys/key_x", &json!({"status": "active"}));
        assert_eq!(look(&mut kept), "ok");
        let told = kept.admin("GET", "api_keys/key_x", &Value::Null);
        assert_eq!(told_body(&told)["last_used_at"], kept.now.rfc3339());
    }

    #[test]
    fn whoever_holds_an_invite_becomes_what_it_says_once() {
        let mut kept = staffed();
        kept.put(
            &Scope::Group("grp_labs".into()),
            "member_defaults",
            &json!({
                "budgets": {"month": {"limit_usd": "50"}}, "rate_limits": {"rpm": 9},
            }),
        );
        let preset =
            json!({"name": "Zoe", "group_id": "grp_labs", "roles": [{"role": "group_admin", "scope": "grp_labs"}]});
        let invite = kept.ask("key_lead", "POST", "invites", &preset, |ask| ask.keys = made_keys("i"));
        assert_eq!((&told_body(&invite)["id"], &told_body(&invite)["status"]), (&json!("inv_i"), &json!("open")));
        let accept = |fresh: &str| AdminAsk {
            method: "POST".into(),
            path: "/admin/v1/invites/accept".into(),
            fresh: fresh.into(),
            keys: made_keys(fresh),
            ..AdminAsk::default()
        };
        let digest = "digest of inv_i";
        let others = shows(&mut kept, "inv_i", digest, KeyKind::Invite, wallet());
        assert_eq!(code(&others), "wrong_key_kind", "it opens nothing else");
        assert_eq!(
            code(&shows(&mut kept, "key_lead", "digest of key_lead", KeyKind::Admin, accept("n"))),
            "wrong_key_kind"
        );
        let told = shows(&mut kept, "inv_i", digest, KeyKind::Invite, accept("n"));
        let body = told_body(&told);
        assert_eq!((&body["member"]["name"], &body["member"]["group_id"]), (&json!("Zoe"), &json!("grp_labs")));
        assert_eq!(
            (&body["admin_key"]["id"], &body["admin_key"]["owner_member_id"]),
            (&json!("key_n"), &json!("mem_n"))
        );
        assert_eq!(code(&shows(&mut kept, "inv_i", digest, KeyKind::Invite, accept("o"))), "revoked_key", "once");
        let budget = kept.admin("GET", "members/mem_n/budgets/month", &Value::Null);
        assert_eq!(told_body(&budget)["limit_usd"], "50", "what new members get there");
        let rates = kept.admin("GET", "members/mem_n/rate_limits", &Value::Null);
        assert_eq!(told_body(&rates)["rpm"], 9);
        let invite = kept.admin("GET", "invites/inv_i", &Value::Null);
        assert_eq!(told_body(&invite)["status"], "accepted");
    }

    #[test]
    fn nobody_invites_to_more_than_it_has() {
        let mut kept = staffed();
        for (who, body, came) in [
            ("key_lead", json!({"roles": [{"role": "admin"}]}), "role_required"),
            ("key_lead", json!({"group_id": "grp_sales"}), "role_required"),
            ("key_boss", json!({"roles": [{"role": "owner"}]}), "role_required"),
            ("key_ada", json!({"group_id": "grp_labs"}), "role_required"),
            ("key_boss", json!({"roles": [{"role": "billing"}]}), "ok"),
            ("key_boss", json!({"expires_in_seconds": 0}), "invalid_parameter"),
        ] {
            let answer = kept.ask(who, "POST", "invites", &body, |ask| ask.keys = made_keys("i"));
            assert_eq!(code(&answer), came, "{who} {body}");
        }
        assert_eq!(code(&kept.ask("key_lead", "DELETE", "invites/inv_i", &Value::Null, |_| ())), "role_required");
        kept.ask("key_boss", "DELETE", "invites/inv_i", &Value::Null, |_| ());
        let accept = AdminAsk {
            method: "POST".into(),
            path: "/admin/v1/invites/accept".into(),
            keys: made_keys("n"),
            ..AdminAsk::default()
        };
        assert_eq!(code(&shows(&mut kept, "inv_i", "digest of inv_i", KeyKind::Invite, accept)), "revoked_key");
    }
}
