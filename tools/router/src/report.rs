//! What the standing evaluation prints, and its summary.
use crate::judge::rounded;
use serde_json::{Value, json};

/// Who is held against the router, in the order of the columns.
const AGAINST: [(&str, &str); 7] = [
    ("random", "random"),
    ("length", "length"),
    ("keyword", "keyword"),
    ("knn", "knn"),
    ("task_mean_from_labels", "task"),
    ("task_mean", "task*"),
    ("oracle", "oracle*"),
];

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

fn shown(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

fn range(value: &Value, pointer: &str, signed: bool) -> String {
    let end = |place: usize| number(value, &format!("{pointer}/{place}"));
    match (end(0), end(1)) {
        (Some(low), Some(high)) if signed => format!("{low:+.3} to {high:+.3}"),
        (Some(low), Some(high)) => format!("{low:.3}–{high:.3}"),
        _ => "-".into(),
    }
}

/// The lowest and the highest APGR of several draws.
fn draws(found: &Value) -> String {
    let all: Vec<f64> = found["draws"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let (low, high) = (all.iter().copied().reduce(f64::min), all.iter().copied().reduce(f64::max));
    if all.len() < 2 { "-".into() } else { format!("{}–{}", shown(low), shown(high)) }
}

fn row(cells: &[String], widths: &[usize]) {
    let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
    println!("{}", cells.join(" "));
}

const WIDTHS: [usize; 14] = [6, 5, 6, 11, 11, 7, 7, 8, 7, 7, 7, 7, 18, 6];

/// What the columns are.
pub fn heading() {
    println!(
        "APGR: 0.5 is chance. Each file is judged with weights that never saw it. Intervals hold 95 % of 1,000 resamples."
    );
    println!(
        "With labels, all figures are means over five draws of the rows that reveal theirs; draws: lowest and highest APGR."
    );
    println!(
        "task: the mean gain of the row's category among the labels; * sees the judged scores, a ceiling no router has."
    );
    println!("flips: decisions that change with case, spacing, a polite prefix or typos.");
    let names = ["labels", "rows", "router", "interval", "draws"].into_iter();
    let names = names.chain(AGAINST.iter().map(|(_, shown)| *shown)).chain(["router less length", "flips"]);
    row(&names.map(str::to_owned).collect::<Vec<_>>(), &WIDTHS);
}

/// Whose lines follow.
pub fn subject(name: &str) {
    println!("{name}");
}

/// A verdict on a pair or a mix.
pub fn line(found: &Value) {
    let mut cells = vec![found["labels"].to_string(), found["n"].to_string(), shown(number(found, "/apgr"))];
    cells.extend([range(found, "/ci", false), draws(found)]);
    cells.extend(AGAINST.iter().map(|(name, _)| shown(number(found, &format!("/baselines/{name}/apgr")))));
    cells.extend([range(found, "/baselines/length/router_above", true), shown(number(found, "/flip_rate"))]);
    row(&cells, &WIDTHS);
}

const POOL_WIDTHS: [usize; 8] = [26, 6, 10, 18, 23, 18, 9, 18];

/// What the columns of the pool are.
pub fn pool_heading(models: &[&str]) {
    println!("\npool: {}", models.join(", "));
    println!(
        "Cost for 95 / 98 / 100 % of the target's quality, as a part of its cost. held: what a dollar is worth is set on one half"
    );
    println!(
        "of the rows, cost (and quality kept, in %) are those of the other; mix: the best static mix that keeps as much, and the"
    );
    println!("oracle, both set with all scores in sight; won: draws of the labels in which held costs less than mix.");
    let names = ["target", "labels", "policy", "held", "", "mix", "won", "oracle"];
    row(&names.map(str::to_owned), &POOL_WIDTHS);
}

/// A verdict on the pool.
pub fn pool_line(target: &str, labels: usize, escalate: bool, found: &Value) {
    let all = |shown: &dyn Fn(&str) -> Option<String>| {
        ["95", "98", "100"].map(|quality| shown(quality).unwrap_or("-".into())).join(" / ")
    };
    let cost = |pointer: &str| number(found, pointer).map(|cost| format!("{cost:.2}"));
    let held = all(&|quality| cost(&format!("/held/{quality}/cost")));
    let kept =
        all(&|quality| number(found, &format!("/held/{quality}/quality")).map(|kept| format!("{:.1}", kept * 100.0)));
    let mix = all(&|quality| cost(&format!("/held/{quality}/mix")));
    let oracle = all(&|quality| cost(&format!("/baselines/oracle/cost_at/{quality}")));
    let won = all(&|quality| {
        let less = |draw: &&Value| {
            Some(number(draw, &format!("/{quality}/cost"))? < number(draw, &format!("/{quality}/mix"))?)
        };
        Some(found["draws"].as_array()?.iter().filter(|draw| less(draw) == Some(true)).count().to_string())
    });
    let policy = if escalate { "escalation" } else { "one call" };
    row(&[target.into(), labels.to_string(), policy.into(), held, format!("({kept})"), mix, won, oracle], &POOL_WIDTHS);
}

/// Means over the pairs and over the mixes by the number of labels, and where the router is below the prompt's length.
pub fn summary(told: &[Value]) -> Value {
    let mut all = serde_json::Map::new();
    for kind in ["pair", "mix"] {
        let of_kind = told.iter().filter(|verdict| verdict["kind"] == kind);
        let mut labels: Vec<u64> = of_kind.clone().filter_map(|verdict| verdict["labels_asked"].as_u64()).collect();
        labels.sort_unstable();
        labels.dedup();
        let of_labels = |labels: &u64| {
            let verdicts: Vec<&Value> = of_kind.clone().filter(|verdict| verdict["labels_asked"] == *labels).collect();
            (labels.to_string(), summed(&verdicts))
        };
        all.insert(kind.to_owned(), Value::Object(labels.iter().map(of_labels).collect()));
    }
    all.into()
}

fn mean(verdicts: &[&Value], pointer: &str) -> Option<f64> {
    let found: Vec<f64> = verdicts.iter().filter_map(|verdict| number(verdict, pointer)).collect();
    (!found.is_empty()).then(|| rounded(found.iter().sum::<f64>() / found.len() as f64))
}

fn summed(verdicts: &[&Value]) -> Value {
    let mut apgr = serde_json::Map::new();
    let mut against = serde_json::Map::new();
    apgr.insert("router".into(), mean(verdicts, "/result/apgr").into());
    for (name, _) in AGAINST {
        let of = format!("/result/baselines/{name}");
        apgr.insert(name.into(), mean(verdicts, &format!("{of}/apgr")).into());
        let less = |verdict: &Value| Some(number(verdict, "/result/apgr")? - number(verdict, &format!("{of}/apgr"))?);
        let found = |verdict: &&Value| {
            let end = |place: usize| number(verdict, &format!("{of}/router_above/{place}"));
            Some((less(verdict)?, end(0)?, end(1)?))
        };
        let found: Vec<(f64, f64, f64)> = verdicts.iter().filter_map(found).collect();
        let counted = |fits: &dyn Fn(&(f64, f64, f64)) -> bool| found.iter().filter(|one| fits(one)).count();
        let counts = json!({
            "below": counted(&|(less, ..)| *less < 0.0), "clearly_below": counted(&|(.., high)| *high < 0.0),
            "above": counted(&|(less, ..)| *less > 0.0), "clearly_above": counted(&|(_, low, _)| *low > 0.0),
        });
        against.insert(name.into(), counts);
    }
    let below_length = |verdict: &&Value| {
        let by = number(verdict, "/result/baselines/length/apgr")? - number(verdict, "/result/apgr")?;
        let clearly = number(verdict, "/result/baselines/length/router_above/1")? < 0.0;
        let told = json!({"data": verdict["data"], "models": verdict["result"]["models"], "by": rounded(by),
            "clearly": clearly});
        (by > 0.0).then_some(told)
    };
    let below: Vec<Value> = verdicts.iter().filter_map(below_length).collect();
    json!({"count": verdicts.len(), "apgr": apgr, "router": against, "below_length": below})
}

const SUMMARY_WIDTHS: [usize; 10] = [4, 6, 7, 7, 7, 8, 7, 7, 7, 7];
const COUNT_WIDTHS: [usize; 6] = [4, 6, 15, 15, 15, 15];

/// Prints what [`summary`] made.
pub fn print_summary(summary: &Value) {
    let lines = || {
        let kinds = ["pair", "mix"].into_iter();
        kinds.flat_map(|kind| {
            summary[kind].as_object().into_iter().flatten().map(move |(labels, of)| (kind, labels, of))
        })
    };
    println!("\nMean APGR");
    let names = ["", "labels", "router"].into_iter().chain(AGAINST.iter().map(|(_, shown)| *shown));
    row(&names.map(str::to_owned).collect::<Vec<_>>(), &SUMMARY_WIDTHS);
    for (kind, labels, of) in lines() {
        let mut cells = vec![kind.to_owned(), labels.clone(), shown(number(of, "/apgr/router"))];
        cells.extend(AGAINST.iter().map(|(name, _)| shown(number(of, &format!("/apgr/{name}")))));
        row(&cells, &SUMMARY_WIDTHS);
    }
    println!(
        "\nHow often the router is above / below; in brackets where the interval of the difference leaves out zero"
    );
    row(&["", "labels", "length", "keyword", "knn", "task"].map(str::to_owned), &COUNT_WIDTHS);
    for (kind, labels, of) in lines() {
        let mut cells = vec![kind.to_owned(), labels.clone()];
        cells.extend(["length", "keyword", "knn", "task_mean_from_labels"].map(|name| {
            let counts = &of["router"][name];
            let [above, clearly_above, below, clearly_below] =
                ["above", "clearly_above", "below", "clearly_below"].map(|of| &counts[of]);
            if of["apgr"][name].is_null() {
                "-".into()
            } else {
                format!("{above} ({clearly_above}) / {below} ({clearly_below})")
            }
        }));
        row(&cells, &COUNT_WIDTHS);
    }
    println!("\nBelow length");
    for (_, labels, of) in lines() {
        for found in of["below_length"].as_array().into_iter().flatten() {
            let names: Vec<&str> = found["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let clearly = if found["clearly"] == true { ", clearly" } else { "" };
            let (data, by) = (found["data"].as_str().unwrap_or_default(), shown(found["by"].as_f64()));
            println!("  {data}, {}, {labels} labels: by {by}{clearly}", names.join(" → "));
        }
    }
}
