//! The audit trail: who changed what of an organisation. Each act is an entry without legs, sealed over the one before it;
//! this room says what stands in its note and how the trail is asked.
use crate::{
    catalog::sha256_hex,
    endpoint::percent_decoded,
    fault::Fault,
    json::{self, json},
    time::Millis,
};
use serde_json::{Map, Value};

/// Members of an answer that move by themselves: nobody changed them.
const VOLATILE: [&str; 9] = [
    "state",
    "auto_topup_state",
    "last_used_at",
    "secret",
    "object",
    "available_usd",
    "held_usd",
    "posted_usd",
    "credits_usd",
];

/// A tag of an object's state, for `ETag` and `If-Match` (RFC 9110, section 8.8.3): what moves by itself is left out.
#[must_use]
pub fn tag(told: &Value) -> String {
    let stable = told.as_object().map(|members| {
        let kept = members.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>()
    });
    let hash = sha256_hex(json::written(&stable.map_or(Value::Null, Value::Object)).as_bytes());
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}

/// Whether a header `If-Match` lets an object pass: empty for no header, null for no object.
#[must_use]
pub fn matches(if_match: &str, told: &Value) -> bool {
    let wanted = |one: &str| one == "*" && !told.is_null() || one == tag(told);
    if_match.is_empty() || if_match.split(',').map(str::trim).any(wanted)
}

/// What of two states differs, each with its own values. Where one is nothing, the other is told whole.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> (Value, Value) {
    let part = |of: &Value, other: &Value| match (of, other) {
        (Value::Object(members), Value::Object(others)) => {
            let differs = |(name, value): &(&String, &Value)| {
                !VOLATILE.contains(&name.as_str()) && others.get(name.as_str()) != Some(*value)
            };
            Value::Object(members.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        _ => of.clone(),
    };
    (part(before, after), part(after, before))
}

/// The path of the object an act is on: what a `GET` tells of it. `None` where it makes a new one.
#[must_use]
pub fn object_path(method: &str, path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    if method == "POST" {
        // Acts on an object stand behind it: /admin/v1/groups/grp_x/archive.
        let (object, _) = path.rsplit_once('/').filter(|(object, _)| object.split('/').count() > 4)?;
        return Some(object.to_owned());
    }
    Some(path.strip_suffix("/override").unwrap_or(path).to_owned())
}

/// The word of an act, as in `api_key.created`.
#[must_use]
pub fn verb(method: &str, path: &str, is_new: bool) -> &'static str {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match (method, last) {
        ("POST", "archive") => "archived",
        ("POST", "move") => "moved",
        ("POST", "disable") => "disabled",
        ("POST", "rotate") => "rotated",
        ("POST", "accept") => "accepted",
        ("POST", "test") => "tested",
        ("POST", "resend") => "resent",
        ("POST", "rotate_secret") => "secret_rotated",
        ("DELETE", "override") => "updated",
        ("DELETE", _) => "deleted",
        _ if is_new => "created",
        _ => "updated",
    }
}

/// The journal's name for the trail of an account: a chain beside that of its ledger.
#[must_use]
pub fn account_of(account: &str) -> String {
    format!("{account}/audit")
}

/// The condition of a parameter of `GET /admin/v1/audit_logs`.
///
/// # Errors
/// 400 for a moment that is none, or a parameter that is not known.
pub fn condition(name: &str, value: &str) -> Result<(&'static str, String), Fault> {
    let moment = || {
        let at = Millis::of_rfc3339(value).or_else(|| Millis::of_date(value)).map(|at| at.0.to_string());
        at.ok_or_else(|| Fault::parameter(name, format!("{name} is a moment, like 2026-12-01T00:00:00Z.")))
    };
    let plain = percent_decoded(name);
    Ok(match plain.strip_suffix("[]").unwrap_or(&plain) {
        "event_type" => ("note ->> 'type' = ?", value.to_owned()),
        "actor_id" => ("? IN (note ->> '$.actor.member_id', note ->> '$.actor.api_key_id')", value.to_owned()),
        "resource_id" => ("note ->> '$.resource.id' = ?", value.to_owned()),
        "from" | "effective_at[gte]" => ("at >= CAST(? AS INTEGER)", moment()?),
        "to" | "effective_at[lt]" => ("at < CAST(? AS INTEGER)", moment()?),
        _ => {
            let text = "The query takes limit, after, event_type, actor_id, resource_id, from and to.";
            return Err(Fault::parameter(name, text));
        }
    })
}

/// The condition of those who see only some scopes, told as a JSON list.
#[must_use]
pub fn seen(scopes: &Value) -> (&'static str, String) {
    let inside = "EXISTS (SELECT 1 FROM json_each(note, '$.scopes') AS one, json_each(?) AS seen \
                  WHERE one.value = seen.value)";
    (inside, json::written(scopes))
}

/// An entry of the trail as it is told. Its note stands in it member by member, in order, so that its text can be made again.
#[must_use]
pub fn told(entry: &crate::ledger::Entry) -> Value {
    let mut told = json!({
        "object": "audit_log",
        "id": entry.id,
        "seq": entry.seq,
        "at": entry.at.rfc3339_ms(),
    });
    if let Some(members) = told.as_object_mut() {
        let note = json::read::<Value>(entry.note.as_deref().unwrap_or_default()).unwrap_or_default();
        if let Value::Object(note) = note {
            members.extend(note);
        }
        json::put(members, "prev_hash", json!(entry.prev_hash));
        json::put(members, "hash", json!(entry.hash));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_by_itself_changes_no_tag() {
        let told = json!({"id": "month", "limit_usd": "5", "state": {"posted_usd": "1"}});
        let spent = json!({"id": "month", "limit_usd": "5", "state": {"posted_usd": "2"}});
        let raised = json!({"id": "month", "limit_usd": "6", "state": {"posted_usd": "1"}});
        assert_eq!(tag(&told), tag(&spent));
        assert_ne!(tag(&told), tag(&raised));
        assert!(matches("", &told) && matches("*", &told) && matches(&format!("\"x\", {}", tag(&spent)), &told));
        assert!(!matches(&tag(&raised), &told) && !matches("*", &Value::Null));
    }

    #[test]
    fn only_what_differs_is_told() {
        let (before, after) = difference(&json!({"a": 1, "b": 2, "state": 1}), &json!({"a": 1, "b": 3, "state": 2}));
        assert_eq!((before, after), (json!({"b": 2}), json!({"b": 3})));
        assert_eq!(difference(&Value::Null, &json!({"a": 1})), (Value::Null, json!({"a": 1})));
    }

    #[test]
    fn an_act_has_an_object_and_a_word() {
        for (method, path, object, word) in [
            ("POST", "/admin/v1/groups", None, "created"),
            ("POST", "/admin/v1/groups/grp_a/move", Some("/admin/v1/groups/grp_a"), "moved"),
            ("POST", "/admin/v1/invites/accept", None, "accepted"),
            ("PATCH", "/admin/v1/groups/grp_a/", Some("/admin/v1/groups/grp_a"), "updated"),
            ("DELETE", "/admin/v1/api_keys/key_a", Some("/admin/v1/api_keys/key_a"), "deleted"),
            (
                "PUT",
                "/admin/v1/organization/budgets/day/override",
                Some("/admin/v1/organization/budgets/day"),
                "updated",
            ),
        ] {
            assert_eq!(object_path(method, path).as_deref(), object, "{path}");
            assert_eq!(verb(method, path, method == "POST"), word, "{path}");
        }
    }
}
