//! Records as the worker writes them, read and replayed.
use megarouter::{
    analysis::analyse,
    catalog::{Catalog, When},
    chat::{Message, Part, Request, Role},
    endpoint::{Overrides, Surface},
    id::Dice,
    ledger::{AttemptRecord, CallRecord},
    mode::Mode,
    quality::Checks,
    route::{Allowed, Plan, Question, decision::Hints, plan},
    time::Millis,
    world::{Credential, Reach, Settings, World},
};
use replay::{Decided, Row, backtest::backtest, replay, row};
use serde_json::json;
use std::rc::Rc;

/// A cheap model and a dear one, the cheap one's output at so many dollars a million tokens.
fn catalog(cheap: &str) -> Rc<Catalog> {
    let provider =
        |id: &str| json!({"id": id, "name": id, "dialect": "openai_chat", "base_url": format!("https://{id}.test")});
    let model = |provider: &str, id: &str, input: &str, output: &str| json!({"provider": provider, "id": id, "context_length": 100_000, "input_usd_per_mtok": input, "output_usd_per_mtok": output});
    let document = json!({"version": 1, "providers": [provider("a"), provider("b"), provider("c")],
        "models": [model("a", "small", "0.1", cheap), model("b", "large", "5", "25"), model("c", "mid", "1", "4")]});
    Rc::new(Catalog::parse(&document.to_string()).expect("valid"))
}

fn world(catalog: Rc<Catalog>) -> World {
    let reach =
        |id: &str| (id.to_owned(), Reach { base_url: "https://x.test".into(), credentials: vec![Credential::None] });
    let settings = Settings { reach: ["a", "b", "c"].map(reach).into_iter().collect(), x402: None };
    World { catalog, settings: Rc::new(settings), ..World::default() }
}

/// The row of a request for `auto`, as the ledger tells it.
fn row_of(mode: Mode, number: u64) -> String {
    let world = world(catalog("0.4"));
    let text = format!("Prove by induction, and derive in detail, theorem {number} of the lattice. ").repeat(20);
    let message = Message { role: Role::User, parts: vec![Part::text(text)], name: None };
    let request = Request { messages: vec![message], ..Request::default() };
    let overrides = Overrides { mode: Some(mode), ..Overrides::default() };
    let signals = analyse(&request, &overrides, &world.prior);
    let question = Question {
        model: "auto",
        signals: &signals,
        overrides: &overrides,
        allowed: &Allowed::default(),
        output_cap: None,
        surface: Surface::ChatCompletions,
        stream: false,
        checks: Checks::default(),
        when: When::default(),
        now: Millis(1_000),
        seed: number,
    };
    let mut plan: Plan = plan(&question, &world, &mut Dice::new(number)).expect("a plan");
    let hints = Hints { allowed: &[0, 1, 2], warm: "", pool: &[] };
    let place = plan.choose(&hints).expect("somebody");
    let chosen = Rc::clone(&plan.candidates[place].deployment);
    let attempts = vec![AttemptRecord { verdict: "passed".into(), ..AttemptRecord::default() }];
    let call = CallRecord {
        provider: chosen.provider.id.clone(),
        model: chosen.model.clone(),
        catalog_id: world.catalog.id.clone(),
        case: signals.case.to_text(),
        decision: plan.record(&signals, &world, &hints).expect("a choice").to_text(),
        attempts,
        ..CallRecord::default()
    };
    json!({"object": "ledger_entry", "id": format!("req_{number}"), "at": "2026-11-28T00:00:00Z", "amount_usd": "-0.002", "call": call})
        .to_string()
}

fn decided(text: &str) -> Decided {
    match row(text) {
        Row::Decided(decided) => *decided,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_decision_comes_out_the_same_and_a_changed_one_does_not() {
    let kept = decided(&row_of(Mode::Balanced, 7));
    let (told, same) = replay(&kept);
    assert!(same && told.contains("the same, bit for bit") && told.contains("seed 7"), "{told}");
    let mut changed = kept.clone();
    changed.record.candidates[2].judged.score += 1e-15;
    assert!(!replay(&changed).1, "the last bit counts");
    let mut changed = kept;
    changed.record.terms.mode = Mode::CostFirst;
    assert!(!replay(&changed).1);
}

#[test]
fn rows_that_tell_of_no_decision_are_told_apart() {
    let undecided = json!({"id": "crd_1", "kind": "credit"}).to_string();
    assert!(matches!(row(&undecided), Row::Undecided));
    let pinned = json!({"id": "req_1", "at": "2026-11-28T00:00:00Z", "call": CallRecord::default()}).to_string();
    assert!(matches!(row(&pinned), Row::Undecided));
    let strange =
        json!({"id": "req_1", "call": CallRecord { decision: "AAAA".into(), ..CallRecord::default() }}).to_string();
    assert!(matches!(row(&strange), Row::Unreadable(why) if why.contains("another version")));
    assert!(matches!(row("no"), Row::Unreadable(_)));
}

#[test]
fn the_same_mode_and_prices_move_nobody() {
    let rows: Vec<Decided> = (0..20).map(|number| decided(&row_of(Mode::Balanced, number))).collect();
    let report = backtest(&rows, &catalog("0.4"), None);
    assert_eq!((report.requests, report.skipped, report.same), (20, 0, 20));
    assert!(report.moves.is_empty() && report.was == report.would, "{report:?}");
    let told = report.to_json();
    assert_eq!(told["off_policy"]["mean_real_cost_usd"], "0.002000000");
    assert_eq!((&told["off_policy"]["passed"], &told["cost_change"]), (&json!(1.0), &json!(0.0)));
}

#[test]
fn another_mode_is_cheaper_and_worse_and_other_prices_lead_elsewhere() {
    let rows: Vec<Decided> = (0..20).map(|number| decided(&row_of(Mode::Balanced, number))).collect();
    let cheaper = backtest(&rows, &catalog("0.4"), Some(Mode::CostFirst));
    assert!(cheaper.would.cost <= cheaper.was.cost && cheaper.would.quality <= cheaper.was.quality, "{cheaper:?}");
    let first: Vec<Decided> = (0..20).map(|number| decided(&row_of(Mode::CostFirst, number))).collect();
    assert!(first.iter().all(|row| row.call.model == "small"));
    let dearer = backtest(&first, &catalog("90"), None);
    assert_eq!(dearer.moves.get(&("a/small".into(), "c/mid".into())), Some(&20), "{dearer:?}");
    assert!(dearer.to_text(3).contains("20  a/small -> c/mid") && dearer.to_text(3).contains("3 "));
    let empty = backtest(&[], &catalog("0.4"), None);
    assert!(empty.to_text(0).starts_with("0 decisions"));
}
