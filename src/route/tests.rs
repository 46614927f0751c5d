use super::*;
use crate::{
    analysis::analyse,
    catalog::Catalog,
    chat::{Message, Part, Request, Role, Tool},
    health::{FailedAs, Health, Outcome, Sample},
    world::{Credential, Reach, Settings},
};

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
    let signals = analyse(request, overrides);
    let allowed = Allowed::default();
    let output_cap = request.max_output_tokens;
    let question = Question {
        stream: false,
        model,
        signals: &signals,
        overrides,
        allowed: &allowed,
        output_cap,
        surface: Surface::ChatCompletions,
        when: When::default(),
        now: Millis(1_000),
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
    hard.messages = vec![Message { role: Role::User, parts: vec![Part::text("x ".repeat(60_000))], name: None }; 2];
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

const OUTPUT_BOUND: u64 = 4_096;
