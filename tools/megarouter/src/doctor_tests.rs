use super::*;
use serde_json::json;
use std::cell::RefCell;

const NOW: u64 = 1_795_870_800_500;

fn answer(status: u16, body: &Value) -> Answer {
    let date = ("date".to_owned(), "Sat, 28 Nov 2026 13:00:00 GMT".to_owned());
    Answer { status, text: body.to_string(), headers: vec![date] }
}

fn list(rows: &Value) -> Value {
    json!({"object": "list", "data": rows})
}

fn error(code: &str) -> Value {
    json!({"error": {"code": code, "message": "no"}})
}

/// A deployment where nothing is wrong.
fn healthy() -> Gathered {
    let owner = |id: &str| json!({"id": id, "status": "active", "roles": [{"role": "owner", "scope": "organization"}]});
    let key = |kind: &str| {
        json!({"id": "key_1", "kind": kind, "status": "active", "created_at": "2026-11-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z"})
    };
    let candidates = ["openai", "anthropic"].map(|id| json!({"provider": id, "eligible": true}));
    let answers = [
        ("healthz", 200, json!({})),
        ("models", 200, list(&json!([{"id": "openai/gpt-x"}]))),
        ("stranger", 402, json!({})),
        ("forged", 401, error("invalid_key")),
        ("receipt_keys", 200, json!({"keys": [{"key_id": "k"}]})),
        ("admin_calls", 401, error("wrong_kind")),
        ("own_key", 200, json!({"id": "key_1", "owner_member_id": "mem_1"})),
        ("own_member", 200, owner("mem_1")),
        ("wallet", 200, json!({"available_usd": "12.5", "low_balance_alert_usd": "5"})),
        ("budgets", 200, list(&json!([{"window": "month", "mode": "hard"}]))),
        ("webhooks", 200, list(&json!([{"status": "active"}]))),
        ("dead_letters", 200, list(&json!([]))),
        ("keys", 200, list(&json!([key("admin"), key("inference")]))),
        ("members", 200, list(&json!([owner("mem_1"), owner("mem_2")]))),
        ("decision", 200, json!({"megarouter": {"candidates": candidates}})),
        ("catalog", 200, json!({"id": "c", "source": "kv"})),
        ("metrics", 200, json!("megarouter_requests_total 1")),
        ("reconciliation", 200, list(&json!([{"id": "org_1", "agrees": true}]))),
    ];
    let answers = answers.into_iter().map(|(name, status, body)| (name, Ok(answer(status, &body)))).collect();
    Gathered { base_url: "https://a.example".into(), now_ms: NOW, has_admin_key: true, sandbox: false, answers }
}

fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|found| format!("{} {}", found.level.word(), found.what)).collect()
}

#[test]
fn a_healthy_deployment_is_healthy() {
    let findings = judge(&healthy());
    assert!(findings.iter().all(|found| found.level == Level::Good && found.todo.is_empty()), "{:?}", told(&findings));
    assert!(findings.len() >= 18, "{:?}", told(&findings));
}

/// Each ailment alone changes one finding, and that says what to do.
#[test]
fn every_ailment_is_found() {
    let key = json!({"id": "key_1", "kind": "admin", "status": "active", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z"});
    let endless = json!({"id": "key_2", "kind": "inference", "status": "active", "created_at": "2026-11-01T00:00:00Z",
        "expires_at": null});
    let dead = json!({"id": "evt_1", "deliveries": [{"status": "delivered"}, {"status": "failed"}]});
    let sent = json!({"id": "evt_2", "deliveries": [{"status": "delivered"}]});
    let owner = json!({"id": "mem_1", "status": "active", "roles": [{"role": "owner"}]});
    for (probe, status, body, level, what) in [
        ("models", 200, list(&json!([])), Level::Fail, "no model"),
        ("models", 500, json!({}), Level::Fail, "500"),
        ("stranger", 200, json!({}), Level::Fail, "ANSWERED"),
        ("stranger", 500, json!({}), Level::Fail, "500"),
        ("stranger", 404, json!({}), Level::Warn, "404"),
        ("forged", 200, json!({}), Level::Fail, "ANSWERED"),
        ("forged", 402, json!({}), Level::Warn, "402"),
        ("admin_calls", 200, json!({}), Level::Fail, "ANSWERED"),
        ("receipt_keys", 503, error("unavailable"), Level::Fail, "receipts cannot be signed"),
        ("wallet", 200, json!({"available_usd": "0", "low_balance_alert_usd": "5"}), Level::Fail, "0 USD"),
        ("wallet", 200, json!({"available_usd": "1", "low_balance_alert_usd": null}), Level::Warn, "runs low"),
        ("wallet", 200, json!({"available_usd": "1"}), Level::Warn, "not served"),
        ("wallet", 403, error("role_required"), Level::Warn, "not for this key"),
        ("budgets", 200, list(&json!([])), Level::Warn, "no budget"),
        ("budgets", 200, list(&json!([{"mode": "soft"}])), Level::Warn, "all soft"),
        ("webhooks", 200, list(&json!([{"status": "disabled"}])), Level::Warn, "no webhook endpoint"),
        ("webhooks", 404, error("unknown_endpoint"), Level::Warn, "not served"),
        ("dead_letters", 200, list(&json!([dead, sent])), Level::Fail, "could not be delivered: 1"),
        ("keys", 200, list(&json!([key])), Level::Warn, "older than 90 days: 1 (key_1)"),
        ("keys", 200, list(&json!([endless])), Level::Warn, "never expire: 1 (key_2)"),
        ("members", 200, list(&json!([])), Level::Warn, "not for this key"),
        ("members", 200, list(&json!([owner])), Level::Warn, "one owner"),
        ("decision", 200, json!({"megarouter": {"candidates": []}}), Level::Fail, "no provider"),
        ("decision", 401, error("invalid_key"), Level::Fail, "401"),
        ("catalog", 200, json!({"id": "c", "source": "bundled"}), Level::Warn, "bundled"),
        ("metrics", 404, error("unknown_endpoint"), Level::Warn, "metrics"),
        (
            "reconciliation",
            200,
            list(&json!([{"id": "org_1", "agrees": false, "wrong": ["fees"]}])),
            Level::Fail,
            "org_1 (fees)",
        ),
    ] {
        let mut ill = healthy();
        ill.answers.insert(probe, Ok(answer(status, &body)));
        let findings = judge(&ill);
        let bad: Vec<&Finding> = findings.iter().filter(|found| found.level != Level::Good).collect();
        let [found] = bad.as_slice() else { panic!("{probe} {status}: {:?}", told(&findings)) };
        assert!(found.level == level && found.what.contains(what) && !found.todo.is_empty(), "{probe}: {found:?}");
    }
}

#[test]
fn the_clock_and_the_way_are_looked_at() {
    let mut late = healthy();
    late.now_ms = NOW + 31_000;
    assert!(told(&judge(&late)).contains(&"FAIL the clocks here and there are 31 s apart".to_owned()));
    let mut open = healthy();
    open.base_url = "http://a.example".into();
    let findings = told(&judge(&open));
    assert!(findings.iter().any(|line| line.starts_with("FAIL plain http on a public host")), "{findings:?}");
    let mut sandboxed = healthy();
    sandboxed.sandbox = true;
    assert!(told(&judge(&sandboxed)).iter().any(|line| line.starts_with("warn a sandbox")));
}

#[test]
fn a_refused_key_is_told_once() {
    let mut refused = healthy();
    for name in ["own_key", "wallet", "budgets", "webhooks", "dead_letters", "keys", "members"] {
        refused.answers.insert(name, Ok(answer(401, &error("invalid_key"))));
    }
    let findings = judge(&refused);
    let bad: Vec<&Finding> = findings.iter().filter(|found| found.level != Level::Good).collect();
    assert!(
        matches!(bad.as_slice(), [one] if one.level == Level::Fail && one.what.contains("admin key is refused")),
        "{bad:?}"
    );
}

#[test]
fn keys_go_only_to_a_worker_that_is_up() {
    let config = |url: &str| Config {
        base_url: url.to_owned(),
        admin_key: Some(forged().replace("mr_sk_", "mr_ak_")),
        operator_token: Some("operators".to_owned()),
        ..Config::default()
    };
    let asked = RefCell::new(Vec::new());
    let serve = |status: u16| {
        let asked = &asked;
        move |ask: &Ask<'_>| {
            asked.borrow_mut().push((ask.path.to_owned(), ask.token.map(str::to_owned)));
            Ok(answer(status, &json!({"owner_member_id": "mem_1"})))
        }
    };
    gather(&serve(404), &config("https://a.example"), &|| NOW);
    assert_eq!(asked.take(), [("/healthz".to_owned(), None)]);
    gather(&serve(200), &config("http://a.example"), &|| NOW);
    assert!(asked.take().iter().all(|(_, token)| token.is_none()));
    let gathered = gather(&serve(200), &config("https://a.example"), &|| NOW);
    assert_eq!(gathered.now_ms, NOW);
    let paths: Vec<String> = asked.take().into_iter().map(|(path, _)| path).collect();
    for due in ["/admin/v1/members/mem_1", "/platform/v1/metrics"] {
        assert!(paths.iter().any(|path| path == due), "{paths:?}");
    }
    let own = format!("/admin/v1/api_keys/key_{}", "0".repeat(26));
    assert!(
        paths.contains(&own) && paths.iter().any(|path| path.starts_with("/platform/v1/reconcile?organization=org_0")),
        "{paths:?}"
    );
    let dead = |_: &Ask<'_>| Err("no answer to operators".to_owned());
    let findings = judge(&gather(&dead, &config("https://a.example"), &|| NOW));
    assert!(
        matches!(findings.as_slice(), [silent, _] if silent.level == Level::Fail && silent.what == "no answer to …")
    );
}
