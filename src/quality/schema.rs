//! Whether a value fits a JSON Schema, as far as the words here go. A word that is not known lets everything pass, and so does a
//! schema that would take too long: a check must not reject what it does not understand.
use serde_json::{Map, Value};

/// How deep schema and value are followed, references included.
const DEPTH_MAX: usize = 64;
/// What one comparison may cost, in members and items looked at.
const STEPS_MAX: usize = 50_000;
/// Choices of an answer that are compared at most, and calls of each.
pub const COMPARED_MAX: usize = 8;

/// Whether a value fits a schema.
#[must_use]
pub fn fits(schema: &Value, value: &Value) -> bool {
    Walk { root: schema, steps: STEPS_MAX }.fits(schema, value, DEPTH_MAX)
}

struct Walk<'a> {
    root: &'a Value,
    /// Steps that are left.
    steps: usize,
}

impl Walk<'_> {
    fn fits(&mut self, schema: &Value, value: &Value, depth: usize) -> bool {
        let Some(rules) = schema.as_object() else { return *schema != Value::Bool(false) };
        // OpenAPI's word for what a list of types says.
        let nullable = value.is_null() && rules.get("nullable") == Some(&Value::Bool(true));
        let Some(deeper) = depth.checked_sub(1).filter(|_| !nullable) else { return true };
        rules.iter().all(|(word, rule)| !self.spend(rule, value) || self.obeys(word, rule, rules, value, deeper))
    }

    /// Takes what looking at a rule costs. `false` when there is nothing left.
    fn spend(&mut self, rule: &Value, value: &Value) -> bool {
        let rules = match rule {
            // A reference is looked up letter by letter, through the whole path.
            Value::String(text) => text.len() / 16,
            rule => weight(rule, DEPTH_MAX),
        };
        let parts = match value {
            Value::Object(members) => members.len(),
            Value::Array(items) => items.len(),
            Value::String(text) => text.len() / 64,
            _ => 0,
        };
        let left = self.steps.checked_sub((1 + rules).saturating_mul(1 + parts));
        self.steps = left.unwrap_or_default();
        left.is_some()
    }

    fn obeys(&mut self, word: &str, rule: &Value, rules: &Map<String, Value>, value: &Value, depth: usize) -> bool {
        match (word, rule, value) {
            ("$ref", Value::String(path), _) => {
                // Only what stands in the same schema can be looked up.
                let found = path.strip_prefix('#').and_then(|path| self.root.pointer(path));
                found.is_none_or(|schema| self.fits(schema, value, depth))
            }
            ("type", Value::Array(kinds), _) => kinds.iter().any(|kind| is(kind, value)),
            ("type", kind, _) => is(kind, value),
            ("enum", Value::Array(all), _) => all.iter().any(|one| same(one, value)),
            ("const", one, _) => same(one, value),
            ("allOf", Value::Array(all), _) => all.iter().all(|schema| self.fits(schema, value, depth)),
            // That no second one fits is not asked: a word we do not know may be what tells them apart.
            ("anyOf" | "oneOf", Value::Array(any), _) => any.iter().any(|schema| self.fits(schema, value, depth)),
            ("required", Value::Array(names), Value::Object(members)) => {
                names.iter().filter_map(Value::as_str).all(|name| members.contains_key(name))
            }
            ("properties", Value::Object(known), Value::Object(members)) => members
                .iter()
                .all(|(name, member)| known.get(name).is_none_or(|schema| self.fits(schema, member, depth))),
            ("additionalProperties", schema, Value::Object(members)) if !rules.contains_key("patternProperties") => {
                let known = |name: &String| rules.get("properties").is_some_and(|known| known.get(name).is_some());
                members.iter().all(|(name, member)| known(name) || self.fits(schema, member, depth))
            }
            ("items", schema, Value::Array(items)) => {
                let led = rules.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                items.iter().skip(led).all(|item| self.fits(schema, item, depth))
            }
            _ => within(word, rule, value),
        }
    }
}

/// What comparing with a rule may cost: the parts of what it lists, but not of the schemas in it, which are looked at by themselves.
fn weight(rule: &Value, depth: usize) -> usize {
    let Some(deeper) = depth.checked_sub(1) else { return STEPS_MAX };
    match rule {
        Value::Array(items) => items.iter().map(|item| weight(item, deeper)).fold(1, usize::saturating_add),
        Value::Object(members) if depth < DEPTH_MAX => {
            members.values().map(|member| weight(member, deeper)).fold(1, usize::saturating_add)
        }
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

/// Whether a value keeps to the bounds that are numbers.
#[expect(clippy::cast_precision_loss, reason = "no answer is so long")]
fn within(word: &str, rule: &Value, value: &Value) -> bool {
    let Some(bound) = rule.as_f64() else { return true };
    let size = match (word, value) {
        ("minimum" | "maximum", Value::Number(number)) => number.as_f64(),
        ("minLength" | "maxLength", Value::String(text)) => Some(text.chars().count() as f64),
        ("minItems" | "maxItems", Value::Array(items)) => Some(items.len() as f64),
        _ => None,
    };
    size.is_none_or(|size| if word.starts_with("min") { size >= bound } else { size <= bound })
}

fn is(kind: &Value, value: &Value) -> bool {
    match (kind.as_str(), value) {
        (Some("object"), _) => value.is_object(),
        (Some("array"), _) => value.is_array(),
        (Some("string"), _) => value.is_string(),
        (Some("number"), _) => value.is_number(),
        (Some("integer"), Value::Number(number)) => number.as_f64().is_none_or(|number| number.fract() == 0.0),
        (Some("integer"), _) => false,
        (Some("boolean"), _) => value.is_boolean(),
        (Some("null"), _) => value.is_null(),
        _ => true,
    }
}

/// 1 and 1.0 are the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Dice;
    use serde_json::json;

    #[test]
    fn each_word_is_kept_to() {
        let point = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"$ref": "#/$defs/y~1z"}},
            "required": ["x"], "additionalProperties": false, "$defs": {"y/z": {"type": ["number", "null"]}}});
        let tree = json!({"$ref": "#/definitions/node", "definitions": {"node": {"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#/definitions/node"}}}}}});
        let either =
            json!({"anyOf": [{"type": "string"}, {"allOf": [{"minimum": 3}, {"maximum": 5}, {"type": "number"}]}]});
        let sized = json!({"minLength": 2, "maxLength": 3, "minItems": 1, "maxItems": 2});
        let said = json!({"oneOf": [{"enum": ["a", 1, null]}, {"const": {"b": [true]}}]});
        let named = json!({"additionalProperties": {"type": "boolean"}});
        for (schema, good, bad) in [
            (
                &point,
                vec![json!({"x": 1}), json!({"x": 1.0, "y": null}), json!({"x": -3, "y": 0.5})],
                vec![json!({"x": 1.5}), json!({"y": 1}), json!({"x": 1, "z": 2}), json!({"x": 1, "y": "1"}), json!([])],
            ),
            (
                &tree,
                vec![json!({"name": "a"}), json!({"name": "a", "below": [{"name": "b", "below": []}], "more": 1})],
                vec![json!({"name": "a", "below": [{"name": "b"}, {"below": []}]}), json!({"name": 1}), json!(null)],
            ),
            (&either, vec![json!("x"), json!(3), json!(4.5)], vec![json!(2), json!(6), json!(null), json!([])]),
            (
                &sized,
                vec![json!("äö"), json!([1]), json!(7)],
                vec![json!("ä"), json!("abcd"), json!([]), json!([1, 2, 3])],
            ),
            (
                &said,
                vec![json!("a"), json!(1.0), json!(null), json!({"b": [true]})],
                vec![json!("b"), json!({"b": []})],
            ),
            (&named, vec![json!({}), json!({"a": true})], vec![json!({"a": 1})]),
        ] {
            for value in good {
                assert!(fits(schema, &value), "{value} fits {schema}");
            }
            for value in bad {
                assert!(!fits(schema, &value), "{value} does not fit {schema}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_passes() {
        for schema in [
            json!(true),
            json!(null),
            json!("object"),
            json!([false]),
            json!({"type": "decimal"}),
            json!({"type": 7}),
            json!({"pattern": "^x$", "format": "date", "not": {}, "if": {}, "then": false, "multipleOf": 0}),
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
            json!({"$ref": "#/$defs/absent"}),
            json!({"$ref": "#anchor"}),
            json!({"type": "string", "nullable": true}),
            json!({"minimum": "3", "required": "x", "enum": {}, "properties": [], "items": [false], "anyOf": {}}),
        ] {
            assert!(fits(&schema, &json!(null)), "{schema}");
        }
        let schema = json!({"patternProperties": {"^x": {}}, "additionalProperties": false});
        assert!(fits(&schema, &json!({"x1": 1})));
        assert!(fits(&json!({"prefixItems": [{}], "items": false}), &json!([1])));
        assert!(!fits(&json!(false), &json!(null)) && !fits(&json!({"items": false}), &json!([1])));
    }

    /// Any JSON, with as many of the known words in it as there is room for.
    fn any(dice: &mut Dice, depth: u64) -> Value {
        const WORDS: [&str; 20] = [
            "$ref",
            "type",
            "enum",
            "const",
            "required",
            "properties",
            "additionalProperties",
            "items",
            "anyOf",
            "oneOf",
            "allOf",
            "minimum",
            "maxLength",
            "minItems",
            "nullable",
            "prefixItems",
            "$defs",
            "#",
            "#/$defs/type",
            "array",
        ];
        let word = |dice: &mut Dice| WORDS[usize::try_from(dice.roll() % 20).expect("small")];
        match dice.roll() % if depth == 0 { 4 } else { 8 } {
            0 => Value::Null,
            1 => (dice.roll() % 2 == 0).into(),
            2 => (dice.share() * 9.0).into(),
            3 => word(dice).into(),
            4 | 5 => (0..dice.roll() % 4).map(|_| any(dice, depth - 1)).collect(),
            _ => (0..dice.roll() % 6).map(|_| (word(dice).to_owned(), any(dice, depth - 1))).collect(),
        }
    }

    #[test]
    fn any_schema_gives_a_verdict() {
        let mut dice = Dice::new(7);
        let verdicts: Vec<bool> = (0..3_000).map(|_| fits(&any(&mut dice, 6), &any(&mut dice, 4))).collect();
        assert!(verdicts.contains(&true) && verdicts.contains(&false));
    }

    #[test]
    fn no_schema_takes_long() {
        // It refers to itself, at once and in two ways: a tree without an end.
        assert!(fits(&json!({"$ref": "#"}), &json!(1)));
        let twice = json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert!(fits(&twice, &json!({"a": [1, 2, 3]})));
        let long = json!({"$ref": format!("#/{}", "x".repeat(1_000_000)), "allOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert!(fits(&long, &json!(1)));
        let all: Vec<Value> = (0..20_000).map(Value::from).collect();
        let crossed = json!({"items": {"enum": all}});
        assert!(fits(&crossed, &Value::from(vec![json!(19_999); 20_000])) && !fits(&crossed, &json!(["x"])));
    }
}
