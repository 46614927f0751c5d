//! Payments that stock clients made, held against offers that were changed in every way.
use super::*;
use crate::base64;
use k256::ecdsa::{RecoveryId, Signature as Ecdsa, SigningKey, VerifyingKey};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

const TARGET: &str = "POST /v1/chat/completions";
const BODY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const BOUND: Bound<'_> = Bound { target: TARGET, resource: "", body_hash: BODY };
const CATALOG: &str = "0123456789abcdef";
/// Before the end of every recorded payment.
const NOW: Millis = Millis(1_795_880_700_000);
const URI: &str = "https://edge.test/v1/chat/completions";

fn fixture(name: &str) -> Value {
    let text = match name {
        "exact-eip3009" => include_str!("../../tests/fixtures/payments/exact-eip3009.json"),
        "exact-permit2" => include_str!("../../tests/fixtures/payments/exact-permit2.json"),
        "upto" => include_str!("../../tests/fixtures/payments/upto.json"),
        "v1-exact" => include_str!("../../tests/fixtures/payments/v1-exact.json"),
        "batch-deposit" => include_str!("../../tests/fixtures/payments/batch-deposit.json"),
        "batch-voucher" => include_str!("../../tests/fixtures/payments/batch-voucher.json"),
        "batch-permit2" => include_str!("../../tests/fixtures/payments/batch-permit2.json"),
        "batch-refund" => include_str!("../../tests/fixtures/payments/batch-refund.json"),
        "siwx" => include_str!("../../tests/fixtures/payments/siwx.json"),
        _ => panic!("no fixture {name}"),
    };
    json::read(text).expect("JSON")
}

const SECOND: [&str; 6] = ["exact-eip3009", "exact-permit2", "upto", "batch-deposit", "batch-voucher", "batch-permit2"];

fn terms() -> Terms {
    let mut known = Known::default();
    let kinds = json!({"kinds": [
        {"scheme": "upto", "network": "eip155:84532", "extra": {"facilitatorAddress": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}},
        {"scheme": "batch-settlement", "network": "eip155:84532",
            "extra": {"receiverAuthorizer": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"}},
    ]});
    known.learn("https://facilitator.test", &kinds);
    Terms {
        networks: ["eip155:84532", "eip155:8453"].iter().filter_map(|id| asset::network_of(id)).collect(),
        pay_to: Address::parse("0x90F79bf6EB2c4f870365E785982E1f101E93b906").expect("an address"),
        facilitators: vec!["https://facilitator.test".into()],
        rpc_urls: vec![("eip155:84532".into(), "https://node.test".into())],
        authorizers: Vec::new(),
        secret: [7; 32],
        known,
    }
}

fn recover(digest: &Word, told: &[u8; 65]) -> Vec<u8> {
    let [place, numbers @ ..] = told;
    let key = RecoveryId::from_byte(*place)
        .zip(Ecdsa::from_slice(numbers).ok())
        .and_then(|(id, signature)| VerifyingKey::recover_from_prehash(digest, &signature, id).ok());
    key.map_or_default(|key| key.to_encoded_point(false).as_bytes().to_vec())
}

/// What the key of a fixture signs of a digest, as wallets write it.
fn sign(fixture: &Value, digest: &Word) -> String {
    let key: Word = evm::bytes(fixture["privateKey"].as_str().expect("a key")).expect("32 bytes");
    let key = SigningKey::from_slice(&key).expect("a key");
    let (signature, id) = key.sign_prehash_recoverable(digest).expect("signed");
    evm::hex(&[&signature.to_bytes()[..], &[id.to_byte() + 27]].concat())
}

fn headers(name: &str, payload: &Value) -> Headers {
    Headers(vec![(name.to_owned(), base64::padded(json::written(payload).as_bytes()))])
}

/// The recorded payment, as if its offer had been ours for this request.
fn sealed(fixture: &Value, bound: &Bound<'_>, now: Millis) -> Value {
    let mut payment = fixture["payment"].clone();
    quote::seal(&mut payment["accepted"], Mode::Balanced, CATALOG, bound, &terms().secret, now);
    payment
}

fn header_of(payment: &Value) -> &'static str {
    if payment["x402Version"] == 1 { "x-payment" } else { "payment-signature" }
}

fn taken_at(payment: &Value, bound: &Bound<'_>, now: Millis) -> Result<Payment, Fault> {
    let shown = shown(&headers(header_of(payment), payment), &terms(), bound, now)?;
    shown.expect("there is a header").signed(&Headers::default(), &recover).map(|(payment, _)| payment)
}

fn taken(payment: &Value) -> Result<Payment, Fault> {
    taken_at(payment, &BOUND, NOW)
}

fn refused(payment: &Value, what: &str) -> Fault {
    match taken(payment) {
        Err(fault) if [400, 402].contains(&fault.status) => fault,
        other => panic!("{what}: {other:?}"),
    }
}

/// The recorded payment as it is taken here.
fn ours(name: &str) -> Value {
    let fixture = fixture(name);
    if name == "v1-exact" { fixture["payment"].clone() } else { sealed(&fixture, &BOUND, NOW) }
}

// What stock clients sign.

#[test]
fn what_stock_clients_sign_is_what_we_say_they_sign() {
    for name in SECOND.into_iter().chain(["v1-exact"]) {
        let (fixture, payment) = (fixture(name), ours(name));
        let shown =
            shown(&headers(header_of(&payment), &payment), &terms(), &BOUND, NOW).expect("taken").expect("there");
        let recorded: Vec<_> =
            fixture["signed"].as_array().expect("signatures").iter().map(|one| one["digest"].clone()).collect();
        let ours: Vec<_> = shown.proofs.iter().map(|proof| json!(evm::hex(&proof.digest))).collect();
        assert_eq!(ours, recorded, "{name}");
        let payer = fixture["payer"].as_str().and_then(Address::parse).expect("an address");
        assert!(shown.proofs.iter().all(|proof| proof.signer == payer), "{name}");
        let (paid, _) = shown.signed(&Headers::default(), &recover).expect(name);
        assert_eq!((paid.payer, paid.units, paid.network.as_str()), (payer, 10_000, "eip155:84532"), "{name}");
        assert_eq!(paid.amount(), Nanos(10_000_000), "a cent");
    }
}

#[test]
fn a_payment_is_told_to_its_facilitator_as_it_came() {
    let payment = ours("upto");
    let paid = taken(&payment).expect("taken");
    assert_eq!(
        (paid.scheme, paid.mode, paid.facilitators.clone()),
        (Scheme::Upto, Some(Mode::Balanced), vec!["https://facilitator.test".to_owned()])
    );
    let asked = paid.ask(1_234);
    assert_eq!(asked["paymentPayload"], payment);
    assert_eq!(asked["paymentRequirements"]["amount"], "1234");
    assert_eq!((&asked["paymentPayload"]["accepted"]["amount"], &asked["x402Version"]), (&json!("10000"), &json!(2)));
    let first = taken(&ours("v1-exact")).expect("taken");
    let asked = first.ask(first.units);
    assert_eq!(
        (&asked["x402Version"], &asked["paymentRequirements"]["maxAmountRequired"]),
        (&json!(1), &json!("10000"))
    );
    assert_eq!((&asked["paymentRequirements"]["network"], first.mode), (&json!("base-sepolia"), None));
}

/// What a fixture's channel is known by.
fn voucher(name: &str) -> batch::Voucher {
    taken(&ours(name)).expect("taken").voucher.expect("a voucher")
}

#[test]
fn what_we_sign_of_channels_is_what_the_contract_wants() {
    // By `signClaimBatch` and `signRefund` of @x402/evm 2.27.0, which hash typed data by viem.
    let claimed = "0x9717a4d542b690dd4860f248365db158f8ddd1e961c2486579152f866b91b2f7";
    let refunded = "0xee2ba6759d695fb516f361d7b8ea6ea40ca0d7eab0410bc044e115aa06e651a3";
    let voucher = voucher("batch-voucher");
    let claim = voucher.claim("eip155:84532", 1_234);
    let digests = |payload: &Value| -> Vec<String> {
        let told = |name: &str| payload.get(name).map(|digest| format!("{name} {}", digest.as_str().expect("text")));
        ["claimAuthorizerSignature", "refundAuthorizerSignature"].into_iter().filter_map(told).collect()
    };
    assert_eq!(digests(&claim), [format!("claimAuthorizerSignature {claimed}")]);
    let on_chain = batch::OnChain { balance: 100_000, claimed: 0, refunds: 3, leaving: 0 };
    let leave = voucher.leave("eip155:84532", 1_234, on_chain, 0);
    assert_eq!((&leave["amount"], &leave["refundNonce"]), (&json!("98766"), &json!("3")));
    assert_eq!(
        digests(&leave),
        [format!("claimAuthorizerSignature {claimed}"), format!("refundAuthorizerSignature {refunded}")]
    );
    assert_eq!(voucher.authorizer(), Address::parse("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"));
}

fn price(mode: Mode) -> ModePrice {
    ModePrice {
        mode,
        units: 10_000,
        models: vec!["openai/gpt-5-mini".into(), "anthropic/claude-haiku-4-5".into()],
        ttft_ms: 400,
    }
}

fn asked<'a>(terms: &'a Terms, menu: &'a [ModePrice], channel: Option<(Address, &'a Value)>) -> Asked<'a> {
    Asked {
        terms,
        resource: URI,
        bound: BOUND,
        network: "",
        catalog_id: CATALOG,
        menu,
        error: "",
        channel,
        now: NOW,
        salt: 0,
    }
}

#[test]
fn who_goes_on_with_a_channel_is_told_so_in_the_first_offer_of_one() {
    let mut terms = terms();
    terms.authorizers = vec![Address([7; 20])];
    let menu: Vec<ModePrice> = Mode::ALL.into_iter().map(price).collect();
    let menu: Vec<ModePrice> = [ModePrice { models: Vec::new(), ..menu[0].clone() }].into_iter().chain(menu).collect();
    let [usdc, usdt] = terms.networks[0].tokens else { panic!("two tokens") };
    // A million dollars.
    let most = "1000000000000";
    let told = json!({
        "channelState": {
            "channelId": evm::hex(&[1; 32]), "balance": most, "totalClaimed": most, "withdrawRequestedAt": 1_795_881_028,
            "refundNonce": "10", "chargedCumulativeAmount": most,
        },
        "voucherState": {"signedMaxClaimable": most, "signature": evm::hex(&[7; 65])},
    });
    for (token, channel) in [(usdc, None), (usdc, Some((usdc.address, &told))), (usdt, Some((usdt.address, &told)))] {
        let header = challenge(&asked(&terms, &menu, channel)).expect("offers").header;
        assert!(header.len() <= 4_096, "{} bytes", header.len());
        let required: Value = json::read_bytes(&base64::of_padded(&header).expect("base64")).expect("JSON");
        let accepts = required["accepts"].as_array().expect("offers");
        let batch: Vec<&Value> = accepts.iter().filter(|offer| offer["scheme"] == "batch-settlement").collect();
        assert_eq!(batch[0]["asset"], json!(token.address));
        assert_eq!(batch[0]["extra"].get("channelState").is_some(), channel.is_some());
        assert!(batch[1..].iter().all(|offer| offer["extra"].get("channelState").is_none()));
        for scheme in ["upto", "exact"] {
            assert!(accepts.iter().any(|offer| offer["scheme"] == scheme), "{scheme} fits too");
        }
        println!("{} bytes, {} offers, {} of channels", header.len(), accepts.len(), batch.len());
    }
}

/// What each network's header has room for, with models of usual names.
#[test]
fn the_header_holds_the_menu() {
    let menu: Vec<ModePrice> = Mode::ALL.into_iter().map(price).collect();
    for id in ["eip155:84532", "eip155:8453", "eip155:1", "eip155:11155111", "eip155:80002", "eip155:421614"] {
        let mut terms = terms();
        terms.networks = asset::network_of(id).into_iter().collect();
        terms.known = Known::default();
        let kinds = json!({"kinds": [
            {"scheme": "upto", "network": id, "extra": {"facilitatorAddress": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}},
            {"scheme": "batch-settlement", "network": id, "extra": {"receiverAuthorizer": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"}},
        ]});
        terms.known.learn("https://facilitator.test", &kinds);
        let asked = asked(&terms, &menu, None);
        let header = challenge(&asked).expect("offers").header;
        let required: Value = json::read_bytes(&base64::of_padded(&header).expect("base64")).expect("JSON");
        let accepts = required["accepts"].as_array().expect("offers");
        let of_others = accepts.iter().filter(|offer| offer["extra"].get("mode").is_some()).count();
        let tokens = terms.networks[0].tokens.len();
        assert_eq!(
            (id, accepts.len() - of_others),
            (id, 3 * tokens),
            "each scheme and token for the mode that was asked for"
        );
        assert_eq!((id, of_others), (id, if tokens == 1 { 2 } else { 0 }), "of the others, what there is room for");
    }
}

#[test]
fn channels_are_in_our_name_where_there_is_a_key() {
    let (ours, older) = (Address([7; 20]), Address::parse("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65").expect("one"));
    let offered = |terms: &Terms| {
        let offers = asked(terms, &[price(Mode::Balanced)], None).offers(terms.networks[0]);
        let offer = offers.into_iter().find(|offer| offer["scheme"] == "batch-settlement");
        offer.map_or(Value::Null, |offer| offer["extra"]["receiverAuthorizer"].clone())
    };
    let read = |terms: &Terms| {
        let payment = super::tests::ours("batch-voucher");
        let shown = shown(&headers("payment-signature", &payment), terms, &BOUND, NOW)?.expect("there is a header");
        Ok::<_, Fault>((shown.payment.facilitators, shown.payment.voucher.expect("a voucher").own))
    };
    let mut terms = terms();
    assert_eq!(offered(&terms), json!(older), "the facilitator's");
    assert_eq!(read(&terms), Ok((vec!["https://facilitator.test".to_owned()], false)));
    terms.authorizers = vec![ours, older];
    assert_eq!(offered(&terms), json!(ours));
    assert_eq!(read(&terms), Ok((vec!["https://facilitator.test".to_owned()], true)), "of an older key");
    // A facilitator without a name of its own.
    terms.known = Known::default();
    terms
        .known
        .learn("https://plain.test", &json!({"kinds": [{"scheme": "batch-settlement", "network": "eip155:84532"}]}));
    assert_eq!(offered(&terms), json!(ours));
    assert_eq!(read(&terms), Ok((vec!["https://plain.test".to_owned()], true)));
    terms.authorizers = vec![Address::default(), ours];
    assert_eq!(offered(&terms), Value::Null, "what is no key makes no channels");
    terms.authorizers.clear();
    assert_eq!(offered(&terms), Value::Null, "nobody could claim");
    assert_eq!(read(&terms).map_err(|fault| fault.status), Err(503), "until it is known again");
}

#[test]
fn members_may_come_in_another_order() {
    for name in SECOND {
        let mut payment = ours(name);
        let accepted = payment["accepted"].as_object_mut().expect("an object");
        let backwards: Vec<_> = std::mem::take(accepted).into_iter().rev().collect();
        accepted.extend(backwards);
        accepted["extra"].as_object_mut().expect("an object").sort_keys();
        assert!(taken(&payment).is_ok(), "{name}");
    }
}

#[test]
fn who_brings_permission_along_is_sponsored() {
    let mut payment = ours("upto");
    assert!(!taken(&payment).expect("taken").sponsored);
    payment["extensions"] = json!({"eip2612GasSponsoring": {"info": {"version": "1"}}});
    assert!(!taken(&payment).expect("taken").sponsored, "it was offered, and not taken");
    payment["extensions"] = json!({"eip2612GasSponsoring": {"info": {"version": "1", "signature": "0x12"}}});
    assert!(taken(&payment).expect("taken").sponsored);
    payment["extensions"] = json!({"erc20ApprovalGasSponsoring": {"info": {"signedTransaction": "0x02"}}});
    assert!(taken(&payment).expect("taken").sponsored);
}

// What was changed.

/// Every way to a leaf of a value.
fn leaves(value: &Value, way: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                leaves(value, &format!("{way}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                leaves(value, &format!("{way}/{at}"), found);
            }
        }
        _ => found.push(way.to_owned()),
    }
}

/// The value one further.
fn changed(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_u64().expect("a whole number") + 1),
        Value::String(text) => {
            let next = |text: &str| {
                let (rest, last) = text.split_at(text.len() - 1);
                format!("{rest}{}", if last == "1" { "2" } else { "1" })
            };
            json!(text.parse::<u64>().map_or_else(|_| next(text), |number| (number + 1).to_string()))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_payment_that_was_changed_anywhere_is_refused() {
    for name in SECOND.into_iter().chain(["v1-exact"]) {
        let payment = ours(name);
        assert!(taken(&payment).is_ok(), "{name}");
        let mut ways = Vec::new();
        leaves(&payment, "", &mut ways);
        assert!(ways.len() >= 10, "{ways:?}");
        for way in ways {
            let mut other = payment.clone();
            let leaf = other.pointer_mut(&way).expect("there");
            *leaf = changed(leaf);
            refused(&other, &format!("{name} with another {way}"));
            let (parent, member) = way.rsplit_once('/').expect("a member");
            let mut without = payment.clone();
            without.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(member);
            refused(&without, &format!("{name} without {way}"));
            for odd in [
                Value::Null,
                json!(true),
                json!([]),
                json!({}),
                json!(""),
                json!("0x"),
                json!(-1),
                json!(1.5),
                json!("1e9"),
            ] {
                let mut other = payment.clone();
                *other.pointer_mut(&way).expect("there") = odd.clone();
                refused(&other, &format!("{name} with {way} {odd}"));
            }
        }
    }
}

#[test]
fn a_member_more_in_the_offer_is_another_offer() {
    for name in SECOND {
        let mut payment = ours(name);
        payment["accepted"]["more"] = json!(1);
        refused(&payment, name);
        let mut payment = ours(name);
        payment["accepted"]["extra"]["more"] = json!(1);
        refused(&payment, name);
    }
}

#[test]
fn an_offer_is_for_one_request_and_for_a_while() {
    for name in SECOND {
        let payment = ours(name);
        let at =
            |target: &str, body: &str, now| taken_at(&payment, &Bound { target, resource: "", body_hash: body }, now);
        assert!(at(TARGET, BODY, NOW.after(299_000)).is_ok(), "{name}");
        for (target, body, now) in [
            ("POST /v1/messages", BODY, NOW),
            ("GET /v1/chat/completions", BODY, NOW),
            (TARGET, &BODY.replace('9', "8"), NOW),
        ] {
            assert_eq!(at(target, body, now).expect_err(name).status, 402);
        }
        // It may have bought its answer: that is the account's to say. A voucher that is late never has.
        match at(TARGET, BODY, NOW.after(301_000)) {
            Ok(paid) => assert_eq!((paid.doubt.as_str(), paid.scheme == Scheme::Batch), (RUN_OUT, false), "{name}"),
            Err(fault) => assert!(fault.message.contains("run out") && name.starts_with("batch"), "{name}"),
        }
        let quote = payment["accepted"]["extra"]["quote"].as_str().expect("a quote").to_owned();
        let parts: Vec<&str> = quote.split('.').collect();
        let later = (NOW.seconds() + 100_000).to_string();
        for (place, part) in [
            (0, later.as_str()),
            (1, "best"),
            (1, "cost-first"),
            (2, "ffffffff"),
            (3, ""),
            (3, "AAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            let mut parts = parts.clone();
            parts[place] = part;
            let mut other = payment.clone();
            other["accepted"]["extra"]["quote"] = json!(parts.join("."));
            assert_eq!(refused(&other, part).status, 402, "{name} {place}");
        }
        let bare = fixture(name)["payment"].clone();
        assert_eq!(refused(&bare, name).status, 402, "without a quote");
        let mut others = bare.clone();
        quote::seal(&mut others["accepted"], Mode::Balanced, CATALOG, &BOUND, &[8; 32], NOW);
        assert_eq!(refused(&others, name).status, 402, "sealed by another");
    }
}

#[test]
fn a_payment_is_good_while_there_is_time_to_settle_it() {
    for name in ["exact-eip3009", "exact-permit2", "upto", "batch-deposit", "batch-permit2"] {
        let fixture = fixture(name);
        let at = |now: Millis| taken_at(&sealed(&fixture, &BOUND, now), &BOUND, now).map(|paid| paid.doubt);
        assert_eq!(at(Millis(1_795_881_016_000)), Ok(String::new()), "{name}");
        match at(Millis(1_795_881_019_000)) {
            Ok(doubt) => assert_eq!((doubt.as_str(), name.starts_with("batch")), (RUN_OUT, false), "{name}"),
            Err(fault) => assert_eq!((fault.status, name.starts_with("batch")), (402, true), "{name}"),
        }
    }
    let first = ours("v1-exact");
    assert_eq!(taken_at(&first, &BOUND, Millis(1_795_880_127_000)).expect_err("not yet").status, 402);
    assert!(taken_at(&first, &BOUND, Millis(1_795_880_128_000)).is_ok());
}

// Signatures.

/// The order of secp256k1.
const ORDER: &str = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

/// What is left of the order, as a word.
fn negated(word: &Word) -> Word {
    let order: Word = evm::bytes(ORDER).expect("a word");
    let (mut rest, mut borrow) = ([0; 32], 0_i16);
    for place in (0..32).rev() {
        let digit = i16::from(order[place]) - i16::from(word[place]) - borrow;
        borrow = i16::from(digit < 0);
        rest[place] = u8::try_from(digit.rem_euclid(256)).expect("a byte");
    }
    rest
}

#[test]
fn a_signature_has_one_form_and_one_signer() {
    let ways = [
        ("exact-eip3009", "/payload/signature"),
        ("exact-permit2", "/payload/signature"),
        ("upto", "/payload/signature"),
        ("v1-exact", "/payload/signature"),
        ("batch-voucher", "/payload/voucher/signature"),
        ("batch-deposit", "/payload/deposit/authorization/erc3009Authorization/signature"),
        ("batch-permit2", "/payload/deposit/authorization/permit2Authorization/signature"),
    ];
    for (name, way) in ways {
        let payment = ours(name);
        let with = |signature: &[u8]| {
            let mut other = payment.clone();
            *other.pointer_mut(way).expect("there") = json!(evm::hex(signature));
            other
        };
        let text = payment.pointer(way).and_then(Value::as_str).expect("a signature");
        let signature: [u8; 65] = evm::bytes(text).expect("65 bytes");
        let (numbers, v) = (&signature[..64], signature[64]);
        assert!(taken(&with(&[numbers, &[v - 27]].concat())).is_ok(), "{name}: 0 or 1 is another way to write it");
        let s: Word = signature[32..64].try_into().expect("a word");
        let high = [&signature[..32], &negated(&s)[..], &[55 - v][..]].concat();
        assert_eq!(negated(&negated(&s)), s);
        for (wrong, why) in [
            (high, "a high s"),
            ([numbers, &[29]].concat(), "v = 29"),
            ([numbers, &[55 - v]].concat(), "the other point"),
            (numbers.to_vec(), "64 bytes"),
            (vec![0; 65], "nothing"),
            (Vec::new(), "none"),
        ] {
            assert_eq!(refused(&with(&wrong), why).status, 402, "{name}: {why}");
        }
    }
    // A key's own signature of another payment.
    let mut payment = ours("exact-eip3009");
    payment["payload"]["signature"] = json!(sign(&fixture("upto"), &[5; 32]));
    assert_eq!(refused(&payment, "somebody else's").status, 402);
}

/// Of a contract's signature only the chain knows: somebody is asked before anything rests on it.
#[test]
fn what_a_contract_signs_is_left_to_who_can_ask_it() {
    let proof = json!(format!("0x{}", "5a".repeat(97)));
    for (name, way) in [
        ("exact-eip3009", "/payload/signature"),
        ("exact-permit2", "/payload/signature"),
        ("v1-exact", "/payload/signature"),
    ] {
        let mut payment = ours(name);
        *payment.pointer_mut(way).expect("a signature") = proof.clone();
        let shown = shown(&headers(header_of(&payment), &payment), &terms(), &BOUND, NOW).expect(name).expect("there");
        let digest = shown.proofs[0].digest;
        let (paid, sealed) = shown.signed(&Headers::default(), &recover).expect(name);
        assert_eq!(
            (paid.scheme, paid.seal.len(), sealed),
            (Scheme::Exact, 66, Some(Sealed { digest, signature: vec![0x5a; 97] })),
            "{name}"
        );
    }
    for (name, way) in [("upto", "/payload/signature"), ("batch-voucher", "/payload/voucher/signature")] {
        let mut payment = ours(name);
        *payment.pointer_mut(way).expect("a signature") = proof.clone();
        let fault = refused(&payment, name);
        assert!(fault.status == 402 && fault.message.contains("by the scheme exact"), "{name}: {fault:?}");
    }
    let mut payment = ours("exact-eip3009");
    payment["payload"]["signature"] = json!(format!("0x{}", "5a".repeat(8_193)));
    assert!(refused(&payment, "too long").message.contains("too long"));
}

#[test]
fn one_as_long_as_a_keys_is_a_contracts_where_its_sender_says_so() {
    let says = |payment: &Value, told: &str| {
        let mut headers = headers(header_of(payment), payment);
        headers.0.push(("payment-wallet".to_owned(), told.to_owned()));
        let shown = shown(&headers, &terms(), &BOUND, NOW)?.expect("there");
        shown.signed(&headers, &recover).map(|(paid, sealed)| (paid.seal.len(), sealed.map(|sealed| sealed.signature)))
    };
    let good = ours("exact-eip3009");
    assert_eq!(says(&good, "contract"), Ok((0, None)), "a key's is a key's");
    // Of another key, and by `eth_sign` of a Safe: https://docs.safe.global/advanced/smart-account-signatures
    for (byte, last) in [(0x5a, 0x1b), (0x5a, 0x1f), (0xff, 0x1b)] {
        let mut payment = good.clone();
        let signature = [vec![byte; 64], vec![last]].concat();
        payment["payload"]["signature"] = json!(evm::hex(&signature));
        assert!(refused(&payment, "unsaid").message.contains("payment-wallet: contract"));
        assert_eq!(says(&payment, "key").map_err(|fault| fault.status), Err(402));
        assert_eq!(says(&payment, "contract"), Ok((66, Some(signature))));
    }
    let mut payment = ours("upto");
    payment["payload"]["signature"] = json!(evm::hex(&[0x5a; 65]));
    assert!(says(&payment, "contract").is_err_and(|fault| fault.message.contains("by the scheme exact")));
}

#[test]
fn so_many_signatures_are_looked_at_in_a_second() {
    let mut looks = contract::Looks::default();
    for _ in 0..20 {
        looks = looks.one_more(NOW).expect("room");
    }
    assert_eq!(looks.one_more(NOW).map_err(|fault| (fault.status, fault.code)).err(), Some((503, "unavailable")));
    assert!(looks.one_more(NOW.after(1_000)).is_ok());
}

#[test]
fn a_contract_is_asked_whether_it_signed_in() {
    let mut told = signed_in(None);
    told["signature"] = json!(format!("0x{}", "5a".repeat(97)));
    let header = base64::padded(json::written(&told).as_bytes());
    let mut terms = terms();
    let (paid, sealed) = signin::shown(&header, &terms, URI, NOW)
        .expect("taken")
        .signed(&Headers::default(), &recover)
        .expect("for now");
    let sealed = sealed.expect("a contract's");
    let call = sealed.call(&paid, &terms).expect("there is a node");
    let asked: Value = json::read(&call.body).expect("JSON");
    let digest = evm::hex(&evm::message(&message(&told)));
    // Selector, hash, where the bytes begin, how many, and those, padded to words: https://docs.soliditylang.org/en/latest/abi-spec.html
    let data = format!(
        "0x1626ba7e{}{:064x}{:064x}{}{}",
        digest.trim_start_matches("0x"),
        64,
        97,
        "5a".repeat(97),
        "00".repeat(31)
    );
    assert_eq!((call.url.as_str(), &asked["params"][0]["data"]), ("https://node.test", &json!(data)));
    assert_eq!(asked["params"][0]["to"], told["address"].as_str().expect("an address").to_ascii_lowercase());
    terms.rpc_urls.clear();
    assert_eq!(sealed.call(&paid, &terms).expect_err("no node").status, 401);

    let answered = |status, body: &str| contract::signed_in(status, body.as_bytes()).map_err(|fault| fault.status);
    assert_eq!(answered(200, &format!(r#"{{"result":"0x1626ba7e{}"}}"#, "0".repeat(56))), Ok(()));
    for (status, body, meant) in [
        (200, r#"{"result":"0x"}"#, 401),
        (200, r#"{"result":"0xffffffff00000000000000000000000000000000000000000000000000000000"}"#, 401),
        (200, r#"{"error":{"code":3,"message":"execution reverted"}}"#, 401),
        (200, r#"{"error":{"code":-32000,"message":"execution reverted"}}"#, 401),
        (200, r#"{"result":"0x1626ba7effffffffffffffffffffffffffffffffffffffffffffffffffffffff"}"#, 401),
        (200, r#"{"error":{"code":-32005,"message":"limit exceeded"}}"#, 503),
        (502, r#"{"result":"0x1626ba7e"}"#, 503),
        (200, "<html>", 503),
        (0, "", 503),
    ] {
        assert_eq!(answered(status, body), Err(meant), "{status} {body}");
    }
}

/// Everything from the 402 to the payment, with what is offered here.
#[test]
fn what_we_offer_can_be_paid() {
    let terms = terms();
    let menu = [ModePrice { mode: Mode::Balanced, units: 12_345, models: vec!["alpha/m".into()], ttft_ms: 300 }];
    let asked = Asked {
        terms: &terms,
        resource: URI,
        bound: BOUND,
        network: "",
        catalog_id: CATALOG,
        menu: &menu,
        error: "Pay.",
        channel: None,
        salt: 7,
        now: NOW,
    };
    let told = challenge(&asked).expect("something can be paid with");
    let required: Value = json::read_bytes(&base64::of_padded(&told.header).expect("base64")).expect("JSON");
    let (recorded, payer) = (fixture("upto"), fixture("upto")["payer"].clone());
    let mut schemes = Vec::new();
    for accepted in required["accepts"].as_array().expect("offers") {
        let (extra, before) = (&accepted["extra"], (NOW.seconds() + 120).to_string());
        let by_permit = extra["assetTransferMethod"] == "permit2";
        let inner = match accepted["scheme"].as_str().expect("a scheme") {
            "batch-settlement" => continue,
            scheme if by_permit => {
                let spender = if scheme == "upto" { upto::SPENDER } else { exact::SPENDER };
                let mut witness = json!({"to": accepted["payTo"], "validAfter": "0"});
                if scheme == "upto" {
                    witness["facilitator"] = extra["facilitatorAddress"].clone();
                }
                let permitted = json!({"token": accepted["asset"], "amount": accepted["amount"]});
                let permit = json!({"from": payer, "permitted": permitted, "spender": spender, "nonce": "77", "deadline": before,
                    "witness": witness});
                json!({"permit2Authorization": permit, "signature": "0x00"})
            }
            _ => {
                let authorization = json!({"from": payer, "to": accepted["payTo"], "value": accepted["amount"],
                    "validAfter": "0", "validBefore": before, "nonce": evm::hex(&[5; 32])});
                json!({"authorization": authorization, "signature": "0x00"})
            }
        };
        let mut payment = json!({"x402Version": 2, "payload": inner, "accepted": accepted});
        payment["payload"]["signature"] = json!(evm::hex(&[&[1; 64][..], &[27]].concat()));
        let shown = shown(&headers("payment-signature", &payment), &terms, &BOUND, NOW).expect("fits").expect("there");
        payment["payload"]["signature"] = json!(sign(&recorded, &shown.proofs[0].digest));
        let paid = taken(&payment).expect("taken");
        assert_eq!((paid.units, paid.mode), (12_345, Some(Mode::Balanced)));
        schemes.push((accepted["scheme"].as_str().expect("a scheme").to_owned(), by_permit));
    }
    for kind in [("exact", false), ("upto", true)] {
        assert!(schemes.iter().any(|(scheme, permit)| (scheme.as_str(), *permit) == kind), "{schemes:?}");
    }
}

// Sign-ins.

/// The message of a sign-in, as the extension writes it.
fn message(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let mut lines = vec![
        format!("{} wants you to sign in with your Ethereum account:", text("domain")),
        text("address").to_owned(),
        String::new(),
    ];
    lines.extend(told["statement"].as_str().map(str::to_owned));
    lines.extend([
        String::new(),
        format!("URI: {}", text("uri")),
        format!("Version: {}", text("version")),
        format!("Chain ID: {}", text("chainId").trim_start_matches("eip155:")),
        format!("Nonce: {}", text("nonce")),
        format!("Issued At: {}", text("issuedAt")),
    ]);
    if let Some(resources) = told["resources"].as_array() {
        lines.push("Resources:".to_owned());
        lines.extend(resources.iter().filter_map(Value::as_str).map(|resource| format!("- {resource}")));
    }
    lines.join("\n")
}

#[test]
fn a_recorded_sign_in_is_written_and_hashed_as_here() {
    let recorded = fixture("siwx");
    let sign_in = &recorded["signIn"];
    assert_eq!(json!(message(&sign_in["json"])), sign_in["message"]);
    let digest = evm::message(sign_in["message"].as_str().expect("a message"));
    assert_eq!(json!(evm::hex(&digest)), sign_in["digest"]);
    let signature =
        Signature::read(sign_in["json"]["signature"].as_str().expect("a signature")).and_then(|it| it.of_key());
    assert_eq!(
        Address::of_key(&recover(&digest, &signature.expect("a key's"))),
        recorded["payer"].as_str().and_then(Address::parse)
    );
}

/// A sign-in with what we ask for, signed by the recorded key.
fn signed_in(statement: Option<&str>) -> Value {
    let recorded = fixture("siwx");
    let mut told = signin::asked(&terms(), URI, NOW, 7)["info"].clone();
    told["address"] = recorded["signIn"]["json"]["address"].clone();
    told["chainId"] = json!("eip155:84532");
    told["type"] = json!("eip191");
    if let Some(statement) = statement {
        told["statement"] = json!(statement);
        told["resources"] = json!([URI]);
    }
    told["signature"] = json!(sign(&recorded, &evm::message(&message(&told))));
    told
}

fn enters(told: &Value, uri: &str, now: Millis) -> Result<Payment, Fault> {
    let header = base64::padded(json::written(told).as_bytes());
    signin::shown(&header, &terms(), uri, now)?.signed(&Headers::default(), &recover).map(|(payment, _)| payment)
}

#[test]
fn a_sign_in_of_now_for_here_opens_the_wallet() {
    for statement in [None, Some("Sign in to use your balance")] {
        let told = signed_in(statement);
        let wallet = enters(&told, URI, NOW.after(299_000)).expect("taken");
        assert_eq!((wallet.units, Some(wallet.payer)), (0, fixture("siwx")["payer"].as_str().and_then(Address::parse)));
        assert!(enters(&told, URI, NOW.after(301_000)).is_err(), "it has run out");
        assert!(enters(&told, "https://edge.test/v1/messages", NOW).is_err(), "it is for another address");
        assert!(enters(&told, "https://other.test/v1/chat/completions", NOW).is_err());
        let mut ways = Vec::new();
        leaves(&told, "", &mut ways);
        for way in ways.into_iter().filter(|way| way != "/type") {
            let mut other = told.clone();
            let leaf = other.pointer_mut(&way).expect("there");
            *leaf = changed(leaf);
            let fault = enters(&other, URI, NOW).expect_err(&way);
            assert!([400, 401, 402].contains(&fault.status), "{way} {}", fault.status);
        }
    }
    // The recorded one has a nonce of another server.
    assert!(enters(&fixture("siwx")["signIn"]["json"], URI, NOW).is_err());
}

// What is none.

#[test]
fn what_is_no_payment_is_malformed() {
    let bound = BOUND;
    let at = |name: &str, text: &str| {
        let headers = Headers(vec![(name.to_owned(), text.to_owned())]);
        shown(&headers, &terms(), &bound, NOW).map(|shown| shown.is_some())
    };
    assert_eq!(shown(&Headers(Vec::new()), &terms(), &bound, NOW), Ok(None));
    let encode = |value: &Value| base64::padded(json::written(value).as_bytes());
    let second = ours("upto");
    for (name, text) in [
        ("payment-signature", String::new()),
        ("payment-signature", "?".to_owned()),
        ("payment-signature", "bm8".to_owned()),
        ("payment-signature", encode(&json!([]))),
        ("payment-signature", encode(&json!("x"))),
        ("payment-signature", encode(&json!({}))),
        ("payment-signature", encode(&json!({"x402Version": 2}))),
        ("payment-signature", encode(&json!({"x402Version": 2, "accepted": []}))),
        ("payment-signature", encode(&ours("v1-exact"))),
        ("x-payment", encode(&second)),
        ("x-payment", encode(&json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia"}))),
    ] {
        assert_eq!(at(name, &text).expect_err(&text).status, 400, "{name} {text}");
    }
    let first = |change: &dyn Fn(&mut Value)| {
        let mut payment = ours("v1-exact");
        change(&mut payment);
        refused(&payment, "changed").status
    };
    assert_eq!(first(&|payment| payment["network"] = json!("base")), 402, "it was signed for another chain");
    assert_eq!(first(&|payment| payment["network"] = json!("solana")), 402);
    assert_eq!(first(&|payment| payment["scheme"] = json!("upto")), 402);
    assert_eq!(first(&|payment| payment["payload"]["authorization"]["value"] = json!("9999")), 402);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_makes_it_panic(text in ".*", first in any::<bool>()) {
        let name = if first { "x-payment" } else { "payment-signature" };
        for text in [text.clone(), base64::padded(text.as_bytes())] {
            let headers = Headers(vec![(name.to_owned(), text.clone())]);
            prop_assert!(shown(&headers, &terms(), &BOUND, NOW).is_err());
            prop_assert!(signin::shown(&text, &terms(), URI, NOW).is_err());
        }
    }

    /// Payloads that look like payments: with anything in the place of anything, and sealed all the same.
    #[test]
    fn no_payload_makes_it_panic_or_is_believed(place in any::<usize>(), which in 0..6_usize, odd in ".{0,40}", number in any::<u64>(), kind in 0..5) {
        let name = ["exact-eip3009", "exact-permit2", "upto", "batch-deposit", "batch-voucher", "v1-exact"][which];
        let mut payment = fixture(name)["payment"].clone();
        let mut ways = Vec::new();
        leaves(&payment, "", &mut ways);
        let way = ways[place % ways.len()].clone();
        let before = payment.pointer(&way).cloned().expect("there");
        let odd = match kind {
            0 => json!(odd),
            1 => json!(number),
            2 => json!(number.to_string()),
            3 => json!([odd]),
            _ => json!(format!("0x{odd}")),
        };
        *payment.pointer_mut(&way).expect("there") = odd.clone();
        if let Some(accepted) = payment.get_mut("accepted") {
            quote::seal(accepted, Mode::Balanced, CATALOG, &BOUND, &terms().secret, NOW);
        }
        // An offer that is really ours is as we made it.
        let free = way.starts_with("/accepted");
        let told = taken(&payment);
        prop_assert!(told.is_err() || free || odd == before, "{way} {odd}: {told:?}");
    }
}

#[test]
fn a_channel_is_given_back_by_get_and_by_nothing_else() {
    let bound = Bound { target: "GET /v1/chat/completions", resource: "", body_hash: "" };
    let at = |name: &str, bound: &Bound<'_>| taken_at(&sealed(&fixture(name), bound, NOW), bound, NOW);
    let leaving = at("batch-refund", &bound).expect("taken");
    let voucher = leaving.voucher.expect("a voucher");
    assert_eq!((leaving.units, voucher.most, voucher.deposit), (5_000, 1_234, 0), "a part of it");
    let mut all = sealed(&fixture("batch-refund"), &bound, NOW);
    all["payload"].as_object_mut().expect("an object").shift_remove("amount");
    assert_eq!(taken_at(&all, &bound, NOW).expect("taken").units, u64::MAX);
    all["payload"]["amount"] = json!("-1");
    assert_eq!(taken_at(&all, &bound, NOW).expect_err("no amount").status, 400);
    assert_eq!(at("batch-refund", &BOUND).expect_err("a POST").status, 400);
    for name in ["batch-voucher", "batch-deposit", "batch-permit2"] {
        assert_eq!(at(name, &bound).expect_err(name).status, 400);
    }
    let mut other = sealed(&fixture("batch-refund"), &bound, NOW);
    other["payload"]["voucher"]["maxClaimableAmount"] = json!("1235");
    assert_eq!(taken_at(&other, &bound, NOW).expect_err("another signed").status, 402);
}
