//! Labelled prompts: JSON lines, gzipped or not. The first line is `{"meta":{"models":[…]}}`, every other one a prompt with a score
//! for each model.
use flate2::read::GzDecoder;
use megarouter::{
    chat::{Message, Part, Request, Role, Tool},
    quality::{
        ability_at,
        sketch::{Rarity, Sketch},
    },
};
use serde_json::Value;
use std::{collections::HashMap, fs, io::Read, path::Path};

pub type Failure = String;

/// One prompt.
pub struct Row {
    pub prompt: String,
    pub tools: Vec<Value>,
    pub category: String,
    /// Score of each model; `None` where it was not judged.
    pub scores: Vec<Option<f32>>,
    pub output_tokens: Vec<Option<f32>>,
    pub input_tokens: f32,
    /// US dollars of each model's call, where the source tells.
    pub costs: Vec<Option<f32>>,
    /// A hash of each model's final answer.
    pub answers: Vec<Option<String>>,
    /// Whether each model's output could be parsed and was valid by its schema.
    pub valid: Vec<Option<bool>>,
}

pub struct Data {
    pub models: Vec<String>,
    pub rows: Vec<Row>,
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it.
pub fn load(path: &Path) -> Result<Data, Failure> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = fs::read(path).map_err(|error| told(&error))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).map_err(|error| told(&error))?;
        bytes = plain;
    }
    let text = String::from_utf8(bytes).map_err(|error| told(&error))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head: Value = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|error| told(&error))?;
    let models = head.pointer("/meta/models").and_then(Value::as_array);
    let models: Vec<String> = models
        .ok_or_else(|| told(&"the first line has no meta.models"))?
        .iter()
        .map(|name| name.as_str().unwrap_or_default().to_owned())
        .collect();
    let rows = lines.map(|line| Ok(row(&serde_json::from_str(line).map_err(|error| told(&error))?, models.len())));
    Ok(Data { rows: rows.collect::<Result<_, Failure>>()?, models })
}

fn row(value: &Value, models: usize) -> Row {
    let list = |member: &str| -> Vec<Value> {
        let mut found = value[member].as_array().cloned().unwrap_or_default();
        found.resize(models, Value::Null);
        found
    };
    #[expect(clippy::cast_possible_truncation, reason = "scores, tokens and dollars")]
    let number = |value: &Value| value.as_f64().map(|number| number as f32);
    let numbers = |member: &str| list(member).iter().map(number).collect();
    let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let tools = value["tools"].as_str().and_then(|tools| serde_json::from_str::<Vec<Value>>(tools).ok());
    Row {
        prompt: text("prompt"),
        tools: tools.unwrap_or_default(),
        category: text("cat"),
        scores: numbers("s"),
        output_tokens: numbers("o"),
        input_tokens: number(&value["i"]).unwrap_or_else(|| text("prompt").len() as f32 / 4.0),
        costs: numbers("cost"),
        answers: list("a").iter().map(|answer| answer.as_str().map(str::to_owned)).collect(),
        valid: list("v").iter().map(|valid| number(valid).map(|valid| valid > 0.5)).collect(),
    }
}

impl Row {
    /// The row with these models alone, under that category.
    #[must_use]
    pub fn narrowed(self, columns: &[usize], category: &str) -> Self {
        Self {
            category: category.to_owned(),
            scores: columns.iter().map(|column| self.scores[*column]).collect(),
            output_tokens: columns.iter().map(|column| self.output_tokens[*column]).collect(),
            costs: columns.iter().map(|column| self.costs[*column]).collect(),
            answers: columns.iter().map(|column| self.answers[*column].clone()).collect(),
            valid: columns.iter().map(|column| self.valid[*column]).collect(),
            ..self
        }
    }

    /// The request an application would send.
    pub fn request(&self) -> Request {
        asking(&self.prompt, &self.tools)
    }

    pub fn sketch(&self, rarity: &Rarity) -> Sketch {
        megarouter::analysis::sketch(&self.request(), rarity)
    }
}

/// A request with that text and those tools.
pub fn asking(prompt: &str, tools: &[Value]) -> Request {
    let message = Message { role: Role::User, parts: vec![Part::text(prompt)], name: None };
    let tool = |tool: &Value| Tool::Function {
        name: tool["name"].as_str().unwrap_or_default().to_owned(),
        description: tool["description"].as_str().map(str::to_owned),
        parameters: tool.get("parameters").cloned(),
        strict: None,
        cache: None,
    };
    Request { messages: vec![message], tools: tools.iter().map(tool).collect(), ..Request::default() }
}

/// What models cost, in US dollars per million tokens.
pub struct Prices {
    per_mtok: HashMap<String, (f32, f32)>,
    /// Output tokens that are billed for each that is seen, of models that hide their reasoning.
    hidden: HashMap<String, f32>,
}

impl Prices {
    /// The list in `data/prices.json`, which says where it is from.
    pub fn listed() -> Self {
        let list: Value = serde_json::from_str(include_str!("../data/prices.json")).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "dollars")]
        let number = |value: &Value| value.as_f64().unwrap_or_default() as f32;
        let entries = |member: &str| list[member].as_object().cloned().unwrap_or_default().into_iter();
        Self {
            per_mtok: entries("prices").map(|(name, two)| (name, (number(&two[0]), number(&two[1])))).collect(),
            hidden: entries("hidden_reasoning").map(|(name, times)| (name, number(&times))).collect(),
        }
    }

    /// Input and output price. Names differ between sources in marks, dates and how they were asked: the longest listed name that
    /// the model's begins with, marks and case aside.
    pub fn of(&self, model: &str) -> Option<(f32, f32)> {
        let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let wanted = plain(model);
        let fits = |(name, _): &(&String, _)| {
            let listed = plain(name);
            wanted.contains(&listed) || (wanted.len() > 8 && listed.contains(&wanted))
        };
        let found = self.per_mtok.iter().filter(fits).max_by_key(|(name, _)| (name.len(), (*name).clone()));
        found.map(|(_, price)| *price)
    }

    /// Output tokens billed for each seen.
    pub fn hidden(&self, model: &str) -> f32 {
        self.hidden.get(model).copied().unwrap_or(1.0)
    }

    /// The ability the market gives a model; `None` for one without a price.
    pub fn ability(&self, model: &str) -> Option<f32> {
        let (input, output) = self.of(model)?;
        Some(ability_at((3.0 * input + output) / 4.0))
    }
}
