//! One flagship for everything against a cheap model beside it: what a billion tokens a month cost at the prices of the bundled
//! catalog. Shares and qualities are those the mixes of the evaluation measured, of models of 2023 and 2024; prices are today's.
use crate::{data::Failure, judge::rounded};
use megarouter::{
    catalog::{Catalog, When},
    money::Pico,
};
use serde_json::{Value, json};

/// A flagship, and a cheap general model of the same maker.
struct Choice {
    flagship: &'static str,
    cheap: &'static str,
}

const CHOICES: [Choice; 4] = [
    // Each maker's large general model, and the cheapest of the same generation. OpenAI has a dearer one for the hardest tasks.
    Choice { flagship: "anthropic/claude-opus-5-5", cheap: "anthropic/claude-haiku-5-5" },
    Choice { flagship: "openai/gpt-6-sol", cheap: "openai/gpt-6-luna" },
    // Of the four the pair that is closest in price: routing has the least to save.
    Choice { flagship: "google/gemini-3.1-pro-preview", cheap: "google/gemini-3.7-flash" },
    // Among the dearest of the catalog: the largest saving, and the least likely to be anybody's only model. Its generation has no small one.
    Choice { flagship: "openai/gpt-5.5-pro", cheap: "openai/gpt-5.4-mini" },
];

const TOKENS: f64 = 1e9;
/// Parts of the tokens that are input.
const INPUT: [f64; 3] = [0.25, 0.5, 0.9];
const QUALITIES: [&str; 3] = ["95", "98", "100"];
/// Rows that revealed their scores.
const LABELS: [u64; 2] = [0, 500];

/// Dollars for a million tokens of input and of output, with a short prompt at no special hour.
fn price(catalog: &Catalog, name: &str) -> Result<(f64, f64), Failure> {
    let found = catalog.deployment(name).ok_or_else(|| format!("{name} is not in the catalog"))?;
    let rates = found.rates.at(0, When::default());
    let per_million = |pico: Pico| pico.0 as f64 / 1e6;
    Ok((per_million(rates.input), per_million(rates.output)))
}

/// The month's dollars where these shares of input and output go to the flagship.
fn month(flagship: (f64, f64), cheap: (f64, f64), input: f64, shares: (f64, f64)) -> f64 {
    let of = |dear: f64, cheap: f64, share: f64| share * dear + (1.0 - share) * cheap;
    let each = input * of(flagship.0, cheap.0, shares.0) + (1.0 - input) * of(flagship.1, cheap.1, shares.1);
    each * TOKENS / 1e6
}

#[expect(clippy::cast_possible_truncation, reason = "whole dollars")]
fn dollars(amount: f64) -> i64 {
    amount.round() as i64
}

/// The table, from the verdicts on the mixes.
///
/// # Errors
/// A model the catalog has not.
pub fn table(told: &[Value]) -> Result<Value, Failure> {
    let catalog = Catalog::bundled()?;
    let mut shares = Vec::new();
    let of_mixes = told.iter().filter(|verdict| verdict["kind"] == "mix");
    for verdict in of_mixes.filter(|verdict| LABELS.iter().any(|labels| verdict["labels_asked"] == *labels)) {
        let quality = &verdict["result"]["quality"];
        let alone = quality["weak"].as_f64().unwrap_or_default() / quality["strong"].as_f64().unwrap_or(1.0);
        for target in QUALITIES {
            let mut row = verdict["result"]["held"][target].clone();
            row["mix_name"] = verdict["data"].clone();
            row["labels"] = verdict["labels_asked"].clone();
            row["target"] = target.into();
            row["weak_alone"] = rounded(alone).into();
            shares.push(row);
        }
    }
    let mut rows = Vec::new();
    for Choice { flagship, cheap } in CHOICES {
        let (dear, low) = (price(&catalog, flagship)?, price(&catalog, cheap)?);
        for input in INPUT {
            rows.extend(shares.iter().map(|share| {
                let of = |name: &str| share[name].as_f64().unwrap_or(1.0);
                let whole = month(dear, low, input, (1.0, 1.0));
                let mix = month(dear, low, input, (of("mix"), of("mix")));
                let routed = month(dear, low, input, (of("input"), of("output")));
                json!({
                    "flagship": flagship, "cheap": cheap, "input": input, "mix_name": share["mix_name"],
                    "labels": share["labels"], "target": share["target"], "flagship_usd": dollars(whole),
                    "mix_usd": dollars(mix), "routed_usd": dollars(routed),
                    "saved_of_flagship": rounded(1.0 - routed / whole), "saved_of_mix": rounded(1.0 - routed / mix),
                })
            }));
        }
    }
    let prices: Vec<Value> = CHOICES
        .iter()
        .flat_map(|choice| [choice.flagship, choice.cheap])
        .map(|name| {
            price(&catalog, name).map(|(input, output)| json!({"model": name, "input": input, "output": output}))
        })
        .collect::<Result<_, _>>()?;
    Ok(json!({"tokens": TOKENS, "catalog": catalog.id, "prices": prices, "shares": shares, "rows": rows}))
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or("-".into(), |share| format!("{:.1}", share * 100.0))
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn list<'a>(table: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    table[name].as_array().into_iter().flatten()
}

/// Prints what [`table`] made.
pub fn print(table: &Value) {
    println!("\nShares that go to the strong model, in %, set on a resample and held to the rows it left out.");
    println!(
        "weak: the weak model's quality, of the strong one's; kept: quality on those rows; mix: the share of calls at random"
    );
    println!(
        "that keeps as much; ahead: the part of the gap gained, less that of the same share at random, 95 % interval."
    );
    println!(
        "{:<39}{:>6}{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>16}",
        "", "weak", "labels", "target", "kept", "calls", "input", "output", "mix", "ahead"
    );
    for share in list(table, "shares") {
        let end =
            |place: usize| share["ahead"][place].as_f64().map_or("-".into(), |end| format!("{:+.1}", end * 100.0));
        println!(
            "{:<39}{:>6}{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>16}",
            text(share, "mix_name"),
            percent(&share["weak_alone"]),
            share["labels"].to_string(),
            text(share, "target"),
            percent(&share["quality"]),
            percent(&share["calls"]),
            percent(&share["input"]),
            percent(&share["output"]),
            percent(&share["mix"]),
            format!("{} to {}", end(0), end(1)),
        );
    }
    print_dollars(table);
}

fn print_dollars(table: &Value) {
    println!(
        "\nA billion tokens a month in dollars, input/output in % of the tokens: static mix, routed (saved of the flagship's"
    );
    println!("bill, of the mix's, in %). A saving below zero: the static mix is cheaper.");
    for price in list(table, "prices") {
        println!("  {}: {} / {} a million", text(price, "model"), price["input"], price["output"]);
    }
    let mut last = String::new();
    // One line for all qualities.
    let rows: Vec<&Value> = list(table, "rows").collect();
    for line in rows.chunks(QUALITIES.len()) {
        let Some(first) = line.first() else { continue };
        let input = first["input"].as_f64().unwrap_or_default() * 100.0;
        let names = format!("{} with {}", text(first, "flagship"), text(first, "cheap"));
        let subject = format!("{names}, {input:.0}/{:.0}: the flagship alone {}", 100.0 - input, first["flagship_usd"]);
        if subject != last {
            println!("{subject}");
            println!("  {:<39}{:>6}{:>26} %{:>26} %{:>26} %", "", "labels", QUALITIES[0], QUALITIES[1], QUALITIES[2]);
            last = subject;
        }
        let cell = |row: &&Value| {
            let saved = [&row["saved_of_flagship"], &row["saved_of_mix"]].map(percent);
            format!("{:>28}", format!("{} {} ({}, {})", row["mix_usd"], row["routed_usd"], saved[0], saved[1]))
        };
        let cells: String = line.iter().map(cell).collect();
        println!("  {:<39}{:>6}{cells}", text(first, "mix_name"), first["labels"].to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_what_its_parts_cost() {
        let (dear, cheap) = ((4.0, 20.0), (0.1, 0.5));
        let all = month(dear, cheap, 0.25, (1.0, 1.0));
        assert!((all - 16_000.0).abs() < 1e-6, "{all}");
        assert!((month(dear, cheap, 0.5, (0.0, 0.0)) - 300.0).abs() < 1e-6);
        assert!((month(dear, cheap, 0.5, (0.5, 0.5)) - 6_150.0).abs() < 1e-6);
    }

    #[test]
    fn every_model_of_the_table_has_a_price_and_the_cheap_one_is_cheaper() {
        let catalog = Catalog::bundled().expect("a catalog");
        for Choice { flagship, cheap } in CHOICES {
            let (dear, low) = (price(&catalog, flagship).expect(flagship), price(&catalog, cheap).expect(cheap));
            assert!(low.0 < dear.0 && low.1 < dear.1 && low.0 > 0.0, "{flagship} {cheap}");
        }
    }
}
