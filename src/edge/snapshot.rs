//! What an isolate knows: catalog and health from KV, rows of the organisations it served, what it saw itself.
//!
//! KV is never on the path of a request but the isolate's first. Whatever cannot be read leaves the last good state.
use super::{account_object::account_of, aside, complain, health_object, now, payer, secrets, storage};
use crate::{
    access::{Key, Policies, Tenant},
    catalog::{Catalog, PriceOverrides, sha256_hex},
    health::{FailedAs, Health, Outcome, Report, Sample},
    json,
    payment::{self, facilitator::Known},
    quality::{Prior, taught::Taught},
    table::Table,
    time::Millis,
    world::{self, Reach, Settings, TenantView, World},
};
use futures::{channel::oneshot, future::select, join};
use std::{cell::Cell, rc::Rc, time::Duration};
use worker::{Context, Delay, Env};

/// KV keys.
pub const CATALOG_CURRENT: &str = "catalog/current";
pub const CATALOG_OVERRIDES: &str = "catalog/overrides";

/// Samples are sent on to the health object at most this often by one isolate.
const SAMPLES_EVERY_MS: u64 = 5_000;
/// Regions are continents, as the platform names them:
/// <https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties>.
const REGIONS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];
/// Where that is not told.
const ANYWHERE: &str = "global";
/// How long what facilitators say of themselves is believed.
const FACILITATORS_EVERY_MS: u64 = 300_000;
/// While one of them fails.
const FAILING_EVERY_MS: u64 = 10_000;
/// How long the first request of an isolate waits for KV; then the bundled catalog serves it.
const FIRST_READ_MS_MAX: u64 = 1_000;
/// Organisations an isolate remembers, and keys.
const TENANTS_MAX: usize = 1_000;
const KEYS_MAX: usize = 4_000;

#[derive(Default)]
struct Isolate {
    world: World,
    /// The catalog without overrides, so that an edit of them does not need it again.
    base: Rc<Catalog>,
    /// The last overrides that could be read.
    overrides: Rc<PriceOverrides>,
    source: Source,
    tenants: Table<String, Rc<TenantView>>,
    /// By key.
    policies: Table<String, Option<Rc<Policies>>>,
    /// What the outcomes of each account taught.
    taught: Table<String, Rc<Taught>>,
    loaded: Option<Millis>,
    /// The part of the world this isolate is in; empty before it is known.
    region: &'static str,
    samples: Vec<Sample>,
    samples_sent: Millis,
    /// What the facilitators told, and when they are to be asked again.
    known: Known,
    facilitators_due: Millis,
}

/// Where the catalog in force came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Bundled,
    Kv,
}

thread_local! {
    static ISOLATE: Cell<Option<Box<Isolate>>> = const { Cell::new(None) };
}

/// Works on what this isolate knows. It is taken out meanwhile: a panic leaves nothing locked behind, only an isolate that
/// reads its snapshots once more.
fn with<T>(work: impl FnOnce(&mut Isolate) -> T) -> T {
    let mut isolate = ISOLATE.take().unwrap_or_default();
    let result = work(&mut isolate);
    ISOLATE.set(Some(isolate));
    result
}

/// The world as this isolate knows it, for the holder of a key. The first call reads KV; later ones leave that to the background.
pub async fn world(env: &Env, ctx: &Context, key: Option<&Key>) -> World {
    let at = now();
    let age = with(|isolate| isolate.loaded.map(|loaded| at.since(loaded)));
    match age {
        None => first(env, ctx).await,
        Some(age) if age >= secrets::snapshot_ttl_ms(env) => {
            // Nobody else shall start the same refresh.
            with(|isolate| isolate.loaded = Some(at));
            aside(ctx, Box::pin(refresh(env.clone())));
        }
        Some(_) => {}
    }
    with(|isolate| World {
        tenant: key.and_then(|key| isolate.tenants.get(&key.organization()).cloned()),
        policies: key.and_then(|key| isolate.policies.get(&key.id())?.clone()),
        taught: key
            .map_or_default(|key| isolate.taught.get(&account_of(&key.organization())).cloned().unwrap_or_default()),
        ..isolate.world.clone()
    })
}

/// Reads KV for the first time, and does not wait for it longer than a caller may be kept waiting.
async fn first(env: &Env, ctx: &Context) {
    let (env, (sender, read)) = (env.clone(), oneshot::channel());
    aside(
        ctx,
        Box::pin(async move {
            refresh(env).await;
            let _ = sender.send(());
        }),
    );
    select(read, Delay::from(Duration::from_millis(FIRST_READ_MS_MAX))).await;
    // It goes on beside; others do not wait for it as well.
    with(|isolate| isolate.loaded = isolate.loaded.or_else(|| Some(now())));
}

/// Reads KV where nothing has been read yet.
pub async fn read_first(env: &Env) {
    if with(|isolate| isolate.loaded.is_none()) {
        refresh(env.clone()).await;
    }
}

/// The catalog in force and its source.
pub fn catalog() -> (Rc<Catalog>, Source) {
    with(|isolate| (Rc::clone(&isolate.world.catalog), isolate.source))
}

/// How deployments do, as this isolate knows.
pub fn health() -> Rc<Health> {
    with(|isolate| Rc::clone(&isolate.world.health))
}

/// What this worker can reach, and what it is paid by.
pub fn settings() -> Rc<Settings> {
    with(|isolate| Rc::clone(&isolate.world.settings))
}

/// What payments are taken by.
pub fn payment_terms() -> Option<Rc<payment::Terms>> {
    with(|isolate| isolate.world.settings.x402.clone())
}

/// Sees that the facilitators were asked what they settle. Until they were, whoever comes asks and waits: nobody depends on another's
/// request, which may end.
pub async fn facilitators(env: &Env, ctx: &Context) {
    let at = now();
    let due = with(|isolate| {
        let (due, first) = (isolate.facilitators_due <= at, isolate.facilitators_due == Millis(0));
        if due && !first {
            // Nobody else shall ask as well.
            isolate.facilitators_due = at.after(FACILITATORS_EVERY_MS);
        }
        due.then_some(first)
    });
    match due {
        Some(true) => payer::learn(env).await,
        Some(false) => {
            let env = env.clone();
            aside(ctx, Box::pin(async move { payer::learn(&env).await }));
        }
        None => {}
    }
}

/// Keeps what the facilitators told. What those that told nothing told before stays, and they are asked again soon.
pub fn remember_facilitators(known: Known) {
    with(|isolate| {
        let before = std::mem::replace(&mut isolate.known, known);
        isolate.known.remember(&before);
        isolate.facilitators_due = now().after(FACILITATORS_EVERY_MS);
        isolate.knows_facilitators();
    });
}

/// A facilitator did not answer.
pub fn facilitator_fails(url: &str) {
    with(|isolate| {
        isolate.known.fails(url);
        isolate.knows_facilitators();
    });
}

/// How a provider of the catalog is called.
pub fn reach(provider: &str) -> Option<Reach> {
    with(|isolate| isolate.world.settings.reach.get(provider).cloned())
}

/// Makes the next request read KV again: after a catalog was put through this isolate.
pub fn forget() {
    with(|isolate| isolate.loaded = None);
}

/// Keeps what outcomes of an account taught, if there is anything new. What cannot be read is a newer version's.
pub fn remember_taught(account: &str, told: &str) {
    let Some(taught) = Taught::of_text(told) else { return };
    with(|isolate| isolate.taught.remember(account.to_owned(), Rc::new(taught), TENANTS_MAX));
}

/// The weights that texts are judged by.
pub fn prior() -> Rc<Prior> {
    with(|isolate| Rc::clone(&isolate.world.prior))
}

/// Keeps an organisation's rows, and what the key that asked stands under.
pub fn remember(tenant: &Tenant, key_id: &str) {
    let Some((view, policies)) = world::views(tenant) else { return };
    with(|isolate| {
        isolate.tenants.remember(tenant.organization.clone(), view, TENANTS_MAX);
        isolate.policies.remember(key_id.to_owned(), policies, KEYS_MAX);
    });
}

/// Believes its own eyes at once, and keeps the sample for the others.
pub fn note(sample: Sample) {
    if matches!(sample.outcome, Outcome::Failed { fault: FailedAs::Credential, .. }) {
        complain(format!("{}: the provider refused our credential, or its account is empty", sample.deployment));
    }
    with(|isolate| {
        Rc::make_mut(&mut isolate.world.health).observe(&sample);
        // An organisation's own deployments go by its name, and are told to nobody.
        if !sample.deployment.starts_with("org_") {
            isolate.samples.push(sample);
        }
    });
}

/// Sends the samples on, if it is time, and hears what others in this region saw meanwhile.
pub async fn send_samples(env: &Env) {
    let at = now();
    let report = with(|isolate| {
        if isolate.samples.is_empty() || at.since(isolate.samples_sent) < SAMPLES_EVERY_MS {
            return None;
        }
        // What others saw just before they told it is older than when they did.
        let since = Millis(isolate.samples_sent.0.saturating_sub(2 * SAMPLES_EVERY_MS));
        isolate.samples_sent = at;
        Some((isolate.region(), Report { since, samples: std::mem::take(&mut isolate.samples) }))
    });
    let Some((region, report)) = report else { return };
    match health_object::tell(env, region, &report).await {
        Ok(others) => with(|isolate| Rc::make_mut(&mut isolate.world.health).merge(&others)),
        Err(error) => complain(format!("health samples were lost: {error}")),
    }
}

/// Learns from a request which part of the world this isolate is in.
pub fn locate(continent: &str) {
    with(|isolate| {
        if isolate.region.is_empty() {
            isolate.region = REGIONS.into_iter().find(|region| *region == continent).unwrap_or_default();
        }
    });
}

async fn refresh(env: Env) {
    let first = with(|isolate| isolate.base.is_empty());
    if first {
        start(&env);
    }
    let key = health_object::key_of(with(|isolate| isolate.region()));
    let (catalog, overrides, health) = join!(current_catalog(&env), overrides(&env), read(&env, &key));
    let health = health.ok().flatten().and_then(|text| json::read::<Health>(&text).ok());
    let at = now();
    with(|isolate| {
        // Whatever another read has brought meanwhile stays where this one brought nothing.
        let last_good = (Rc::clone(&isolate.base), isolate.source);
        let (catalog, source) = catalog.map_or(last_good, |catalog| (catalog, Source::Kv));
        isolate.take(&env, catalog, source, overrides);
        if let Some(health) = health {
            Rc::make_mut(&mut isolate.world.health).merge(&health);
        }
        isolate.loaded = Some(at);
    });
}

/// Before anything is read: the bundled catalog.
fn start(env: &Env) {
    match Catalog::bundled() {
        Ok(catalog) => {
            let none = Rc::default();
            with(|isolate| isolate.take(env, Rc::new(catalog), Source::Bundled, none));
        }
        Err(error) => complain(format!("the bundled catalog cannot be read: {error}")),
    }
}

impl Isolate {
    fn region(&self) -> &'static str {
        if self.region.is_empty() { ANYWHERE } else { self.region }
    }

    fn knows_facilitators(&mut self) {
        let known = &self.known;
        if !known.all_answer() {
            self.facilitators_due = self.facilitators_due.min(now().after(FAILING_EVERY_MS));
        }
        if let Some(terms) = Rc::make_mut(&mut self.world.settings).x402.as_mut() {
            Rc::make_mut(terms).known = known.clone();
        }
    }

    fn take(&mut self, env: &Env, base: Rc<Catalog>, source: Source, overrides: Rc<PriceOverrides>) {
        let catalog = base.with_overrides(&overrides);
        if catalog.id != self.world.catalog.id {
            self.world.settings = Rc::new(secrets::settings(env, &catalog));
            self.knows_facilitators();
            self.world.catalog = Rc::new(catalog);
        }
        (self.base, self.source, self.overrides) = (base, source, overrides);
    }
}

/// The catalog KV points at, if it can be read and is whole.
async fn current_catalog(env: &Env) -> Option<Rc<Catalog>> {
    let id = read(env, CATALOG_CURRENT).await.ok().flatten()?.trim().to_owned();
    let base = with(|isolate| Rc::clone(&isolate.base));
    if id == base.id {
        return Some(base);
    }
    let text = read(env, &format!("catalog/{id}")).await.ok().flatten().unwrap_or_default();
    let parsed = if sha256_hex(text.as_bytes()) == id {
        Catalog::open(&text, id.clone())
    } else {
        Err("it is missing, or not what its name says".to_owned())
    };
    match parsed {
        Ok(catalog) => Some(Rc::new(catalog)),
        Err(error) => {
            complain(format!("catalog {id} in KV: {error}; the last good one stays"));
            None
        }
    }
}

/// The overrides in KV; the last good ones where they cannot be read.
async fn overrides(env: &Env) -> Rc<PriceOverrides> {
    let last_good = || with(|isolate| Rc::clone(&isolate.overrides));
    let text = match read(env, CATALOG_OVERRIDES).await {
        Ok(Some(text)) => text,
        Ok(None) => return Rc::default(),
        Err(Unread) => return last_good(),
    };
    json::read(&text).map_or_else(
        |error| {
            complain(format!("{CATALOG_OVERRIDES} in KV cannot be read: {error}; the last good ones stay"));
            last_good()
        },
        Rc::new,
    )
}

/// KV did not answer.
struct Unread;

/// A key's text; `None` where it is absent.
async fn read(env: &Env, key: &str) -> Result<Option<String>, Unread> {
    storage::get(env, key).await.map_err(|error| {
        complain(format!("KV {key}: {error}"));
        Unread
    })
}
