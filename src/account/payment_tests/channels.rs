//! Channels of a wallet: what is looked at, claimed and given back, in whose name, and through whom.
use super::*;
use crate::payment::batch::{OnChain, Voucher};

/// A voucher of the one channel there is, for all up to `most`.
fn voucher(most: u64, units: u64, deposit: u64, own: bool) -> Payment {
    let channel = evm::hex(&[7; 32]);
    Payment {
        nonce: format!("channel:{channel}"),
        facilitator: FACILITATOR.into(),
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
    // Its facilitator says that it did not, and has what we signed.
    purse.answer(&leave, 200, &failed("refund_simulation_failed"));
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
