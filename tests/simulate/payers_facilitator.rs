//! Facilitators: honest ones, and all the ways in which they are not, are down, are slow, or say one thing and do another.
use super::{
    Step, World,
    chain::{Order, block_of},
};
use megarouter::time::Millis;
use serde_json::{Value, json};

/// What it comes to: an answer, or none.
pub type Told = Option<(u16, Value)>;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Honest,
    Down,
    /// Does it and never answers.
    Silent,
    /// Does it much later, and never answers.
    Late(u64),
    /// Says that it is settled, by a transaction that is none.
    Lies,
    /// By one that moved another payment.
    LiesOfAnother,
    /// By one that failed.
    LiesOfFailure,
    /// Says that it is settled before it is.
    Early(u64),
    /// Has sent the transaction, and does not know yet; it is mined or not.
    Pending(Option<u64>),
    /// An error of its own, whether or not it was settled.
    Fails(bool),
    /// Something that cannot be read.
    Garbage(bool),
}

fn order_of(ask: &Value) -> Order {
    let inner = &ask["paymentPayload"]["payload"];
    let requirements = &ask["paymentRequirements"];
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    let permit = if inner["type"] == "deposit" { &inner["deposit"]["authorization"] } else { &inner["authorization"] };
    let most = number(&permit["value"]);
    let channel = inner["voucher"]["channelId"].as_str().filter(|_| inner["type"] == "deposit");
    let asked = requirements["amount"].as_str().and_then(|text| text.parse().ok()).unwrap_or(most);
    Order {
        by_payer: permit["from"] == super::chain::PAYER.to_string(),
        nonce: permit["nonce"].as_str().unwrap_or_default().to_owned(),
        units: if channel.is_some() { most } else { asked },
        most,
        valid_before: number(&permit["validBefore"]),
        channel: channel.map(str::to_owned),
        authorized: requirements["scheme"] != "upto",
    }
}

impl World {
    fn mood(&mut self, verifies: bool, of_channel: bool) -> Mood {
        let storm = self.weather.facilitator;
        if !self.chance.one_in(storm) {
            return Mood::Honest;
        }
        let late = self.chance.span(&[3_000, 60_000, 600_000, 1_500_000]);
        let does = self.chance.one_in(2);
        let mood = match self.chance.below(if verifies { 4 } else { 11 }) {
            0 | 10 => Mood::Down,
            1 => Mood::Fails(does),
            2 => Mood::Garbage(does),
            3 => Mood::Silent,
            4 => Mood::Late(late),
            5 => Mood::Lies,
            6 => Mood::LiesOfAnother,
            7 => Mood::LiesOfFailure,
            8 => Mood::Early(late),
            _ => Mood::Pending(does.then_some(late)),
        };
        let lies = matches!(mood, Mood::Lies | Mood::LiesOfAnother | Mood::LiesOfFailure);
        // Who settles a channel is the only one who can tell of it: there it has to be trusted.
        let trusted = of_channel && (lies || matches!(mood, Mood::Early(_)));
        if trusted || lies && !self.weather.lies { Mood::Silent } else { mood }
    }

    /// A request reaches a facilitator.
    pub(super) fn facilitator(&mut self, url: &str, body: &str) -> Told {
        let ask: Value = serde_json::from_str(body).expect("JSON");
        let verifies = url.ends_with("/verify");
        let kind = ask["paymentPayload"]["payload"]["type"].as_str().unwrap_or_default().to_owned();
        let mood = self.mood(verifies, !kind.is_empty());
        self.note(|| {
            format!("a facilitator is asked to {} {kind}: {mood:?}", if verifies { "verify" } else { "settle" })
        });
        if mood == Mood::Down {
            self.seen.count("facilitator down");
            return None;
        }
        if verifies {
            let told = self.verify(&ask, &kind);
            return self.dressed(told, mood, "verify");
        }
        match kind.as_str() {
            "claim" | "refund" | "settle" => {
                if let Mood::Late(ms) = mood {
                    self.seen.count("facilitator late");
                    self.after(ms, Step::Errand(body.to_owned()));
                    return None;
                }
                let does = !matches!(mood, Mood::Pending(_) | Mood::Fails(false) | Mood::Garbage(false));
                let told = if does { self.errand(&ask) } else { json!({}) };
                self.dressed(told, mood, "settle")
            }
            _ => self.settle(&order_of(&ask), mood),
        }
    }

    fn settle(&mut self, order: &Order, mood: Mood) -> Told {
        let now = self.now;
        if let Some(hash) = self.chain.used.get(&order.nonce).cloned() {
            let tells = self.settlers.rpc_urls.is_empty() || self.chance.one_in(3);
            let again = tells && self.chain.transfers.contains_key(&hash);
            // Some know it again.
            let told = if again { self.done(&hash, order) } else { failed("nonce_already_used") };
            return self.dressed(told, mood, "settle");
        }
        let hash = self.chain.hash();
        match mood {
            Mood::Lies | Mood::LiesOfFailure | Mood::LiesOfAnother => {
                let mut others = self.chain.transfers.values().filter(|other| {
                    // One that is still remembered.
                    !other.in_channel && other.by_payer && other.block + 900 > block_of(now)
                });
                let other = others.next_back().map(|other| other.hash.clone());
                let hash = match (mood, other) {
                    (Mood::LiesOfAnother, Some(other)) => other,
                    _ => hash,
                };
                if mood == Mood::LiesOfFailure {
                    self.chain.reverted.insert(hash.clone(), block_of(now));
                }
                self.seen.count(match mood {
                    Mood::Lies => "facilitator lies",
                    Mood::LiesOfFailure => "facilitator lies of a failure",
                    _ => "facilitator lies of another's",
                });
                self.books.lies.insert(hash.clone());
                Some((200, self.done(&hash, order)))
            }
            Mood::Early(ms) | Mood::Pending(Some(ms)) | Mood::Late(ms) => {
                self.after(ms, Step::Mined { order: Box::new(order.clone()), hash: hash.clone() });
                match mood {
                    Mood::Early(_) => {
                        self.seen.count("facilitator early");
                        // Whether it will be what was said is not known yet.
                        self.books.lies.insert(hash.clone());
                        Some((200, self.done(&hash, order)))
                    }
                    Mood::Pending(_) => {
                        self.seen.count("settlement pending");
                        Some((200, json!({"success": false, "errorReason": "settlement_pending", "transaction": hash})))
                    }
                    _ => {
                        self.seen.count("facilitator late");
                        None
                    }
                }
            }
            Mood::Pending(None) => {
                self.seen.count("settlement pending for ever");
                Some((200, json!({"success": false, "errorReason": "settlement_pending", "transaction": hash})))
            }
            Mood::Fails(false) | Mood::Garbage(false) => self.dressed(json!({}), mood, "settle"),
            _ => {
                let mined = self.chain.mine(order, &hash, now);
                self.note(|| format!("{order:?} is mined as {hash}: {mined:?}"));
                let told = match mined {
                    Ok(()) => {
                        self.seen.count("settled");
                        self.done(&hash, order)
                    }
                    Err(reason) => {
                        self.seen.count("settlement refused");
                        failed(reason)
                    }
                };
                self.dressed(told, mood, "settle")
            }
        }
    }

    fn done(&self, hash: &str, order: &Order) -> Value {
        let mut told = json!({"success": true, "transaction": hash, "network": super::chain::NETWORK});
        if let Some(id) = &order.channel {
            told["extra"] = json!({"channelState": self.chain.told(id)});
        }
        told
    }

    /// An answer as it is told, in one of the dialects, or not at all.
    fn dressed(&mut self, told: Value, mood: Mood, verb: &str) -> Told {
        match mood {
            Mood::Silent => {
                self.seen.count("facilitator silent");
                None
            }
            Mood::Fails(_) => {
                self.seen.count("facilitator fails");
                let (member, reason) =
                    if verb == "verify" { ("isValid", "invalidReason") } else { ("success", "errorReason") };
                let (status, code) = *self.chance.of(&[
                    (500, "unexpected_error"),
                    (400, "unexpected_settle_error"),
                    (503, "insufficient_funds"),
                ]);
                Some((status, json!({member: false, reason: code})))
            }
            Mood::Garbage(_) => {
                self.seen.count("facilitator garbles");
                Some((*self.chance.of(&[200, 502, 404]), json!("<html>")))
            }
            _ => {
                let refused = told["success"] == false || told["isValid"] == false;
                let status = if refused && self.chance.one_in(2) { 400 } else { 200 };
                if refused {
                    self.seen.count(if status == 400 { "refused by 400" } else { "refused by 200" });
                }
                Some((status, told))
            }
        }
    }

    fn verify(&self, ask: &Value, kind: &str) -> Value {
        let now = self.now;
        let invalid = |reason: &str| json!({"isValid": false, "invalidReason": reason});
        if kind.is_empty() {
            let order = order_of(ask);
            return self.chain.refuses(&order, now).map_or_else(|| json!({"isValid": true}), invalid);
        }
        let voucher = &ask["paymentPayload"]["payload"]["voucher"];
        let id = voucher["channelId"].as_str().unwrap_or_default();
        let most: u64 = voucher["maxClaimableAmount"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        let channel = self.chain.channels.get(id).copied().unwrap_or_default();
        match channel.balance {
            0 => invalid("channel_not_found"),
            balance if most > balance => invalid("cumulative_exceeds_balance"),
            _ if most <= channel.claimed => invalid("cumulative_below_claimed"),
            _ => json!({"isValid": true, "extra": self.chain.told(id)}),
        }
    }

    /// What is done with channels in the operator's name.
    pub(super) fn errand(&mut self, ask: &Value) -> Value {
        let payload = &ask["paymentPayload"]["payload"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        let hash = self.chain.hash();
        let done = |extra: Value| json!({"success": true, "transaction": hash, "network": super::chain::NETWORK, "extra": extra});
        let id = text(&payload["channelConfig"]["id"]);
        let kept = self.chain.channels.get(&id).copied();
        let unsigned = |name: &str| payload[name].as_str().is_none_or(|digest| digest.len() != 66);
        let own = |config: &Value| config["own"] == true;
        if own(&payload["channelConfig"]) && unsigned("refundAuthorizerSignature")
            || own(&payload["claims"][0]["voucher"]["channel"]) && unsigned("claimAuthorizerSignature")
        {
            self.chain.outrage = Some(format!("nothing of ours is signed for {payload}"));
        }
        for claim in payload["claims"].as_array().into_iter().flatten() {
            let voucher = &claim["voucher"];
            let (id, most) = (text(&voucher["channel"]["id"]), number(&voucher["maxClaimableAmount"]));
            let claimed = self.chain.claim(&id, most, &text(&claim["signature"]), number(&claim["totalClaimed"]));
            if let Err(reason) = claimed {
                self.seen.count("claim refused");
                return failed(reason);
            }
            self.seen.count("claimed");
        }
        let told = match text(&payload["type"]).as_str() {
            "claim" => done(json!({})),
            "settle" => match self.chain.sweep() {
                Ok(()) => done(json!({})),
                Err(reason) => failed(reason),
            },
            _ => match self.chain.refund(&id, number(&payload["amount"]), number(&payload["refundNonce"])) {
                Ok(_) => {
                    self.seen.count("channel left");
                    done(json!({"channelState": self.chain.told(&id)}))
                }
                Err(reason) => {
                    // Both or neither.
                    self.chain.take_back(&id, kept);
                    failed(reason)
                }
            },
        };
        self.note(|| format!("errand {}: {told}", payload["type"]));
        told
    }
}

fn failed(reason: &str) -> Value {
    json!({"success": false, "errorReason": reason, "transaction": ""})
}

/// The time of a request to a facilitator, until nobody waits for it any more.
pub const PATIENCE_MS: u64 = 20_000;

/// When a transaction that was sent is mined at the latest is the payer's to say: see [`Order::valid_before`].
pub fn mined(world: &mut World, order: &Order, hash: &str, now: Millis) {
    let mined = world.chain.mine(order, hash, now);
    world.note(|| format!("{order:?} is mined as {hash}: {mined:?}"));
    world.seen.count(if mined.is_ok() { "mined later" } else { "mined in vain" });
}
