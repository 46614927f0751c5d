//! Alerts and where they go: webhooks as <https://www.standardwebhooks.com> has them (specification of 2023-12).
use crate::{
    access, base64,
    json::{self, json},
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;

/// What an endpoint hears that does not say what it wants: what needs somebody to act.
pub const USUAL: [&str; 8] = [
    "budget.threshold_reached",
    "budget.exhausted",
    "wallet.low_balance",
    "wallet.topped_up",
    "wallet.auto_topup_failed",
    "provider.degraded",
    "provider.recovered",
    "credential.failing",
];

/// Seconds until the next try, as the specification has them: five seconds to a day, three days in all.
const WAITS_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How long an old secret signs beside the new one.
const ROTATED_MS: u64 = 86_400_000;

/// Where alerts are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Webhook {
    pub url: String,
    /// Types, `prefix.*`, or `*`.
    pub events: Vec<String>,
    /// Only what happens in this group and below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub disabled: bool,
    pub created_at: Millis,
    /// The member who wrote it last: it hears of acts only while that one may read of them.
    pub written_by: String,
    /// Rises with every new secret: none is kept, they are made again from this.
    pub version: u64,
    pub rotated_at: Millis,
}

json::members!(default Webhook { url, events, group_id, description, disabled, created_at, written_by, version, rotated_at });

impl Webhook {
    /// Whether it wants an event of that type.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        let names = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => kind.starts_with(prefix),
            None => pattern == kind,
        };
        !self.disabled && self.events.iter().any(names)
    }

    /// The versions of the secret that sign now: the present one first.
    #[must_use]
    pub fn versions(&self, now: Millis) -> Vec<u64> {
        let before = self.version > 0 && now.since(self.rotated_at) < ROTATED_MS;
        std::iter::once(self.version).chain(before.then(|| self.version - 1)).collect()
    }
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    #[default]
    Pending,
    Delivered,
    /// Given up: a dead letter, until it is sent again.
    Failed,
}

json::words!(Stand { Pending = "pending", Delivered = "delivered", Failed = "failed" });

/// An alert on its way to one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Delivery {
    pub endpoint_id: String,
    pub status: Stand,
    pub attempts: u64,
    /// What the endpoint answered last; 0 for nothing.
    pub response_status: u64,
    pub next_at: Millis,
}

json::members!(default Delivery { endpoint_id, status, attempts, response_status, next_at });

impl Delivery {
    /// Takes in what a try came to. Whether the endpoint said that it is gone for good.
    pub fn tried(&mut self, status: u64, now: Millis) -> bool {
        self.response_status = status;
        self.attempts += 1;
        let wait = WAITS_S.get(usize::try_from(self.attempts).unwrap_or(usize::MAX) - 1);
        match (status, wait) {
            (200..=299, _) => self.status = Stand::Delivered,
            (410, _) | (_, None) => self.status = Stand::Failed,
            (_, Some(wait)) => self.next_at = now.after(wait * 1_000),
        }
        status == 410
    }
}

/// The secret of an endpoint: 32 bytes, told as `whsec_` and base64.
#[must_use]
pub fn secret(organization: &str, endpoint: &str, version: u64, pepper: &[u8]) -> [u8; 32] {
    access::derived(&format!("webhook\n{organization}\n{endpoint}\n{version}"), pepper)
}

/// A secret as it is shown.
#[must_use]
pub fn shown(secret: &[u8]) -> String {
    format!("whsec_{}", base64::padded(secret))
}

/// One request to an endpoint, but for its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    pub alert_id: String,
    pub endpoint_id: String,
    pub url: String,
    pub versions: Vec<u64>,
    pub at: Millis,
    pub body: String,
}

impl Sending {
    /// The request as the platform's plumbing takes it.
    #[must_use]
    pub fn request(&self, organization: &str, pepper: &[u8]) -> Value {
        let seconds = self.at.seconds();
        let content = format!("{}.{seconds}.{}", self.alert_id, self.body);
        let sign = |version: &u64| {
            let secret = secret(organization, &self.endpoint_id, *version, pepper);
            format!("v1,{}", base64::padded(&access::mac(content.as_bytes(), &secret)))
        };
        let signatures: Vec<String> = self.versions.iter().map(sign).collect();
        json!({
            "alert": self.alert_id,
            "endpoint": self.endpoint_id,
            "url": self.url,
            "headers": {
                "content-type": "application/json",
                "user-agent": "MegaRouter",
                "webhook-id": self.alert_id,
                "webhook-timestamp": seconds.to_string(),
                "webhook-signature": signatures.join(" "),
            },
            "body": self.body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_hear_what_they_asked_for() {
        let hook = |events: &[&str]| Webhook {
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            ..Webhook::default()
        };
        assert!(hook(&["budget.*"]).wants("budget.exhausted") && !hook(&["budget.*"]).wants("wallet.low_balance"));
        assert!(hook(&["*"]).wants("test") && hook(&USUAL).wants("wallet.topped_up"));
        assert!(!hook(&["budget"]).wants("budget.exhausted") && !hook(&[]).wants("test"));
        assert!(!Webhook { disabled: true, ..hook(&["*"]) }.wants("test"));
    }

    #[test]
    fn tries_are_further_and_further_apart_and_then_given_up() {
        let (mut delivery, mut waits) = (Delivery::default(), Vec::new());
        while delivery.status == Stand::Pending {
            assert!(!delivery.tried(500, Millis(0)));
            waits.push(delivery.next_at.0 / 1_000);
        }
        assert_eq!((waits.first(), waits.last(), waits.len()), (Some(&5), Some(&86_400), 10));
        assert_eq!(delivery.status, Stand::Failed);
        let mut gone = Delivery::default();
        assert!(gone.tried(410, Millis(0)) && gone.status == Stand::Failed);
        let mut taken = Delivery::default();
        assert!(!taken.tried(204, Millis(0)) && taken.status == Stand::Delivered);
    }

    /// The example of the specification's reference libraries:
    /// <https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/rust/src/lib.rs> signs this so.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = base64::of_padded("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let content = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(base64::padded(&access::mac(content, &secret)), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
