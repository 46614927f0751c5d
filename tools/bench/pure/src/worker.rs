//! The cases as `worker.js` calls them.
use crate::Case;
use std::cell::RefCell;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static CASES: RefCell<Vec<Case>> = RefCell::new(crate::cases());
}

/// Name and pieces of work of each case, as JSON.
#[wasm_bindgen]
pub fn cases() -> String {
    let told = |case: &Case| serde_json::json!({"name": case.name, "of": case.of});
    CASES.with_borrow(|cases| cases.iter().map(told).collect::<serde_json::Value>().to_string())
}

/// Runs the case at that place so many times.
#[wasm_bindgen]
pub fn run(place: usize, times: u32) {
    CASES.with_borrow_mut(|cases| {
        for _ in 0..times {
            (cases[place].run)();
        }
    });
}
