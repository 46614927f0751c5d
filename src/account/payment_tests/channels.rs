//! Channels of a wallet: what is looked at, claimed and given back, in whose name, and through whom.
use super::*;
use crate::payment::batch::{OnChain, Voucher};

/// A voucher of the one channel there is, for all up to `most`.
fn voucher(most: u64, units: u64, deposit: u64, own: bool) -> Payment {
    let channel = evm::hex(&[7; 32]);
    Payment {
        nonce: format!("channel:{channel}"),
        facilitators: vec![FACILITATOR.into()],
        voucher: Some(Voucher {
            channel,
            config: json!({"receiverAuthorizer": address(8)}).to_string(),
            most,
            signature: "0x12".into(),
            deposit,
            own,
        }),
        ..payment(Scheme::Batch, units, "")
    }
}

fn seen(balance: u64, claimed: u64, refunds: u64) -> Option<Outcome> {
    let channel = Some(OnChain { balance, claimed, refunds, leaving: 0 });
    Some(Outcome::Done { transaction: "0xd".into(), channel })
}

fn told(balance: u64, claimed: u64, refunds: u64) -> Value {
    let state = json!({
        "balance": balance.to_string(), "totalClaimed": claimed.to_string(), "refundNonce": refunds.to_string(),
        "withdrawRequestedAt": 0,
    });
    json!({"success": true, "transaction": "0xe", "extra": {"channelState": state}})
}

/// A call of 0.2 dollars after so many before: whether the chain was looked at.
fn call(purse: &mut Purse, before: u64, own: bool) -> bool {
    const UNITS: u64 = 200_000;
    let (id, most) = (format!("call {before}"), (before + 1) * UNITS);
    let deposit = if before == 0 { 3_000_000 } else { 0 };
    let grant = purse.granted(&id, 200_000, &voucher(most, UNITS, deposit, own));
    let looked = grant.pays.then(|| seen(3_000_000, 0, 0)).flatten();
    purse.charge(&id, 200_000 * UNIT, looked);
    grant.pays
}

#[test]
fn what_only_we_give_back_is_looked_at_for_its_age_alone() {
    for own in [false, true] {
        let mut purse = Purse::new();
        assert!(call(&mut purse, 0, own), "a deposit is settled");
        for before in 1..6 {
            assert_eq!(call(&mut purse, before, own), !own, "{before}");
        }
        // 1.2 dollars are owed.
        let soon: Vec<_> = purse.after(2_000).asks().iter().map(|asked| asked.step).collect();
        assert_eq!(soon, if own { vec![] } else { vec!["claim"] });
        purse.after(400_000);
        assert!(call(&mut purse, 6, own), "its payer may have begun to leave");
        let claim = purse.until("claim");
        let body: Value = json::read(&claim.body).expect("JSON");
        assert!(body["paymentPayload"]["payload"]["claimAuthorizerSignature"].is_string());
        assert_eq!(claim.signer, Some(address(8)));
        assert_eq!(claim.request(&|| vec![address(7), address(8)])["key"], 1);
        assert_eq!(claim.request(&Vec::new)["key"], Value::Null);
    }
}

#[test]
fn what_we_signed_to_be_given_back_is_looked_at_until_it_was() {
    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    assert!(!call(&mut purse, 1, true));
    purse.send(Letter::Refundable(Caller::of_payer(&address(1), "")));
    let leave = purse.until("leave");
    let body: Value = json::read(&leave.body).expect("JSON");
    let payload = &body["paymentPayload"]["payload"];
    assert!(payload["claimAuthorizerSignature"].is_string() && payload["refundAuthorizerSignature"].is_string());
    // Its facilitator says that it did not, and has what we signed; so do the others.
    purse.answer(&leave, 200, &failed("refund_simulation_failed"));
    for _ in 0..2 {
        let leave = purse.until("leave");
        purse.answer(&leave, 200, &failed("refund_simulation_failed"));
    }
    let nothing = purse.send(Letter::Refundable(Caller::of_payer(&address(1), "")));
    assert!(matches!(nothing, Answer::Told { body, .. } if body["channels_usd"] == "0"), "it may be used, or may not");
    for before in 2..5 {
        assert!(call(&mut purse, before, true), "whoever has it may use it: {before}");
    }
    purse.send(Letter::Refundable(Caller::of_payer(&address(1), "")));
    let leave = purse.until("leave");
    purse.answer(&leave, 200, &told(1_000_000, 1_000_000, 1));
    // All of it is claimed with that; what is deposited again is looked at once.
    let deposited = voucher(1_200_000, 200_000, 1_000_000, true);
    assert!(purse.granted("again", 200_000, &deposited).pays);
    purse.charge("again", 200_000 * UNIT, seen(2_000_000, 1_000_000, 1));
    assert!(!purse.granted("then", 200_000, &voucher(1_400_000, 200_000, 0, true)).pays);
}

#[test]
fn what_we_sign_is_carried_by_whoever_answers() {
    for own in [false, true] {
        let mut purse = Purse::new();
        call(&mut purse, 0, own);
        let mut asked = Vec::new();
        for _ in 0..3 {
            let claim = purse.until("claim");
            asked.push(claim.url.clone());
            purse.answer(&claim, 0, &Value::Null);
        }
        let (first, second) = ("https://facilitator.test/settle", "https://second.test/settle");
        assert_eq!(asked, if own { [first, second, first] } else { [first; 3] });
    }
}

#[test]
fn of_channels_that_name_nobody_any_facilitator_is_asked() {
    let mut purse = Purse::new();
    call(&mut purse, 0, false);
    for body in purse.records.values_mut() {
        *body = body
            .replace(r#""facilitators":["https://facilitator.test"]"#, r#""facilitator":"https://facilitator.test""#);
    }
    assert!(purse.records.values().any(|body| body.contains(r#""facilitator":"#)), "as rows once were");
    purse.account = purse.reloaded();
    let claim = purse.until("claim");
    assert_eq!(claim.url, "https://facilitator.test/settle");
}

impl Purse {
    /// Shows a voucher for what was charged, to have so much of the channel given back.
    fn leave(&mut self, charged: u64, units: u64) -> (u16, String) {
        let payment = Payment { units, ..voucher(charged, units, 0, true) };
        match self.send(Letter::Leave(Box::new(payment))) {
            Answer::Told { status, body } => (status, body["error"].as_str().unwrap_or_default().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// What was claimed is sent to us.
    fn swept(&mut self) {
        let sweep = self.until("sweep");
        self.answer(&sweep, 200, &json!({"success": true, "transaction": "0xf"}));
    }

    fn channel(&mut self) -> Value {
        match self.send(Letter::Balance(Caller::of_payer(&address(1), ""))) {
            Answer::Told { body, .. } => body["channels"][0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn payload(inquiry: &Inquiry) -> Value {
    let body: Value = json::read(&inquiry.body).expect("JSON");
    body["paymentPayload"]["payload"].clone()
}

const GIVEN: (u16, String) = (202, String::new());

#[test]
fn a_payer_has_its_channel_given_back_by_a_voucher_for_what_was_charged() {
    let mut purse = Purse::new();
    let stranger = Letter::Leave(Box::new(voucher(0, 1, 0, true)));
    assert!(matches!(purse.send(stranger), Answer::Refused(Refusal::NotFound { .. })));
    call(&mut purse, 0, true);
    let mismatch = (402, "invalid_batch_settlement_evm_cumulative_amount_mismatch".to_owned());
    let nothing = (402, "invalid_batch_settlement_evm_refund_no_balance".to_owned());
    assert_eq!(purse.leave(199_999, u64::MAX), mismatch);
    assert_eq!(purse.leave(200_001, u64::MAX), mismatch);
    assert_eq!(purse.leave(200_000, 0), nothing);
    // A part of it first.
    assert_eq!(purse.leave(200_000, 500), GIVEN);
    assert_eq!(purse.unfit("meanwhile", &voucher(400_000, 200_000, 0, true), "body"), Unfit::Busy);
    let leave = purse.until("leave");
    let asked = payload(&leave);
    assert_eq!((&asked["amount"], &asked["refundNonce"]), (&json!("500"), &json!("0")));
    assert_eq!(asked["claims"][0]["totalClaimed"], "200000");
    purse.answer(&leave, 200, &told(2_999_500, 200_000, 1));
    let channel = purse.channel();
    assert_eq!((&channel["deposited_usd"], &channel["claimed_usd"]), (&json!("2.9995"), &json!("0.2")));
    purse.swept();
    assert_eq!(purse.leave(200_000, u64::MAX), GIVEN);
    let leave = purse.until("leave");
    let asked = payload(&leave);
    assert_eq!((&asked["amount"], &asked["refundNonce"]), (&json!("2799500"), &json!("1")));
    assert_eq!(asked["claims"], json!([]));
    purse.answer(&leave, 200, &told(200_000, 200_000, 2));
    purse.swept();
    assert_eq!(purse.leave(200_000, u64::MAX), nothing);
}

#[test]
fn a_channel_is_given_back_after_its_call_and_its_claim() {
    let mut purse = Purse::new();
    purse.granted("first", 200_000, &voucher(200_000, 200_000, 3_000_000, true));
    let leave = Letter::Leave(Box::new(voucher(0, u64::MAX, 0, true)));
    assert_eq!(purse.send(leave), Answer::Refused(Refusal::Payment(Unfit::Busy)), "nobody told of its deposit yet");
    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    purse.granted("open", 200_000, &voucher(400_000, 200_000, 0, true));
    assert_eq!(purse.leave(200_000, u64::MAX), GIVEN);
    assert!(purse.after(2_000).asks().iter().all(|asked| asked.step == "claim"));
    // Its call came to nothing.
    purse.void("open", None);
    let leave = purse.until("leave");
    assert_eq!(payload(&leave)["amount"], "2800000");
    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    let claim = purse.until("claim");
    assert_eq!(purse.leave(200_000, u64::MAX), GIVEN);
    assert_eq!(purse.asks(), [], "the claim has its answer first");
    purse.answer(&claim, 200, &json!({"success": true, "transaction": "0xc"}));
    let leave = purse.until("leave");
    assert_eq!((&payload(&leave)["claims"], &payload(&leave)["amount"]), (&json!([]), &json!("2800000")));
}

/// Neither a refund that nobody carries out nor a sweep that fails may hold a channel for ever.
#[test]
fn a_channel_that_cannot_be_given_back_is_of_use_again() {
    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    assert_eq!(purse.leave(200_000, u64::MAX), GIVEN);
    let steps = purse.live(86_400_000, &nobody);
    assert_eq!(steps.iter().filter(|step| **step == "leave").count(), 9, "{steps:?}");
    assert!(call(&mut purse, 1, true), "and its next call looks at the chain");

    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    let claim = purse.until("claim");
    purse.answer(&claim, 200, &json!({"success": true, "transaction": "0xc"}));
    let sweep = purse.until("sweep");
    purse.answer(&sweep, 200, &failed("settle_reverted"));
    call(&mut purse, 1, true);
    assert_eq!(purse.leave(400_000, u64::MAX), GIVEN);
    let leave = purse.until("leave");
    assert_eq!(payload(&leave)["claims"][0]["totalClaimed"], "400000", "what is owed is claimed with it");
}

#[test]
fn a_call_that_is_late_is_charged_before_its_channel_is_given_back() {
    let mut purse = Purse::new();
    call(&mut purse, 0, true);
    purse.granted("late", 200_000, &voucher(400_000, 200_000, 0, true));
    assert_eq!(purse.leave(200_000, u64::MAX), GIVEN);
    let paid = |_: &Inquiry| (200, json!({"success": true, "transaction": "0xc"}));
    let steps = purse.live(3 * TERMS.hold_settle_ms, &paid);
    assert_eq!(steps, ["claim", "sweep"], "its time is over, and nobody knows what it cost");
    purse.charge("late", 100_000 * UNIT, None);
    let leave = purse.until("leave");
    assert_eq!(
        (&payload(&leave)["claims"][0]["totalClaimed"], &payload(&leave)["amount"]),
        (&json!("300000"), &json!("2700000"))
    );
}

#[test]
fn a_channel_that_nothing_is_owed_of_waits_for_its_call() {
    let mut purse = Purse::new();
    purse.granted("first", 200_000, &voucher(200_000, 200_000, 3_000_000, true));
    purse.charge("first", 0, seen(3_000_000, 0, 0));
    purse.granted("open", 200_000, &voucher(200_000, 200_000, 0, true));
    assert_eq!(purse.leave(0, u64::MAX), GIVEN);
    assert_eq!(purse.after(2_000).asks(), []);
    purse.void("open", None);
    let leave = purse.after(2_000).until("leave");
    assert_eq!(payload(&leave)["amount"], "3000000");
}
