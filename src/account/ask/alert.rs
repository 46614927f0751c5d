//! Bodies about alerts.
use super::{NAME_MAX, safe_base_url};
use crate::{
    alert::{USUAL, Webhook},
    fault::Fault,
    json::{self, json},
    money::Nanos,
    payment::stripe,
    time::Millis,
};
use serde_json::Value;

/// An endpoint as an admin says it. Absent members stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookAsk {
    url: Option<String>,
    events: Option<Vec<String>>,
    group_id: Option<String>,
    description: Option<String>,
    status: Option<String>,
}

json::members!(strict default WebhookAsk { url, events, group_id, description, status });

impl WebhookAsk {
    /// A new endpoint.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn first(self, private_allowed: bool, now: Millis) -> Result<Webhook, Fault> {
        let events = USUAL.map(str::to_owned).into();
        let group_id = self.group_id.clone();
        if self.url.is_none() {
            return Err(Fault::parameter("url", "url says where alerts are sent: https://host/path."));
        }
        Self { group_id: None, ..self }
            .over(Webhook { events, group_id, created_at: now, ..Webhook::default() }, private_allowed)
    }

    /// An endpoint with what is said of it.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn over(self, mut hook: Webhook, private_allowed: bool) -> Result<Webhook, Fault> {
        if self.group_id.is_some() {
            return Err(Fault::parameter("group_id", "An endpoint stays where it was made. Make another there."));
        }
        if let Some(url) = self.url {
            // Some receivers have their token in the query.
            let bare = url.split_once('?').map_or(url.as_str(), |(bare, _)| bare);
            let plain = url.len() <= 500 && url.bytes().all(|byte| byte.is_ascii_graphic());
            safe_base_url(bare, private_allowed)
                .map_err(|why| Fault::parameter("url", why.replacen("base_url", "url", 1)))?;
            if !plain {
                return Err(Fault::parameter("url", "url has at most 500 characters of ASCII."));
            }
            hook.url = url;
        }
        if let Some(events) = self.events {
            let good = |event: &String| !event.is_empty() && event.len() <= 100;
            if events.is_empty() || events.len() > 50 || !events.iter().all(good) {
                return Err(Fault::parameter("events", "events are 1 to 50 types, like \"budget.*\" or \"*\"."));
            }
            hook.events = events;
        }
        if self.description.as_ref().is_some_and(|text| text.chars().count() > NAME_MAX) {
            return Err(Fault::parameter("description", format!("description has at most {NAME_MAX} characters.")));
        }
        hook.description = self.description.or(hook.description);
        hook.disabled = match self.status.as_deref() {
            None => hook.disabled,
            Some("active") => false,
            Some("disabled") => true,
            Some(_) => return Err(Fault::parameter("status", "status is active or disabled.")),
        };
        Ok(hook)
    }
}

/// `POST /admin/v1/wallet/topups`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopUpAsk {
    method: String,
    amount_usd: Nanos,
    /// Where whoever paid is led back to.
    return_url: String,
    /// The card may be charged again, for top-ups by themselves.
    save_card: bool,
}

json::members!(strict TopUpAsk { method, amount_usd, return_url = "https://stripe.com".to_owned(), save_card = false });

impl TopUpAsk {
    /// A top-up to be paid.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn told(&self, id: &str) -> Result<Value, Fault> {
        if !["card", "stablecoin"].contains(&self.method.as_str()) {
            return Err(Fault::parameter("method", "method is \"card\" or \"stablecoin\"."));
        }
        let cents = stripe::cents(self.amount_usd).ok_or_else(|| {
            Fault::parameter("amount_usd", "amount_usd is an amount in whole cents from 1 to 100000 dollars.")
        })?;
        if !self.return_url.starts_with("https://") || self.return_url.len() > 500 {
            return Err(Fault::parameter(
                "return_url",
                "return_url begins with https:// and has at most 500 characters.",
            ));
        }
        if self.save_card && self.method != "card" {
            return Err(Fault::parameter("save_card", "Only the method \"card\" has a card to save."));
        }
        Ok(json!({
            "object": "topup",
            "id": id,
            "status": "pending",
            "method": self.method,
            "amount_usd": self.amount_usd,
            "return_url": self.return_url,
            "save_card": self.save_card,
            "cents": cents,
        }))
    }
}

/// When the saved card is charged by itself, by how much, and by how much at most on a day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoTopUpAsk {
    pub threshold_usd: Nanos,
    pub amount_usd: Nanos,
    pub daily_limit_usd: Nanos,
}

json::members!(strict AutoTopUpAsk { threshold_usd, amount_usd, daily_limit_usd });

/// `PATCH /admin/v1/wallet`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletAsk {
    /// Below what somebody is told; `None` for never.
    pub low_balance_alert_usd: Option<Nanos>,
    pub auto_topup: Option<AutoTopUpAsk>,
}

json::members!(strict default WalletAsk { low_balance_alert_usd, auto_topup });

impl WalletAsk {
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn check(self) -> Result<Self, Fault> {
        if self.low_balance_alert_usd.is_some_and(|mark| mark.0 < 0) {
            return Err(Fault::parameter(
                "low_balance_alert_usd",
                "low_balance_alert_usd is an amount from 0, or null.",
            ));
        }
        let fits = |ask: &AutoTopUpAsk| {
            let whole = stripe::cents(ask.amount_usd).is_some();
            whole && ask.threshold_usd > Nanos::ZERO && ask.daily_limit_usd >= ask.amount_usd
        };
        if !self.auto_topup.as_ref().is_none_or(fits) {
            return Err(Fault::parameter(
                "auto_topup",
                "auto_topup has a threshold_usd above 0, an amount_usd in whole cents from 1 to 100000 dollars, and a daily_limit_usd \
                 of at least that amount.",
            ));
        }
        Ok(self)
    }
}
