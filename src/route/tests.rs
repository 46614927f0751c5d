use super::*;
use crate::{
    analysis::analyse,
    catalog::Catalog,
    chat::{Message, Part, Request, Role, Tool},
    health::{FailedAs, Health, Outcome, Sample},
    mode::Mode,
    world::{Credential, Reach, Settings},
};
use serde_json::Value;

/// One row a model: `provider/model input output abilities`.
fn world(rows: &str) -> World {
    let rows: Vec<Vec<&str>> =
        rows.lines().map(|line| line.split_whitespace().collect()).filter(|r: &Vec<_>| !r.is_empty()).collect();
    let mut providers: Vec<&str> = rows.iter().map(|row| row[0].split_once('/').expect("provider/model").0).collect();
    providers.dedup();
    let reach = |id: &&str| {
        let base_url = format!("https://{id}.test");
        ((*id).to_owned(), Reach { base_url, credentials: vec![Credential::None] })
    };
    let settings = Settings { reach: providers.iter().map(reach).collect(), x402: None };
    let providers: Vec<_> = providers
        .iter()
        .map(|id| crate::json::json!({"id": id, "name": id, "dialect": "openai_chat", "base_url": format!("https://{id}.test")}))
        .collect();
    let models: Vec<_> = rows
        .iter()
        .map(|row| {
            let (provider, model) = row[0].split_once('/').expect("provider/model");
            crate::json::json!({"provider": provider, "id": model, "context_length": 100_000, "input_usd_per_mtok": row[1],
                "output_usd_per_mtok": row[2], "supports": row[3..]})
        })
        .collect();
    let document = crate::json::json!({"version": 1, "providers": providers, "models": models}).to_string();
    let catalog = Rc::new(Catalog::parse(&document).expect("valid"));
    World { catalog, settings: Rc::new(settings), ..World::default() }
}

fn ask() -> Request {
    let message = Message { role: Role::User, parts: vec![Part::text("hello")], name: None };
    Request { messages: vec![message], ..Request::default() }
}

fn planned(world: &World, model: &str, request: &Request, overrides: &Overrides) -> Result<Plan, Fault> {
    let signals = analyse(request, overrides, &world.prior);
    let allowed = Allowed::default();
    let output_cap = request.max_output_tokens;
    let question = Question {
        stream: false,
        checks: Checks::default(),
        model,
        signals: &signals,
        overrides,
        allowed: &allowed,
        output_cap,
        surface: Surface::ChatCompletions,
        when: When::default(),
        now: Millis(1_000),
        seed: 1,
    };
    plan(&question, world, &mut Dice::new(1))
}

fn told(world: &World, model: &str, overrides: &Overrides) -> Vec<String> {
    let plan = planned(world, model, &ask(), overrides).expect("a plan");
    plan.candidates.iter().map(|candidate| candidate.deployment.id.clone()).collect()
}

const ROWS: &str = "a/big 5 25 tools
    a/small 0.1 0.4 tools
    b/mid 1 4
    c/big 4 20 tools";

#[test]
fn each_mode_prefers_its_own() {
    let mut world = world(ROWS);
    let first =
        |world: &World, mode: Mode| told(world, &format!("auto:{}", mode.word()), &Overrides::default()).remove(0);
    assert_eq!(first(&world, Mode::CostFirst), "a/small");
    let mut health = Health::default();
    for (deployment, ttft_ms) in [("a/big", 900), ("a/small", 700), ("b/mid", 100), ("c/big", 2_000)] {
        let outcome = Outcome::Answered { ttft_ms };
        health.observe(&Sample { deployment: deployment.into(), at: Millis(1), outcome });
    }
    for deployment in ["a/big", "a/small", "b/mid"] {
        let outcome = Outcome::Failed { fault: FailedAs::Fault, retry_after_ms: None };
        health.observe(&Sample { deployment: deployment.into(), at: Millis(2), outcome });
    }
    world.health = Rc::new(health);
    assert_eq!(first(&world, Mode::LatencyFirst), "b/mid");
    assert_eq!(first(&world, Mode::AvailabilityFirst), "c/big");
}

#[test]
fn balanced_spends_more_on_what_looks_hard() {
    let world = world(ROWS);
    let first = |request: &Request| {
        let plan = planned(&world, "auto", request, &Overrides::default()).expect("a plan");
        plan.candidates[0].deployment.rates.at(0, When::default()).output
    };
    let mut hard = ask();
    hard.effort = Some(crate::chat::Effort::High);
    hard.messages = vec![
        Message {
            role: Role::User,
            parts: vec![Part::text(
                "Derive the integral of the tensor field and prove that it converges. ".repeat(500)
            )],
            name: None
        };
        2
    ];
    hard.tools = vec![Tool::Native(crate::json::json!({})); 5];
    assert!(first(&ask()) < first(&hard));
}

#[test]
fn names_mean_what_they_say() {
    let world = world("a/m 1 4\nb/m 2 8\nb/n 1 1");
    assert_eq!(told(&world, "b/m", &Overrides::default()), ["b/m"]);
    assert_eq!(told(&world, "m:floor", &Overrides::default()), ["a/m", "b/m"]);
    let overrides = Overrides { models: vec!["n".into(), "b/m".into()], ..Overrides::default() };
    assert_eq!(told(&world, "a/m", &overrides), ["a/m", "b/n", "b/m"], "fallbacks keep their order");
    let missing = planned(&world, "gpt-0", &ask(), &Overrides::default()).expect_err("unknown");
    assert_eq!((missing.status, missing.code), (404, "model_not_found"));
    assert_eq!(planned(&world, "auto:fast", &ask(), &Overrides::default()).expect_err("no mode").status, 400);
}

#[test]
fn what_cannot_serve_is_left_out_with_a_reason() {
    let world = world(ROWS);
    let mut request = ask();
    request.tools.push(Tool::Native(crate::json::json!({"type": "x"})));
    let plan = planned(&world, "auto", &request, &Overrides::default()).expect("a plan");
    assert!(plan.candidates.iter().all(|candidate| candidate.deployment.id != "b/mid"));
    let why: Vec<_> = plan.considered.iter().filter_map(|one| Some((one.deployment.id.as_str(), one.why?))).collect();
    assert_eq!(why, [("b/mid", "no tools")]);
    let fault = planned(&world, "b/mid", &request, &Overrides::default()).expect_err("no tools there");
    assert!(fault.status == 400 && fault.message.contains("no tools"));
}

#[test]
fn an_open_circuit_comes_last_and_the_second_is_another_provider() {
    let mut world = world("a/x 1 1\na/y 1.1 1.1\nb/z 3 3");
    assert_eq!(told(&world, "auto:cost-first", &Overrides::default()), ["a/x", "b/z", "a/y"]);
    let mut health = Health::default();
    let outcome = Outcome::Failed { fault: FailedAs::Credential, retry_after_ms: None };
    health.observe(&Sample { deployment: "a/x".into(), at: Millis(900), outcome });
    world.health = Rc::new(health);
    assert_eq!(told(&world, "auto:cost-first", &Overrides::default()).last().map(String::as_str), Some("a/x"));
}

#[test]
fn a_ceiling_shortens_the_answer_before_it_refuses() {
    let world = world("a/m 1 4");
    let capped = |usd: &str| {
        let max_cost_usd = Some(Nanos::parse_usd(usd).expect("an amount"));
        planned(&world, "a/m", &ask(), &Overrides { max_cost_usd, ..Overrides::default() })
    };
    let plan = capped("0.005").expect("fits when shortened");
    let candidate = &plan.candidates[0];
    assert!(candidate.quote <= Nanos(5_000_000) && candidate.output_tokens_max < OUTPUT_BOUND);
    assert!(capped("0.001").expect_err("the prompt alone is dearer").message.contains("max_cost_usd"));
}

/// A shorter answer is there sooner and costs less: that is no merit of whom a ceiling cuts short.
#[test]
fn who_is_cut_short_by_a_ceiling_looks_no_better() {
    let world = world("a/dear 1 40\nb/cheap 1 3");
    let ceiling = Overrides { max_cost_usd: Some(Nanos(14_000_000)), ..Overrides::default() };
    let plan = planned(&world, "auto:latency-first", &ask(), &ceiling).expect("both fit");
    let cut: Vec<bool> = plan.candidates.iter().map(|candidate| candidate.output_tokens_max < OUTPUT_BOUND).collect();
    assert_eq!(cut, [false, true], "the dear one alone is cut, and comes second");
    for mode in ["auto:latency-first", "auto:cost-first", "auto"] {
        assert_eq!(told(&world, mode, &ceiling), told(&world, mode, &Overrides::default()), "{mode}");
    }
}

/// A model that reasons and is sold at a cheaper tier, beside one that does neither.
fn tiers() -> World {
    let document = crate::json::json!({"version": 1,
        "providers": [{"id": "a", "name": "a", "dialect": "openai_chat", "base_url": "https://a.test"}],
        "models": [
            {"provider": "a", "id": "thinks", "context_length": 100_000, "input_usd_per_mtok": "1", "output_usd_per_mtok": "4",
             "supports": ["reasoning"], "efforts": ["minimal", "low", "medium", "high"],
             "rates": [{"service_tier": "flex", "input_usd_per_mtok": "0.5", "output_usd_per_mtok": "2"}]},
            {"provider": "a", "id": "plain", "context_length": 100_000, "input_usd_per_mtok": "1", "output_usd_per_mtok": "4"}]});
    let reach = Reach { base_url: "https://a.test".into(), credentials: vec![Credential::None] };
    let settings = Settings { reach: [("a".to_owned(), reach)].into_iter().collect(), x402: None };
    let catalog = Rc::new(Catalog::parse(&document.to_string()).expect("valid"));
    World { catalog, settings: Rc::new(settings), ..World::default() }
}

fn of(plan: &Plan, model: &str) -> Candidate {
    plan.candidates.iter().find(|one| one.deployment.model == model).expect("a candidate").clone()
}

#[test]
fn work_that_can_wait_takes_the_cheaper_tier_and_urgent_work_is_hedged() {
    use crate::{chat::ServiceTier, endpoint::Priority};
    let (world, asked) = (tiers(), ask());
    let with =
        |priority| planned(&world, "auto", &asked, &Overrides { priority, ..Overrides::default() }).expect("a plan");
    let (low, normal, high) = (with(Priority::Low), with(Priority::Normal), with(Priority::High));
    assert_eq!(of(&low, "thinks").when.tier, Some(ServiceTier::Flex));
    assert!(of(&low, "thinks").features.expected < of(&normal, "thinks").features.expected);
    assert_eq!((of(&low, "plain").when.tier, of(&normal, "thinks").when.tier), (None, None));
    assert_eq!((low.conduct.hedge, normal.conduct.hedge, high.conduct.hedge), (false, false, true));
    let never = Overrides { priority: Priority::High, hedge: Some(false), ..Overrides::default() };
    assert!(
        !planned(&world, "auto", &asked, &never).expect("a plan").conduct.hedge,
        "the request's own word counts more"
    );
}

#[test]
fn how_much_a_model_thinks_follows_the_request_where_it_is_left_open() {
    use crate::chat::Effort;
    let (world, mut asked) = (tiers(), ask());
    let effort = |asked: &Request, model: &str| {
        let candidate = of(&planned(&world, model, asked, &Overrides::default()).expect("a plan"), "thinks");
        (candidate.effort, candidate.features.expected)
    };
    let (easy, cheap) = effort(&asked, "auto");
    assert_eq!(easy, Some(Effort::Minimal));
    assert_eq!(effort(&asked, "a/thinks").0, None, "who names a model decides how it is asked");
    let hard = "Derive the integral of the tensor field, prove that it converges, and calculate its bound. ".repeat(40);
    asked.messages[0].parts = vec![Part::text(hard)];
    let (hard, dear) = effort(&asked, "auto");
    assert!(hard >= Some(Effort::Low) && dear > cheap, "{hard:?}");
    asked.effort = Some(Effort::Medium);
    assert_eq!(effort(&asked, "auto").0, None, "nothing is left open");
}

#[test]
fn a_session_stays_where_its_prompt_is_cached_unless_the_gain_is_larger() {
    let rows = |cached: &str, other: &str| {
        let document = crate::json::json!({"version": 1,
            "providers": [{"id": "a", "name": "a", "dialect": "openai_chat", "base_url": "https://a.test"},
                {"id": "b", "name": "b", "dialect": "openai_chat", "base_url": "https://b.test"}],
            "models": [
                {"provider": "a", "id": "m", "context_length": 100_000, "input_usd_per_mtok": "3", "output_usd_per_mtok": "3",
                 "cache_read_usd_per_mtok": cached},
                {"provider": "b", "id": "m", "context_length": 100_000, "input_usd_per_mtok": other, "output_usd_per_mtok": other}]});
        let reach = |id: &str| {
            let base_url = format!("https://{id}.test");
            (id.to_owned(), Reach { base_url, credentials: vec![Credential::None] })
        };
        let settings = Settings { reach: ["a", "b"].map(reach).into_iter().collect(), x402: None };
        let catalog = Rc::new(Catalog::parse(&document.to_string()).expect("valid"));
        World { catalog, settings: Rc::new(settings), ..World::default() }
    };
    let mut asked = ask();
    asked.messages[0].parts = vec![Part::text("word ".repeat(20_000))];
    let overrides = Overrides { session: Some("s".into()), ..Overrides::default() };
    let stays = |world: &World, warm: &str| {
        let mut plan = planned(world, "m:floor", &asked, &overrides).expect("a plan");
        assert_eq!(plan.candidates[0].deployment.id, "b/m", "by itself");
        let place = plan.choose(&Hints { allowed: &[0, 1], warm, pool: &[] }).expect("one of them");
        (plan.reason == Reason::Affinity).then(|| plan.candidates[place].deployment.id.clone())
    };
    assert_eq!(stays(&rows("0.3", "2"), "a/m").as_deref(), Some("a/m"));
    assert_eq!(stays(&rows("0.3", "0.1"), "a/m"), None, "the other is cheaper all the same");
    assert_eq!(stays(&rows("3", "2"), "a/m"), None, "its cache is worth nothing");
    assert_eq!(stays(&rows("0.3", "2"), "c/m"), None, "it is none of the candidates");
}

const OUTPUT_BOUND: u64 = 4_096;

fn under(world: &World, layers: Value) -> World {
    let told = crate::json::json!({"organization": "org_a", "version": 1, "providers": {}, "routes": {"mine": {"targets": [
        {"provider": "a", "model": "big"}, {"provider": "a", "model": "small"}]}}, "policies": layers});
    let mut world = world.clone();
    assert!(world.learn(&crate::json::from_value(told).expect("rows of an organisation")));
    world
}

fn layers(organization: Value, group: Value) -> Value {
    crate::json::json!([{"scope": "group:grp_a", "name": "Research", "written": group},
        {"scope": "organization", "name": "Acme", "written": organization}])
}

#[test]
fn a_policy_sets_what_a_request_leaves_open() {
    use crate::json::json;
    let world = under(&world(ROWS), layers(json!({"mode": "latency-first"}), json!({"mode": "cost-first"})));
    let mode = |model: &str, mode| {
        planned(&world, model, &ask(), &Overrides { mode, ..Overrides::default() }).expect("a plan").terms.mode
    };
    assert_eq!(mode("auto", None), Mode::CostFirst);
    assert_eq!(mode("auto:balanced", None), Mode::Balanced);
    assert_eq!(mode("auto", Some(Mode::AvailabilityFirst)), Mode::AvailabilityFirst);
    assert_eq!(
        told(&world, "mine", &Overrides::default()),
        ["a/big", "a/small"],
        "a route keeps the order of its targets"
    );
}

#[test]
fn a_policy_narrows_and_a_refusal_names_its_rule() {
    use crate::json::json;
    let policy = json!({"deny": ["c/*"], "max_price": {"output": "24"}, "max_cost_usd": "0.05"});
    let world = under(&world(ROWS), layers(policy, json!({"allow": ["a/*", "c/big"]})));
    assert_eq!(told(&world, "auto:cost-first", &Overrides::default()), ["a/small"]);
    let plan = planned(&world, "auto", &ask(), &Overrides::default()).expect("a plan");
    let why: Vec<_> = plan.considered.iter().filter_map(|one| one.why?.rsplit(' ').next()).collect();
    assert_eq!(why, ["max_price", "allow", "deny"]);
    for (model, rule, name) in [
        ("c/big", "deny \"c/*\" of the organization \"Acme\"", "Acme"),
        ("b/mid", "allow [\"a/*\",\"c/big\"] of the group \"Research\"", "Research"),
        ("a/big", "max_price {\"output\":\"24\"} of the organization \"Acme\"", "Acme"),
    ] {
        let fault = planned(&world, model, &ask(), &Overrides::default()).expect_err("ruled out");
        assert_eq!((fault.status, fault.code), (403, "routing_policy_denied"));
        assert!(fault.message.contains(rule) && fault.message.contains("ask an admin"), "{}", fault.message);
        assert_eq!(fault.metadata["scope_name"], name);
    }
    let wanted = crate::endpoint::Providers { only: vec!["c".into()], ..crate::endpoint::Providers::default() };
    let fault = planned(&world, "auto", &ask(), &Overrides { providers: wanted, ..Overrides::default() });
    assert_eq!(fault.expect_err("only what is denied").code, "routing_policy_denied");
}

#[test]
fn a_policy_caps_what_a_request_costs_and_how_good_a_choice_is() {
    use crate::json::json;
    let capped =
        |usd: &str| under(&world("a/m 1 4"), layers(json!({"max_cost_usd": usd}), json!({"mode": "balanced"})));
    let asking = |usd: &str| Overrides { max_cost_usd: Nanos::parse_usd(usd).ok(), ..Overrides::default() };
    let quote = |world: &World, usd: &str| {
        planned(world, "a/m", &ask(), &asking(usd)).expect("fits when shortened").candidates[0].quote
    };
    assert!(quote(&capped("0.005"), "9") <= Nanos(5_000_000), "a higher ceiling is brought down");
    assert!(quote(&capped("0.005"), "0.004") <= Nanos(4_000_000));
    let fault =
        |usd: &str| planned(&capped("0.001"), "a/m", &ask(), &asking(usd)).expect_err("the prompt alone is dearer");
    assert!(fault("1").code == "routing_policy_denied" && fault("1").message.contains("max_cost_usd \"0.001\" of"));
    assert_eq!(fault("0.0001").status, 400, "its own ceiling");
    let good = under(&world(ROWS), layers(json!({"min_quality": 0.99}), json!({"mode": "cost-first"})));
    assert_eq!(told(&good, "auto", &Overrides::default()), ["c/big", "a/big"]);
    assert_eq!(told(&good, "a/small", &Overrides::default()), ["a/small"], "who names a model gets it");
    assert_eq!(told(&good, "mine", &Overrides::default()), ["a/big", "a/small"]);
    let mode = Overrides { mode: Some(Mode::CostFirst), ..Overrides::default() };
    assert_eq!(told(&good, "mine", &mode), ["a/big"]);
    let both = under(&world(ROWS), layers(json!({"deny": ["a/*"]}), json!({"min_quality": 0.999})));
    let fault = planned(&both, "a/small", &ask(), &Overrides::default()).expect_err("denied");
    assert!(fault.message.contains("deny \"a/*\" of the organization"), "{}", fault.message);
    let fault = planned(&both, "auto", &ask(), &Overrides::default()).expect_err("nothing is good enough");
    assert!(fault.message.contains("min_quality 0.999 of the group"), "{}", fault.message);
    let more = Overrides { models: vec!["auto".into()], ..Overrides::default() };
    assert_eq!(told(&good, "b/mid", &more), ["b/mid", "c/big", "a/big"]);
}
