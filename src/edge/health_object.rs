//! The object of a region: it folds the samples of every isolate there, answers with what the others saw, and publishes the
//! scores to KV, at most every half minute, for isolates that are only starting.
use super::{complain, error::Result, js_time, now, storage};
use crate::{
    health::{Health, Report},
    json,
    time::Millis,
};
use js_sys::Uint8Array;
use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, RefUnwindSafe},
};
use wasm_bindgen::prelude::*;
use worker::Env;

/// The KV key of a region's published scores.
pub fn key_of(region: &str) -> String {
    format!("health/{region}")
}

/// KV takes one write per key and second; a score that is half a minute old is still a good hint.
const PUBLISH_EVERY_MS: u64 = 30_000;
/// Deployments nobody called for this long are forgotten.
const FORGET_AFTER_MS: u64 = 86_400_000;
const TABLE: &str = "CREATE TABLE IF NOT EXISTS health(id INTEGER PRIMARY KEY, body TEXT NOT NULL)";

#[wasm_bindgen(module = "/src/edge/objects.js")]
extern "C" {
    /// Hands a report to the object of a region.
    #[wasm_bindgen(js_name = tellHealth, catch)]
    async fn tell_health(env: &JsValue, region: &str, report: Uint8Array) -> std::result::Result<JsValue, JsValue>;
}

/// Tells the object of a region what was seen; answers what others there have seen.
pub async fn tell(env: &Env, region: &str, report: &Report) -> Result<Health> {
    let told = tell_health(env, region, Uint8Array::from(json::write_bytes(report).as_slice())).await?;
    let told = told.dyn_into::<Uint8Array>()?.to_vec();
    Ok(json::read_bytes(&told)?)
}

#[wasm_bindgen]
pub struct HealthObject {
    state: JsValue,
    env: Env,
    region: String,
    health: RefCell<Option<Health>>,
    publish_at: Cell<Option<Millis>>,
    published: Cell<Millis>,
    armed: Cell<bool>,
}

// Scores are hints: half an observation does no harm.
impl RefUnwindSafe for HealthObject {}

impl HealthObject {
    fn load(&self) -> Result<Health> {
        storage::run(&self.state, TABLE, &[])?;
        let rows = storage::exec(&self.state, "SELECT body FROM health WHERE id = 1", &[])?;
        Ok(rows.first().and_then(|row| json::read(row.get("body")?.as_str()?).ok()).unwrap_or_default())
    }

    fn fold(&self, report: &Report) -> Result<Health> {
        let mut slot = self.health.borrow_mut();
        let health = match &mut *slot {
            Some(health) => health,
            empty => empty.insert(self.load()?),
        };
        for sample in &report.samples {
            health.observe(sample);
        }
        let told = health.since(report.since);
        if self.publish_at.get().is_none() {
            self.publish_at.set(Some(now().max(self.published.get().after(PUBLISH_EVERY_MS))));
        }
        Ok(Health { id: now().rfc3339(), ..told })
    }
}

#[wasm_bindgen]
impl HealthObject {
    /// The half of an object of that state; its name is its region's.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env, region: String) -> Self {
        Self {
            state,
            env,
            region,
            health: RefCell::new(None),
            publish_at: Cell::new(None),
            published: Cell::new(Millis(0)),
            armed: Cell::new(false),
        }
    }

    /// Folds a report in, and answers what all of them saw.
    pub fn call(&self, report: Vec<u8>) -> std::result::Result<Vec<u8>, JsValue> {
        let report: Report = json::read_bytes(&report).map_err(|error| JsValue::from_str(&error.to_string()))?;
        let others = self.fold(&report).map_err(JsValue::from)?;
        Ok(json::write_bytes(&others))
    }

    /// When to publish, in milliseconds since 1970; 0 when the alarm is set or nothing is new.
    pub fn wake(&self) -> f64 {
        match self.publish_at.get() {
            Some(at) if !self.armed.replace(true) => js_time(at.max(Millis(1))),
            _ => 0.0,
        }
    }

    /// The alarm rings.
    pub fn ring(&self) -> std::result::Result<(), JsValue> {
        self.armed.set(false);
        self.publish_at.set(None);
        Ok(())
    }

    /// Publishes. Resolves to 1, or to -1 if KV did not take it.
    pub async fn send(&self) -> f64 {
        let text = {
            let mut slot = self.health.borrow_mut();
            let Some(health) = slot.as_mut() else { return 0.0 };
            health.id = now().rfc3339();
            health.forget(Millis(now().0.saturating_sub(FORGET_AFTER_MS)));
            json::write(health)
        };
        let key = key_of(&self.region);
        match AssertUnwindSafe(storage::put(&self.env, &key, &text)).await {
            Ok(()) => 1.0,
            Err(error) => {
                complain(format!("{key} was not published: {error}"));
                -1.0
            }
        }
    }

    /// Keeps what was published, so that a new instance goes on from there.
    pub fn sent(&self, outcome: f64) -> std::result::Result<(), JsValue> {
        if outcome == 0.0 {
            return Ok(());
        }
        self.published.set(now());
        let text = self.health.borrow().as_ref().map_or_default(json::write);
        storage::run(&self.state, "INSERT OR REPLACE INTO health VALUES(1, ?1)", &[&text]).map_err(JsValue::from)?;
        Ok(())
    }
}
