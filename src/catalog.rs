//! Providers, models and their prices: one immutable document, addressed by the hash of its bytes.
//!
//! A provider and a model are rows. What differs between providers of one dialect is a [`Quirk`] word, never code.
use crate::{
    body::{Body, BodyError, quoted},
    chat::Effort,
    json,
    money::{Nanos, Pico},
    table::Table,
    time::Millis,
};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{cell::OnceCell, fmt::Write as _, ops::Range, rc::Rc};

mod rates;

pub use rates::{Prices, RateCard, RateRow, Rates, When};

/// The last catalog known good at build time: what serves when KV cannot be read.
pub const BUNDLED: &str = include_str!("../schema/catalog.json");
/// Its hash, so that no worker has to compute it when it starts.
const BUNDLED_ID: &str = include_str!("../schema/catalog.sha256");

/// A wire grammar's name, as in the catalog and in `PUT /admin/v1/providers/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    OpenaiChat,
    OpenaiResponses,
    Anthropic,
    Gemini,
    BedrockConverse,
    CohereV2,
}

impl Dialect {
    /// Every dialect providers are spoken to in.
    pub const ALL: &[Self] = &[
        Self::OpenaiChat,
        Self::Anthropic,
        Self::OpenaiResponses,
        Self::Gemini,
        Self::BedrockConverse,
        Self::CohereV2,
    ];
}

json::words!(Dialect {
    OpenaiChat = "openai_chat",
    OpenaiResponses = "openai_responses",
    Anthropic = "anthropic",
    Gemini = "gemini",
    BedrockConverse = "bedrock_converse",
    CohereV2 = "cohere_v2",
});

/// Whether a provider stops billing when the connection is closed in the middle of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortStopsBilling {
    Yes,
    No,
    #[default]
    Unknown,
}

json::words!(AbortStopsBilling { Yes = "yes", No = "no", Unknown = "unknown" });

/// A deviation from a dialect, as data. The words are explained in `tools/catalog/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Claude that reasons only with `thinking: adaptive` and an effort.
    AdaptiveThinking,
    /// Takes `anthropic-beta` and the members that come with it.
    Betas,
    /// Cannot fetch a picture from an address.
    InlineImages,
    /// Refuses a request with members it does not know: they are left out.
    KnownMembers,
    /// Wants `max_tokens`, not `max_completion_tokens`.
    MaxTokens,
    /// Knows `system`, not `developer`.
    NoDeveloperRole,
    /// Refuses a `tool_choice` that forces a call.
    NoForcedTool,
    /// Refuses penalties, `logit_bias` and `logprobs`.
    NoPenalties,
    /// Reasons, but refuses `reasoning_effort`.
    NoReasoningEffort,
    /// Refuses `temperature`, `top_p` and `top_k`.
    NoSampling,
    /// Refuses `stop`.
    NoStop,
    /// Wants neither `store` nor `metadata`.
    NoStore,
    /// Refuses `stream_options`; usage comes in the last chunk all the same.
    NoStreamOptions,
    /// `auto` leaves it out: a reseller, or a host nobody here has measured.
    NotAuto,
    /// Takes `temperature` or `top_p`, not both.
    OneSampling,
    /// `completion_tokens` leaves reasoning out; it is billed as output all the same.
    OutputExcludesReasoning,
    /// Output is `total_tokens` less `prompt_tokens`; reasoning is told nowhere else.
    OutputTotalMinusPrompt,
    /// Continues a trailing assistant message only with `prefix: true` on it.
    PrefillPrefix,
    /// Wants `seed` as `random_seed`.
    RandomSeed,
    /// Assistant messages of earlier turns must carry their `reasoning_content`.
    ReasoningReplay,
    /// Gemini 2: reasons by a budget of tokens, not by a level.
    ThinkingBudget,
    /// Tool call ids in the history must be nine letters or digits.
    #[serde(rename = "tool_id_9")]
    ToolId9,
    /// With function tools wants `reasoning_effort: none`.
    ToolsWithoutReasoning,
    /// Google Cloud's paths and credentials.
    VertexPaths,
}

json::words!(Quirk {
    AdaptiveThinking = "adaptive_thinking",
    Betas = "betas",
    InlineImages = "inline_images",
    KnownMembers = "known_members",
    MaxTokens = "max_tokens",
    NoDeveloperRole = "no_developer_role",
    NoForcedTool = "no_forced_tool",
    NoPenalties = "no_penalties",
    NoReasoningEffort = "no_reasoning_effort",
    NoSampling = "no_sampling",
    NoStop = "no_stop",
    NoStore = "no_store",
    NoStreamOptions = "no_stream_options",
    NotAuto = "not_auto",
    OneSampling = "one_sampling",
    OutputExcludesReasoning = "output_excludes_reasoning",
    OutputTotalMinusPrompt = "output_total_minus_prompt",
    PrefillPrefix = "prefill_prefix",
    RandomSeed = "random_seed",
    ReasoningReplay = "reasoning_replay",
    ThinkingBudget = "thinking_budget",
    ToolId9 = "tool_id_9",
    ToolsWithoutReasoning = "tools_without_reasoning",
    VertexPaths = "vertex_paths",
});

/// What a model can do beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    Tools,
    ParallelTools,
    Vision,
    JsonSchema,
    Reasoning,
    Prefill,
    /// Answers on the legacy completions endpoint too.
    Completions,
}

json::words!(Ability {
    Tools = "tools",
    ParallelTools = "parallel_tools",
    Vision = "vision",
    JsonSchema = "json_schema",
    Reasoning = "reasoning",
    Prefill = "prefill",
    Completions = "completions",
});

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Text,
    Image,
    Audio,
    File,
    Video,
}

json::words!(Modality { Text = "text", Image = "image", Audio = "audio", File = "file", Video = "video" });

/// An address that speaks a dialect, and whose credential opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provider {
    pub id: String,
    pub name: String,
    /// What its models speak, unless a row says otherwise.
    pub dialect: Dialect,
    /// What the same address speaks besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Dialect>,
    pub base_url: String,
    /// The name of the secret that holds our credential. Absent for an organisation's own provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    pub abort_stops_billing: AbortStopsBilling,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quirks: Vec<Quirk>,
    /// Where what an answer used can be asked for later, after the base URL; `{id}` stands for the answer's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_path: Option<String>,
    /// Whether it may train models on what it is sent. Absent, like the next two, where that is not known. An organisation's own
    /// provider, which alone is ever written, has none of the three.
    #[serde(skip)]
    pub trains_on_data: Option<bool>,
    /// Whether it keeps anything of it after the answer.
    #[serde(skip)]
    pub retains_data: Option<bool>,
    /// Where it may process it: all of these.
    #[serde(skip)]
    pub regions: Vec<String>,
}

json::members!(strict Provider {
    id, name, dialect, also = Vec::new(), base_url, credential, abort_stops_billing = AbortStopsBilling::Unknown,
    quirks = Vec::new(), generation_path, trains_on_data, retains_data, regions = Vec::new(),
});

/// What a deployment answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Chat,
    Embedding,
    /// Only the legacy completions.
    Completion,
}

json::words!(Kind { Chat = "chat", Embedding = "embedding", Completion = "completion" });

impl Kind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks with")]
    fn is_chat(&self) -> bool {
        *self == Self::Chat
    }
}

/// A model at a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    pub provider: Rc<Provider>,
    /// The model's id at the provider.
    pub model: String,
    /// `provider/model`.
    pub id: String,
    /// What it speaks first.
    pub dialect: Dialect,
    /// It speaks nothing else, whatever its provider does.
    only_dialect: bool,
    pub kind: Kind,
    pub created: Option<Millis>,
    pub retires: Option<Millis>,
    pub context_length: u64,
    pub max_output_tokens: u64,
    pub rates: RateCard,
    pub input: Vec<Modality>,
    pub supports: Vec<Ability>,
    /// The reasoning efforts it takes; empty where that is not known.
    pub efforts: Vec<Effort>,
    /// The id at the same provider of a model with a larger context.
    pub larger_context: Option<String>,
    /// Reasoning tokens do not show in the stream.
    pub hidden_reasoning: bool,
    quirks: Vec<Quirk>,
}

impl Deployment {
    /// Whether the provider or the model deviates so.
    #[must_use]
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk) || self.provider.quirks.contains(&quirk)
    }

    /// Whether it understands a dialect.
    #[must_use]
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialect == dialect || (!self.only_dialect && self.provider.also.contains(&dialect))
    }

    /// The effort it takes that is nearest to the one asked for, the lesser of two as near.
    #[must_use]
    pub fn nearest_effort(&self, asked: Effort) -> Effort {
        let distance = |effort: &Effort| (*effort as u8).abs_diff(asked as u8);
        // Who asks for some reasoning shall not get none, and the reverse is dear.
        let alike = |effort: &Effort| (*effort == Effort::None) == (asked == Effort::None);
        let near = |effort: &Effort| (!alike(effort), distance(effort), *effort);
        self.efforts.iter().copied().min_by_key(near).unwrap_or(asked)
    }

    #[must_use]
    pub fn can(&self, ability: Ability) -> bool {
        self.supports.contains(&ability)
    }
}

/// A model row of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelRow {
    /// Absent inside an organisation's own provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    pub id: String,
    /// Where it is not the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    #[serde(skip_serializing_if = "Kind::is_chat")]
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The day it stops answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires: Option<String>,
    pub context_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(flatten)]
    pub prices: Prices,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_usd: Option<Nanos>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<RateRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<Modality>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supports: Vec<Ability>,
    /// The reasoning efforts it takes; empty where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub efforts: Vec<Effort>,
    /// A model of the same provider and family with a larger context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_context: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden_reasoning: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quirks: Vec<Quirk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

json::members!(strict ModelRow {
    provider = String::new(), id, dialect, kind = Kind::Chat, created, retires, context_length = default_context_length(),
    max_output_tokens, request_usd, rates = Vec::new(), input = Vec::new(), supports = Vec::new(), efforts = Vec::new(),
    larger_context, hidden_reasoning = false, quirks = Vec::new(), sources = Vec::new(),
} flat prices {
    input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_usd_per_mtok, cache_write_1h_usd_per_mtok,
    audio_input_usd_per_mtok,
});

/// What a context length is taken for where an own model's row tells none.
fn default_context_length() -> u64 {
    128_000
}

/// The bound on an answer where a row tells none.
const MAX_OUTPUT_DEFAULT: u64 = 16_384;

/// Prices set by an admin on top of a catalog, by `provider/model`: the KV key `catalog/overrides`.
pub type PriceOverrides = Table<String, Prices>;

/// A catalog. Its rows are read when they are first asked for: a worker that starts needs one of them, not all.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The hash of the document, and of the overrides where there are any: what a ledger entry names.
    pub id: String,
    pub providers: Vec<Rc<Provider>>,
    text: Rc<str>,
    rows: Vec<Row>,
    by_id: Table<String, usize>,
    by_model: Table<String, Vec<usize>>,
    overrides: Rc<PriceOverrides>,
    all: OnceCell<Vec<Rc<Deployment>>>,
}

/// A model's row: where it stands in the document, and what was made of it.
#[derive(Clone, Debug)]
struct Row {
    provider: Rc<Provider>,
    place: Range<usize>,
    made: OnceCell<Option<Rc<Deployment>>>,
}

impl Catalog {
    /// Reads and validates a document, every row of it.
    ///
    /// # Errors
    /// A sentence that names the row at fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let catalog = Self::open(text, sha256_hex(text.as_bytes()))?;
        for row in &catalog.rows {
            let deployment = catalog.make(row)?;
            if let Some(larger) = &deployment.larger_context
                && !catalog.by_id.contains_key(&format!("{}/{larger}", row.provider.id))
            {
                return Err(format!("{}: larger_context {} has no row", deployment.id, quoted(larger)));
            }
            drop(row.made.set(Some(Rc::new(deployment))));
        }
        Ok(catalog)
    }

    /// The bundled catalog, which the tests have validated.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn bundled() -> Result<Self, String> {
        Self::open(BUNDLED, BUNDLED_ID.trim().to_owned())
    }

    /// The longest document: five times what six hundred models need. A longer one may not fit into memory.
    pub const BYTES_MAX: usize = 4 * 1024 * 1024;

    /// Opens a document that was validated when it was put, under its id. A row that cannot be read all the same is not
    /// served; the others are.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the document as a whole.
    pub fn open(text: &str, id: String) -> Result<Self, String> {
        let wrong = |what: String| format!("catalog: {what}");
        if text.len() > Self::BYTES_MAX {
            return Err(wrong("it has more than 4 MiB".to_owned()));
        }
        let document = Body::parse(text.as_bytes().to_vec()).map_err(|error| {
            // Not by `Debug`: the upload has none.
            wrong(match error {
                BodyError::Malformed(why) => format!("Malformed({})", quoted(&why)),
                BodyError::Duplicate(name) => format!("Duplicate({})", quoted(&name)),
            })
        })?;
        if let Some(name) = document.names().find(|name| !["version", "sources", "providers", "models"].contains(name))
        {
            return Err(wrong(format!("unknown field `{name}`")));
        }
        let member = |name: &str| document.get(name).ok_or_else(|| wrong(format!("missing field `{name}`")));
        let version = member("version")?;
        if version != "1" {
            return Err(wrong(format!("version {version} is not known; this worker reads version 1")));
        }
        let providers: Vec<Provider> =
            json::read(member("providers")?).map_err(|error| wrong(format!("providers: {error}")))?;
        let mut catalog = Self { id, text: text.into(), ..Self::default() };
        for provider in providers {
            if catalog.provider(&provider.id).is_some() {
                return Err(wrong(format!("provider {} stands there twice", provider.id)));
            }
            catalog.providers.push(Rc::new(provider));
        }
        let models = member("models")?;
        let origin = text.find(models).unwrap_or(0);
        let rows: Vec<&RawValue> = serde_json::from_str(models).map_err(|error| wrong(format!("models: {error}")))?;
        for row in rows {
            let raw = row.get();
            let start = origin + (raw.as_ptr() as usize - models.as_ptr() as usize);
            catalog.insert(raw, start..start + raw.len()).map_err(wrong)?;
        }
        Ok(catalog)
    }

    fn insert(&mut self, raw: &str, place: Range<usize>) -> Result<(), String> {
        let (provider, model) =
            names_of(raw).ok_or_else(|| format!("a model has no `provider` or no `id`: {raw:.80}"))?;
        let known = self.provider(&provider);
        let provider =
            known.ok_or_else(|| format!("model {model} names the provider {}, which has no row", quoted(&provider)))?;
        let row = Row { provider: Rc::clone(provider), place, made: OnceCell::new() };
        let id = format!("{}/{model}", provider.id);
        if self.by_id.contains_key(&id) {
            return Err(format!("{id} stands there twice"));
        }
        self.by_id.insert(id, self.rows.len());
        self.by_model.change(&model, |places| places.push(self.rows.len()));
        self.rows.push(row);
        Ok(())
    }

    /// A provider's row.
    #[must_use]
    pub fn provider(&self, id: &str) -> Option<&Rc<Provider>> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    fn make(&self, row: &Row) -> Result<Deployment, String> {
        let raw = self.text.get(row.place.clone()).unwrap_or_default();
        let told: ModelRow = json::read(raw).map_err(|error| format!("catalog: {raw:.80}: {error}"))?;
        if names_of(raw).is_none_or(|(_, model)| model != told.id) {
            return Err(format!("catalog: {raw:.80}: `id` stands there twice"));
        }
        let mut made = deployment(&row.provider, told)?;
        if let Some(prices) = self.overrides.get(&made.id) {
            // What an admin leaves out stays as it was; so do the alternatives, which the base says nothing about.
            let output = prices.output_usd_per_mtok.unwrap_or(made.rates.base.output);
            made.rates.base = Rates { output, ..prices.rates() };
        }
        Ok(made)
    }

    fn made(&self, place: usize) -> Option<&Rc<Deployment>> {
        let row = self.rows.get(place)?;
        row.made.get_or_init(|| self.make(row).ok().map(Rc::new)).as_ref()
    }

    /// Every deployment, in the document's order.
    pub fn deployments(&self) -> &[Rc<Deployment>] {
        self.all.get_or_init(|| (0..self.rows.len()).filter_map(|place| self.made(place).cloned()).collect())
    }

    /// How many models have a row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The deployment `provider/model`.
    #[must_use]
    pub fn deployment(&self, id: &str) -> Option<&Rc<Deployment>> {
        self.by_id.get(id).and_then(|place| self.made(*place))
    }

    /// All deployments of a bare model name.
    pub fn serving<'a>(&'a self, model: &str) -> impl Iterator<Item = &'a Rc<Deployment>> {
        self.by_model.get(model).into_iter().flatten().filter_map(|place| self.made(*place))
    }

    /// This catalog with other prices on some rows. Names without a row are ignored: a price alone serves nothing.
    #[must_use]
    pub fn with_overrides(&self, overrides: &PriceOverrides) -> Self {
        if overrides.is_empty() {
            return self.clone();
        }
        let mut folded = Self { overrides: Rc::new(overrides.clone()), all: OnceCell::new(), ..self.clone() };
        for row in &mut folded.rows {
            row.made = OnceCell::new();
        }
        let text = json::write(overrides);
        folded.id = sha256_hex(format!("{}\n{text}", self.id).as_bytes());
        folded
    }

    /// Names every price that `other` changes by more than a factor of five: the slip of a unit.
    #[must_use]
    pub fn price_jumps(&self, other: &Self) -> Vec<String> {
        let far = |a: Pico, b: Pico| a.0 > b.0.saturating_mul(5) || b.0 > a.0.saturating_mul(5);
        let jump = |old: &Rc<Deployment>| {
            let new = other.deployment(&old.id)?;
            let jumped = old.rates.pairs(&new.rates).into_iter().find(|(a, b)| far(a.0, b.0) || far(a.1, b.1));
            jumped.map(|(a, b)| format!("{}: {}/{} to {}/{} per million", old.id, a.0, a.1, b.0, b.1))
        };
        self.deployments().iter().filter_map(jump).collect()
    }
}

/// Provider and model of a row. As the generator writes it, both stand first; else the whole row is read.
fn names_of(raw: &str) -> Option<(String, String)> {
    let quick = || {
        let (provider, rest) = raw.strip_prefix(r#"{"provider":""#)?.split_once('"')?;
        let (model, _) = rest.strip_prefix(r#","id":""#)?.split_once('"')?;
        (!provider.contains('\\') && !model.contains('\\')).then(|| (provider.to_owned(), model.to_owned()))
    };
    let slow = || {
        let row: serde_json::Value = serde_json::from_str(raw).ok()?;
        let text = |name: &str| row.get(name)?.as_str().map(str::to_owned);
        Some((text("provider")?, text("id")?))
    };
    quick().or_else(slow)
}

/// A deployment from its row, with the bounds every row must keep.
///
/// # Errors
/// A sentence that names the row and the member.
pub fn deployment(provider: &Rc<Provider>, row: ModelRow) -> Result<Deployment, String> {
    let id = format!("{}/{}", provider.id, row.id);
    let name_ok = |name: &str| {
        !name.is_empty()
            && name.len() <= 128
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b))
    };
    if !name_ok(&row.id) {
        return Err(format!("{id}: a model id is 1 to 128 letters, digits or . _ : / @ -"));
    }
    if row.context_length == 0 || row.max_output_tokens == Some(0) {
        return Err(format!("{id}: context_length and max_output_tokens must be above 0"));
    }
    let free = row.prices.output_usd_per_mtok.is_none()
        || row.rates.iter().any(|rate| rate.prices.output_usd_per_mtok.is_none());
    if row.kind != Kind::Embedding && free {
        return Err(format!("{id}: output_usd_per_mtok is missing"));
    }
    rates::sane(&row.prices).map_err(|why| format!("{id}: {why}"))?;
    for date in [&row.created, &row.retires].into_iter().flatten() {
        Millis::of_date(date).ok_or_else(|| format!("{id}: {} is no date like 2027-01-31", quoted(date)))?;
    }
    let mut alternatives = Vec::with_capacity(row.rates.len());
    for rate in &row.rates {
        alternatives.push(rate.alternative().map_err(|why| format!("{id}: rates: {why}"))?);
    }
    let date = |text: &Option<String>| text.as_deref().and_then(Millis::of_date);
    let rates = RateCard { base: row.prices.rates(), alternatives, request: row.request_usd.unwrap_or_default() };
    Ok(Deployment {
        provider: Rc::clone(provider),
        model: row.id,
        id,
        dialect: row.dialect.unwrap_or(provider.dialect),
        only_dialect: row.dialect.is_some(),
        context_length: row.context_length,
        max_output_tokens: row.max_output_tokens.unwrap_or(MAX_OUTPUT_DEFAULT).min(row.context_length),
        rates,
        kind: row.kind,
        created: date(&row.created),
        retires: date(&row.retires),
        input: if row.input.is_empty() { vec![Modality::Text] } else { row.input },
        supports: row.supports,
        efforts: row.efforts,
        larger_context: row.larger_context,
        hidden_reasoning: row.hidden_reasoning,
        quirks: row.quirks,
    })
}

/// Lower-case hexadecimal SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::ServiceTier, time::Millis};

    const DOCUMENT: &str = r#"{"version":1,"providers":[{"id":"acme","name":"Acme","dialect":"openai_chat",
        "base_url":"https://api.acme.test/v1","credential":"ACME_API_KEY","quirks":["max_tokens"]}],
        "models":[{"provider":"acme","id":"m","context_length":1000,"max_output_tokens":100,"input_usd_per_mtok":"1",
        "output_usd_per_mtok":"2","cache_read_usd_per_mtok":"0.1","rates":[{"above_prompt_tokens":200,
        "input_usd_per_mtok":"4","output_usd_per_mtok":"8"}]}]}"#;

    fn broken(from: &str, to: &str) -> String {
        Catalog::parse(&DOCUMENT.replace(from, to)).err().unwrap_or_default()
    }

    #[test]
    fn p25_a_document_without_measure_is_not_opened() {
        let padded = format!("{DOCUMENT}{}", " ".repeat(Catalog::BYTES_MAX));
        assert!(Catalog::open(&padded, String::new()).is_err_and(|why| why.contains("4 MiB")));
        assert!(Catalog::open("[", String::new()).is_err_and(|why| why.starts_with("catalog: Malformed(\"")));
        assert!(Catalog::open(&format!("{DOCUMENT} \n"), String::new()).is_ok());
    }

    #[test]
    fn a_row_becomes_a_deployment() {
        let catalog = Catalog::parse(DOCUMENT).expect("valid");
        let found = catalog.deployment("acme/m").expect("there");
        assert_eq!(catalog.serving("m").count(), 1);
        assert!(found.has(Quirk::MaxTokens) && !found.has(Quirk::NoStop));
        assert_eq!(found.rates.at(200, When::default()).input, Pico(1_000_000), "a tier begins above its threshold");
        assert_eq!(
            found.rates.at(201, When::default()).cache_read,
            Pico(4_000_000),
            "a tier without a cache price bills it as input"
        );
        assert_eq!(catalog.id.len(), 64);
    }

    #[test]
    fn the_bundled_catalog_is_valid_and_bears_its_hash() {
        let (read, opened) = (Catalog::parse(BUNDLED).expect("valid"), Catalog::bundled().expect("valid"));
        assert_eq!(opened.id, read.id, "run `make catalog`");
        assert_eq!((opened.deployments().len(), opened.len()), (read.len(), read.len()), "every row is served");
    }

    #[test]
    fn a_row_that_cannot_be_read_leaves_the_others() {
        let text = DOCUMENT.replace(r#""models":["#, r#""models":[{"id":"bad","provider":"acme"},"#);
        assert!(Catalog::parse(&text).is_err_and(|why| why.contains("bad")));
        let opened = Catalog::open(&text, "x".into()).expect("whole");
        assert!(opened.deployment("acme/bad").is_none() && opened.deployment("acme/m").is_some());
        assert_eq!(opened.deployments().len(), 1);
    }

    #[test]
    fn an_effort_is_brought_to_the_nearest_of_its_kind() {
        let nearest = |efforts: &str, asked| {
            let row = format!(r#""context_length":1000,"efforts":{efforts}"#);
            let catalog = Catalog::parse(&DOCUMENT.replace(r#""context_length":1000"#, &row)).expect("valid");
            catalog.deployment("acme/m").expect("there").nearest_effort(asked)
        };
        let all = r#"["none","low","high"]"#;
        assert_eq!(nearest(all, Effort::Minimal), Effort::Low, "some is not none");
        assert_eq!((nearest(all, Effort::Medium), nearest(all, Effort::Max)), (Effort::Low, Effort::High));
        assert_eq!((nearest(all, Effort::None), nearest(r#"["low"]"#, Effort::None)), (Effort::None, Effort::Low));
        assert_eq!(nearest("[]", Effort::XHigh), Effort::XHigh);
    }

    #[test]
    fn the_last_rate_that_holds_counts() {
        let text = DOCUMENT.replace(
            r#""rates":[{"#,
            r#""rates":[{"service_tier":"flex","input_usd_per_mtok":"0.5","output_usd_per_mtok":"1"},
            {"from":"2027-01-01","input_usd_per_mtok":"3","output_usd_per_mtok":"6"},{"utc_hours":["01:00-04:00"],
            "weekdays":true,"input_usd_per_mtok":"7","output_usd_per_mtok":"9"},{"#,
        );
        let catalog = Catalog::parse(&text).expect("valid");
        let rates = &catalog.deployment("acme/m").expect("there").rates;
        let input = |date: &str, hour: u64, tier| {
            let at = Millis::of_date(date).expect("a date").after(hour * 3_600_000);
            rates.at(1, When { at, tier }).input.0 / 100_000
        };
        // 2026-11-27 is a Friday.
        for (date, hour, tier, wanted) in [
            ("2026-11-27", 0, None, 10),
            ("2026-11-27", 1, None, 70),
            ("2026-11-27", 4, None, 10),
            ("2026-11-28", 1, None, 10),
            ("2027-01-03", 1, None, 30),
            ("2027-01-04", 3, None, 70),
            ("2027-01-04", 3, Some(ServiceTier::Flex), 5),
            // No such price: the base, and routing leaves the deployment out.
            ("2027-01-04", 3, Some(ServiceTier::Priority), 10),
        ] {
            assert_eq!(input(date, hour, tier), wanted, "{date} {hour}:00 {tier:?}");
        }
        assert!(rates.offers(ServiceTier::Flex) && !rates.offers(ServiceTier::Priority));
        assert_eq!(rates.up_to(1, When { at: Millis(0), tier: None }).count(), 1);
        for (from, to) in [("01:00-04:00", "1-4"), ("2027-01-01", "2027-13-01")] {
            assert!(Catalog::parse(&text.replace(from, to)).is_err_and(|why| why.contains(to)), "{to}");
        }
    }

    #[test]
    fn a_bad_row_is_named() {
        assert!(broken("\"version\":1", "\"version\":2").contains("version 2"));
        assert!(broken("\"provider\":\"acme\"", "\"provider\":\"x\"").contains("\"x\""));
        assert!(broken("\"output_usd_per_mtok\":\"2\"", "\"output_usd_per_mtok\":\"2000\"").contains("$1,000"));
        assert!(broken("\"context_length\":1000", "\"context_length\":0").contains("acme/m"));
        assert!(broken("\"id\":\"m\"", "\"id\":\"m m\"").contains("letters"));
        assert!(broken("\"output_usd_per_mtok\":\"8\"", "\"cache_read_usd_per_mtok\":\"1\"").contains("output"));
        assert!(
            broken("\"cache_read_usd_per_mtok\":\"0.1\"", "\"cache_read_usd_per_mtok\":\"900\"").contains("cache_read")
        );
        for more in [r#""retires":"soon""#, r#""retires":"2026-02-31""#, r#""larger_context":"n""#, r#""id":"n""#] {
            let told = broken("\"context_length\":1000", &format!("\"context_length\":1000,{more}"));
            assert!(told.contains("acme"), "{more}: {told}");
        }
    }

    #[test]
    fn overrides_change_prices_and_the_id() {
        let catalog = Catalog::parse(DOCUMENT).expect("valid");
        let overrides: PriceOverrides = json::read(
            r#"{"acme/m":{"input_usd_per_mtok":"10","output_usd_per_mtok":"2"},"acme/none":
            {"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}"#,
        )
        .expect("valid");
        let folded = catalog.with_overrides(&overrides);
        assert_eq!(folded.deployment("acme/m").map(|d| d.rates.at(100, When::default()).input), Some(Pico(10_000_000)));
        let cliff = folded.deployment("acme/m").map(|d| d.rates.at(201, When::default()).input);
        assert_eq!(cliff, Some(Pico(4_000_000)), "the alternatives stay");
        assert_ne!(folded.id, catalog.id);
        let partial: PriceOverrides = json::read(r#"{"acme/m":{"input_usd_per_mtok":"10"}}"#).expect("valid");
        let rates = catalog.with_overrides(&partial).deployment("acme/m").map(|d| *d.rates.at(1, When::default()));
        assert_eq!(rates.map(|rates| rates.output), Some(Pico(2_000_000)), "what is left out is not free");
        let misspelt = r#"{"acme/m":{"input_usd_per_mtok":"10","cache_reed_usd_per_mtok":"1"}}"#;
        assert!(json::read::<PriceOverrides>(misspelt).is_err());
        assert_eq!(catalog.price_jumps(&folded).len(), 1);
        let slipped = Catalog::parse(&DOCUMENT.replace(r#""input_usd_per_mtok":"4""#, r#""input_usd_per_mtok":"40""#));
        assert_eq!(catalog.price_jumps(&slipped.expect("valid")).len(), 1, "an alternative counts too");
        assert_eq!(catalog.with_overrides(&PriceOverrides::default()).id, catalog.id);
    }
}
