//! What the cases cost natively: prints JSON for `bench.mjs`.
mod clock;
mod estimate;

fn main() {
    println!("{}", serde_json::json!({"cases": clock::measure(pure::cases()), "estimate": estimate::errors()}));
}
