//! Bodies about keys and invites.
use super::{MemberAsk, member, named, names_fit, rates, read};
use crate::{
    access::{KeyKind, role::RoleGrant},
    account::letter::KeySpec,
    budget::RateLimits,
    fault::Fault,
    json,
    time::Millis,
};
use serde_json::{Map, Value};

/// The longest life of a key: a year.
const EXPIRES_IN_SECONDS_MAX: u64 = 31_536_000;
/// How long an invite is good, unless it says so, and at most.
const INVITE_SECONDS: u64 = 7 * 86_400;
const INVITE_SECONDS_MAX: u64 = 30 * 86_400;
/// How long a secret stays good beside its successor, at most.
const GRACE_SECONDS_MAX: u64 = 86_400;

/// `POST /admin/v1/api_keys`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyAsk {
    name: String,
    kind: Option<KeyKind>,
    owner_member_id: Option<String>,
    model_allowlist: Option<Vec<String>>,
    provider_allowlist: Option<Vec<String>>,
    rpm: Option<u64>,
    tpm: Option<u64>,
    concurrency: Option<u64>,
    expires_in_seconds: Option<u64>,
}

json::members!(strict KeyAsk {
    name, kind, owner_member_id, model_allowlist, provider_allowlist, rpm, tpm, concurrency, expires_in_seconds,
});

impl KeyAsk {
    /// The kind and the rules of the key.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn spec(self, now: Millis) -> Result<(KeyKind, KeySpec), Fault> {
        named(&self.name)?;
        rates(RateLimits { rpm: self.rpm, tpm: self.tpm, concurrency: self.concurrency })?;
        let life = self.expires_in_seconds.map(|seconds| lasts(seconds, EXPIRES_IN_SECONDS_MAX)).transpose()?;
        if self.kind == Some(KeyKind::Invite) {
            return Err(Fault::parameter(
                "kind",
                "kind is inference or admin. Invites are made by POST /admin/v1/invites.",
            ));
        }
        for (list, member) in
            [(&self.model_allowlist, "model_allowlist"), (&self.provider_allowlist, "provider_allowlist")]
        {
            if list.as_ref().is_some_and(|list| !names_fit(list, 1_000)) {
                return Err(Fault::parameter(member, format!("{member} is a list of at most 1000 names.")));
            }
        }
        let spec = KeySpec {
            name: self.name,
            model_allowlist: self.model_allowlist,
            provider_allowlist: self.provider_allowlist,
            rpm: self.rpm,
            tpm: self.tpm,
            concurrency: self.concurrency,
            expires_at: life.map(|seconds| now.seconds() + seconds),
            owner_member_id: self.owner_member_id,
        };
        Ok((self.kind.unwrap_or(KeyKind::Inference), spec))
    }
}

/// A life in seconds.
fn lasts(seconds: u64, most: u64) -> Result<u64, Fault> {
    if seconds == 0 || seconds > most {
        let text = format!("expires_in_seconds is a number from 1 to {most}, or left out.");
        return Err(Fault::parameter("expires_in_seconds", text));
    }
    Ok(seconds)
}

/// What a `PATCH` of a key may name.
const CHANGEABLE: [&str; 7] =
    ["name", "model_allowlist", "provider_allowlist", "rpm", "tpm", "concurrency", "expires_in_seconds"];

/// A key's rules with what a `PATCH` says in them, and whether it is to be disabled. Null takes a limit away.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn changed_key(old: &KeySpec, body: &[u8], now: Millis) -> Result<(KeySpec, Option<bool>), Fault> {
    let mut asked: Value = read(body)?;
    let Some(asked) = asked.as_object_mut() else {
        return Err(Fault::invalid("invalid_parameter", "The body is an object with what is to change."));
    };
    let disabled = match asked.remove("status").as_ref().map(Value::as_str) {
        None => None,
        Some(Some("active")) => Some(false),
        Some(Some("disabled")) => Some(true),
        Some(_) => return Err(Fault::parameter("status", "status is active or disabled.")),
    };
    if let Some(name) = asked.keys().find(|name| !CHANGEABLE.contains(&name.as_str())) {
        let text = format!("{name:.60} cannot be changed. A key has {} and status.", CHANGEABLE.join(", "));
        return Err(Fault::parameter(name, text));
    }
    let keeps_its_life = !asked.contains_key("expires_in_seconds");
    let mut members: Map<String, Value> = Map::new();
    if let Value::Object(known) = json::told_by_text(old) {
        members.extend(known.into_iter().filter(|(name, _)| CHANGEABLE.contains(&name.as_str())));
    }
    members.extend(std::mem::take(asked));
    members.retain(|_, value| !value.is_null());
    let ask: KeyAsk = read(json::written(&Value::Object(members)).as_bytes())?;
    let (_, mut spec) = ask.spec(now)?;
    spec.owner_member_id.clone_from(&old.owner_member_id);
    if keeps_its_life {
        spec.expires_at = old.expires_at;
    }
    Ok((spec, disabled))
}

/// `POST /admin/v1/api_keys/{id}/rotate`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotateAsk {
    grace_seconds: u64,
}

json::members!(strict default RotateAsk { grace_seconds });

impl RotateAsk {
    /// Until when the old secret is good.
    ///
    /// # Errors
    /// 400 for more than a day.
    pub fn grace(&self, now: Millis) -> Result<Millis, Fault> {
        if self.grace_seconds > GRACE_SECONDS_MAX {
            let text = format!("grace_seconds is a number from 0 to {GRACE_SECONDS_MAX}.");
            return Err(Fault::parameter("grace_seconds", text));
        }
        Ok(now.after(self.grace_seconds * 1_000))
    }
}

/// `POST /admin/v1/invites`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InviteAsk {
    name: Option<String>,
    email: Option<String>,
    roles: Option<Vec<RoleGrant>>,
    group_id: Option<String>,
    expires_in_seconds: Option<u64>,
}

json::members!(strict default InviteAsk { name, email, roles, group_id, expires_in_seconds });

impl InviteAsk {
    /// Who it makes a member of, and until when, in seconds since 1970.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn member(self, now: Millis) -> Result<(MemberAsk, u64), Fault> {
        let life = lasts(self.expires_in_seconds.unwrap_or(INVITE_SECONDS), INVITE_SECONDS_MAX)?;
        let Self { name, email, roles, group_id, .. } = self;
        Ok((member(MemberAsk { name, email, group_id, roles, ..MemberAsk::default() }, false)?, now.seconds() + life))
    }
}

/// A name: `POST /admin/v1/invites/accept`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameAsk {
    name: Option<String>,
}

json::members!(strict default NameAsk { name });

impl NameAsk {
    /// The name, where it says one.
    ///
    /// # Errors
    /// 400 for an empty or long one.
    pub fn check(self) -> Result<Option<String>, Fault> {
        self.name.as_deref().map_or(Ok(()), named)?;
        Ok(self.name)
    }
}

/// `PATCH /admin/v1/organization`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationAsk {
    pub name: Option<String>,
    pub payment_challenge: Option<bool>,
}

json::members!(strict default OrganizationAsk { name, payment_challenge });

impl OrganizationAsk {
    /// # Errors
    /// 400 for an empty or long name.
    pub fn check(self) -> Result<Self, Fault> {
        self.name.as_deref().map_or(Ok(()), named)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ask_is_checked() {
        let spec = |text: &str| read::<KeyAsk>(text.as_bytes()).and_then(|ask| ask.spec(Millis(5_000)));
        let (kind, spec_read) = spec(r#"{"name":"a","rpm":5,"expires_in_seconds":10}"#).expect("good");
        assert_eq!((kind, spec_read.rpm, spec_read.expires_at), (KeyKind::Inference, Some(5), Some(15)));
        for (text, param) in [
            (r#"{"name":""}"#, Some("name")),
            (r#"{"name":"a","rpm":0}"#, Some("rpm")),
            (r#"{"name":"a","nme":1}"#, None),
            ("{", None),
        ] {
            let fault = spec(text).expect_err(text);
            assert_eq!((fault.status, fault.param.as_deref()), (400, param));
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_takes_away() {
        let old = KeySpec { name: "a".into(), rpm: Some(5), tpm: Some(6), expires_at: Some(9), ..KeySpec::default() };
        let changed = |text: &str| changed_key(&old, text.as_bytes(), Millis(5_000));
        let (spec, disabled) = changed(r#"{"rpm":7,"tpm":null,"status":"disabled"}"#).expect("good");
        assert_eq!(
            (spec.name.as_str(), spec.rpm, spec.tpm, spec.expires_at, disabled),
            ("a", Some(7), None, Some(9), Some(true))
        );
        let (spec, _) = changed(r#"{"expires_in_seconds":null}"#).expect("good");
        assert_eq!(spec.expires_at, None);
        let params =
            [r#"{"kind":"admin"}"#, r#"{"owner_member_id":"mem_x"}"#, r#"{"status":1}"#, r#"{"rpm":0}"#].map(changed);
        let params = params.map(|told| told.expect_err("out of bounds").into_inner().param.unwrap_or_default());
        assert_eq!(params, ["kind", "owner_member_id", "status", "rpm"]);
        assert!(changed("[]").is_err() && changed("{").is_err());
    }
}
