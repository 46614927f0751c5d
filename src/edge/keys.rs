//! Keys as they are made: their text is known here alone, and told once.
use super::{random, secrets};
use crate::json::put;
use crate::{
    access::{Key, KeyKind, derived},
    account::letter::{AdminAsk, Caller, MadeKey},
    alert,
    endpoint::Admin,
    fault::Fault,
};
use serde_json::{Map, Value};
use worker::Env;

/// What keys of an organisation are made of.
pub struct Mint {
    organization: String,
    secret: [u8; 20],
    pepper: Vec<u8>,
    /// The request, where it may come again: then the secret is made from it.
    once: String,
}

impl Mint {
    /// # Errors
    /// 503 without a pepper, or without chance.
    pub fn new(organization: &str, env: &Env) -> Result<Self, Fault> {
        let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
        let mut secret = [0; 20];
        random::fill(&mut secret)?;
        Ok(Self { organization: organization.to_owned(), secret, pepper, once: String::new() })
    }

    /// For the first key of an organisation that is made under an `Idempotency-Key`: asked for again, it is the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_founding(organization: &str, once: &str, env: &Env) -> Result<Self, Fault> {
        let mut mint = Self::new(organization, env)?;
        if !once.is_empty() {
            mint.once = ["found", once].join("\n");
            mint.made_at(organization);
        }
        Ok(mint)
    }

    /// For an act that makes a key. Asked for again with its `Idempotency-Key`, it makes the same: no text is kept to be told again.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_act(
        act: &Admin,
        ask: &AdminAsk,
        caller: &Caller,
        organization: &str,
        fresh: &str,
        env: &Env,
    ) -> Result<Option<Self>, Fault> {
        let makes = matches!(
            act,
            Admin::CreateKey
                | Admin::RotateKey(_)
                | Admin::CreateInvite
                | Admin::AcceptInvite
                | Admin::CreateWebhook
                | Admin::RotateWebhook(_)
        );
        if !makes {
            return Ok(None);
        }
        let mut mint = Self::new(organization, env)?;
        if !ask.once.is_empty() {
            mint.once = ["once", organization, &caller.key_id, &ask.once, &ask.path, &ask.body].join("\n");
            mint.made_at(fresh);
        }
        Ok(Some(mint))
    }

    /// The secret that a request made when it came with that ULID.
    fn made_at(&mut self, fresh: &str) {
        let made = derived(&format!("{}\n{fresh}", self.once), &self.pepper);
        for (place, byte) in self.secret.iter_mut().zip(made) {
            *place = byte;
        }
    }

    fn key(&self, kind: KeyKind, ulid: &str) -> Key {
        Key::mint(kind, &self.organization, ulid, self.secret, &self.pepper)
    }

    /// What is kept of it, whichever kind it is to be.
    pub fn kept(&self, ulid: &str) -> Vec<MadeKey> {
        let kept = |kind: KeyKind| {
            let key = self.key(kind, ulid);
            MadeKey {
                id: key.id(),
                kind,
                digest: key.digest(&self.pepper).unwrap_or_default(),
                redacted: key.redacted(),
            }
        };
        KeyKind::ALL.map(kept).into()
    }

    /// Adds the text to what is told of the key: by the id that is told, which is that of the first time.
    pub fn reveal(mut self, made: Option<&Value>, told: &mut Value) {
        // It came before: what it made then is told again.
        if let Some(made) = made.and_then(Value::as_str) {
            self.made_at(made);
        }
        let key = if told.get("admin_key").is_some() { told.get_mut("admin_key") } else { Some(told) };
        let Some(members) = key.and_then(Value::as_object_mut) else { return };
        let id = members.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let shown = match members.get("secret_version").and_then(Value::as_u64) {
            Some(version) => alert::shown(&alert::secret(&self.organization, &id, version, &self.pepper)),
            None => self.key(kind_of(members), &id).reveal().to_owned(),
        };
        put(members, "secret", shown.into());
    }
}

fn kind_of(members: &Map<String, Value>) -> KeyKind {
    let kind = members.get("kind").and_then(Value::as_str).unwrap_or("invite");
    KeyKind::ALL.into_iter().find(|known| known.word() == kind).unwrap_or(KeyKind::Invite)
}
