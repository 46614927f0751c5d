//! The payer: what it signs, and what it does with its money behind the account's back.
use super::{
    FACILITATORS, HOUR_MS, Step, World,
    chain::{EXIT_MS, NETWORK, OPERATOR, PAYER, bare, token},
    worker::signed,
};
use megarouter::{
    account::letter::{Caller, Letter},
    payment::{Payment, Scheme, asset::network_of, batch::Voucher, evm, exact},
};
use serde_json::{Value, json};

/// What calls cost at most, in units: few, so that payments are alike.
const QUOTES: [u64; 6] = [500, 500, 500, 20_000, 400_000, 900_000];

/// A call of the payer's, and how it is paid.
#[derive(Clone)]
struct Wish {
    payment: Payment,
    bid: i64,
    body: String,
    channel: Option<usize>,
}

/// A channel as its payer knows it.
struct Channel {
    id: String,
    charged: u64,
    deposited: u64,
}

#[derive(Default)]
pub struct Purse {
    wishes: Vec<Wish>,
    channels: Vec<Channel>,
    nonces: u64,
    refunds: u64,
}

impl Purse {
    fn nonce(&mut self) -> String {
        self.nonces += 1;
        format!("0x{:064x}", self.nonces)
    }

    /// A channel is told to have so much charged.
    pub fn corrected(&mut self, wish: usize, charged: u64) {
        if let Some(channel) = self.wishes[wish].channel {
            self.channels[channel].charged = charged;
        }
    }
}

fn permit(units: u64, valid_before: u64, nonce: &str) -> Value {
    json!({
        "from": PAYER, "to": OPERATOR, "value": units.to_string(), "validAfter": "0", "validBefore": valid_before.to_string(),
        "nonce": nonce,
    })
}

impl World {
    pub(super) fn payer(&mut self) {
        match self.chance.below(21) {
            0..=4 => self.wishes(Scheme::Exact),
            5..=8 => self.wishes(Scheme::Upto),
            9..=12 => self.wishes(Scheme::Batch),
            13 => self.wishes(Scheme::Balance),
            14 | 15 => self.replays(),
            16 => self.cancels(),
            17 => {
                self.seen.count("drained");
                self.note(|| "the payer has no money".to_owned());
                let units = std::mem::take(&mut self.chain.payer);
                let ms = self.chance.span(&[10_000, HOUR_MS]);
                self.after(ms, Step::Refilled(units));
            }
            18 => {
                if let Some(channel) = self.purse.channels.last() {
                    let id = channel.id.clone();
                    self.exit(&id);
                }
            }
            19 => self.leaves(),
            _ => self.send(Letter::Refundable(Caller::of_payer(&PAYER, "")), None),
        }
    }

    /// The payer wants a channel given back, or a part of it.
    fn leaves(&mut self) {
        let Some(place) = self.purse.channels.len().checked_sub(1) else { return };
        let has = self.chain.channels.get(&self.purse.channels[place].id).map_or(0, |channel| channel.balance);
        if has < self.purse.channels[place].charged {
            return;
        }
        let mut payment = self.voucher(place, 0);
        payment.units = if self.chance.one_in(2) { u64::MAX } else { 1 + self.chance.below(has + 1) };
        self.send(Letter::Leave(Box::new(payment)), None);
    }

    fn wishes(&mut self, scheme: Scheme) {
        let times = if self.chance.one_in(4) { self.chance.between(2, 4) } else { 1 };
        let quote = *self.chance.of(&QUOTES);
        for number in 0..times {
            let wish = match scheme {
                Scheme::Batch => self.by_channel(quote),
                Scheme::Balance => self.by_balance(quote),
                _ => self.by_transfer(scheme, quote),
            };
            self.purse.wishes.push(wish);
            let last = self.purse.wishes.len() - 1;
            // What is signed for one channel at a time is signed in parallel now and then.
            let ms = number * self.chance.span(&[20, 2_000, 60_000]);
            let wish = self.purse.wishes[last].clone();
            if ms == 0 || scheme != Scheme::Batch || self.chance.one_in(2) {
                self.after(ms, Step::Pays(last));
            } else {
                self.arrives(wish.payment, last, &wish.body, wish.bid);
            }
        }
    }

    fn body(&mut self) -> String {
        format!("body {}", self.purse.wishes.len())
    }

    fn by_transfer(&mut self, scheme: Scheme, quote: u64) -> Wish {
        let version = if scheme == Scheme::Exact && self.chance.one_in(4) { 1 } else { 2 };
        let spare = if self.chance.one_in(3) { 300 } else { 0 };
        let units = quote + spare;
        let seconds = if scheme == Scheme::Exact {
            *self.chance.of(&[60, 120, 120, 7_000])
        } else {
            *self.chance.of(&[120, 900, 3_600])
        };
        let valid_before = self.now.seconds() + seconds;
        let nonce = self.purse.nonce();
        let amount = if version == 1 { "maxAmountRequired" } else { "amount" };
        let requirements = json!({
            "scheme": scheme.word(), "network": NETWORK, amount: units.to_string(), "asset": token(), "payTo": OPERATOR,
        });
        let payload = json!({"x402Version": version, "payload": {"signature": "0x", "authorization": permit(units, valid_before, &nonce)}});
        let payment = Payment {
            scheme,
            network: NETWORK.into(),
            asset: token(),
            payer: PAYER,
            units,
            nonce: if scheme == Scheme::Exact { format!("{}:{nonce}", token()) } else { nonce },
            valid_before,
            version,
            payload: payload.to_string(),
            requirements: requirements.to_string(),
            facilitators: if scheme == Scheme::Upto { vec![FACILITATORS[0].into()] } else { Vec::new() },
            sponsored: scheme == Scheme::Upto && self.chance.one_in(5),
            ..Payment::default()
        };
        // What is held may be above what is paid: the balance pays for the rest.
        let more = if self.chance.one_in(8) { 200 } else { 0 };
        let bid = i64::try_from((quote + more) * 1_000).expect("small") - 7;
        Wish { payment, bid, body: self.body(), channel: None }
    }

    fn by_balance(&mut self, quote: u64) -> Wish {
        let nonce = format!("sign-in:{}", self.purse.nonce());
        let valid_before = self.now.seconds() + 300;
        let payment = Payment {
            scheme: Scheme::Balance,
            network: NETWORK.into(),
            payer: PAYER,
            nonce,
            valid_before,
            version: 2,
            ..Payment::default()
        };
        Wish { payment, bid: i64::try_from(quote * 1_000).expect("small"), body: self.body(), channel: None }
    }

    fn by_channel(&mut self, quote: u64) -> Wish {
        let place = match self.purse.channels.len() {
            length if length > 0 && !self.chance.one_in(6) => length - 1,
            length => {
                self.purse.channels.push(Channel { id: format!("0xc{length}"), charged: 0, deposited: 0 });
                length
            }
        };
        let mut wish = Wish {
            payment: Payment::default(),
            bid: i64::try_from(quote * 1_000).expect("small"),
            body: self.body(),
            channel: Some(place),
        };
        wish.payment = self.voucher(place, quote);
        wish
    }

    /// The next voucher of a channel, with a deposit where it is needed.
    fn voucher(&mut self, place: usize, units: u64) -> Payment {
        let nonce = self.purse.nonce();
        let channel = &mut self.purse.channels[place];
        let (id, most) = (channel.id.clone(), channel.charged + units);
        let has = self.chain.channels.get(&id).map_or(0, |channel| channel.balance);
        let mut deposit = 0;
        if most > has {
            let times = *self.chance.of(&[1, 2, 10]);
            deposit = units * times;
            deposit = deposit.max(most - has);
            if has > 0 {
                self.seen.count("top-up");
            }
            channel.deposited += deposit;
        }
        let valid_before = if deposit > 0 { self.now.seconds() + 120 } else { u64::MAX };
        let requirements = json!({"scheme": "batch-settlement", "network": NETWORK, "amount": units.to_string(), "asset": token(), "payTo": OPERATOR});
        let signature = signed(&id, most);
        // Every other one is claimed in our own name.
        let own = place % 2 == 1;
        let mut inner = json!({
            "type": if deposit > 0 { "deposit" } else { "voucher" }, "channelConfig": {"id": id, "own": own},
            "voucher": {"channelId": id, "maxClaimableAmount": most.to_string(), "signature": signature},
        });
        if deposit > 0 {
            inner["deposit"] =
                json!({"amount": deposit.to_string(), "authorization": permit(deposit, valid_before, &nonce)});
        }
        let config = json!({"id": id, "own": own}).to_string();
        let voucher = Voucher { channel: id.clone(), config, most, signature, deposit, own };
        Payment {
            scheme: Scheme::Batch,
            network: NETWORK.into(),
            asset: token(),
            payer: PAYER,
            units,
            nonce: format!("channel:{id}"),
            valid_before,
            version: 2,
            payload: json!({"x402Version": 2, "payload": inner}).to_string(),
            requirements: requirements.to_string(),
            facilitators: FACILITATORS.map(Into::into).to_vec(),
            voucher: Some(voucher),
            ..Payment::default()
        }
    }

    /// A wish is paid for, with the same payment; a channel's with a new voucher where the channel has moved on.
    pub(super) fn pays(&mut self, number: usize) {
        let mut wish = self.purse.wishes[number].clone();
        if let (Some(place), true) = (wish.channel, !self.chance.one_in(4)) {
            wish.payment = self.voucher(place, wish.payment.units);
            self.purse.wishes[number] = wish.clone();
        }
        self.arrives(wish.payment, number, &wish.body, wish.bid);
    }

    fn replays(&mut self) {
        if self.purse.wishes.is_empty() {
            return;
        }
        self.seen.count("replay");
        let number = self.chance.place(self.purse.wishes.len());
        let wish = self.purse.wishes[number].clone();
        let body = if self.chance.one_in(3) { "another".to_owned() } else { wish.body };
        self.arrives(wish.payment, number, &body, wish.bid);
    }

    /// A nonce is used up on chain, so that its payment cannot be settled any more.
    fn cancels(&mut self) {
        let Some(wish) = self.purse.wishes.iter().rev().find(|wish| wish.channel.is_none()) else { return };
        let nonce = bare(&wish.payment.nonce).to_owned();
        if !self.chain.used.contains_key(&nonce) {
            self.seen.count("cancelled");
            self.note(|| format!("{nonce} is cancelled"));
            self.chain.used.insert(nonce, "cancelled".into());
        }
    }

    /// The payer leaves a channel by itself: it says so, and a day later it has what is left.
    pub(super) fn exit(&mut self, id: &str) {
        let begun = self.chain.channels.get(id).is_some_and(|channel| channel.leaves.is_none());
        if !begun && self.books.charged_lately(id, self.now, &self.chain) {
            // Who leaves within minutes of a call takes along what no alarm is quick enough to claim: that is not played.
            self.after(HOUR_MS, Step::Exit(id.to_owned()));
            return;
        }
        let left = self.chain.exit(id, self.now);
        self.note(|| format!("the payer leaves {id}: {left}"));
        if begun {
            self.seen.count("exit begun");
            self.after(EXIT_MS, Step::Exit(id.to_owned()));
        }
        if left {
            self.seen.count("exit");
        }
    }

    /// What it can have back is signed over to it.
    pub(super) fn withdraw(&mut self, units: u64) {
        if units == 0 {
            return;
        }
        self.purse.refunds += 1;
        let number = self.purse.refunds;
        let network = network_of(NETWORK).expect("known");
        let nonce = evm::number(u128::from(number) + (1 << 100));
        let before = self.now.seconds() + exact::REFUND_S;
        let ours = exact::ours(network, OPERATOR, PAYER, units, nonce, before).expect("a token");
        let id = megarouter::id::mint("rfd", self.now, number.into());
        let payment = Box::new(ours.signed(&[0; 65]));
        self.send(Letter::Withdraw { id, payment }, None);
    }
}
