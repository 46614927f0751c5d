//! JSON Schemas in the forms providers compile.
use crate::json::put;
use crate::json::written;
use serde_json::{Map, Value};

/// A schema in the subset the provider compiles: closed objects, and bounds told in words instead of keywords.
pub(super) fn constrain(schema: &mut Value) {
    const REFUSED: [&str; 12] = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
    ];
    match schema {
        Value::Array(items) => items.iter_mut().for_each(constrain),
        Value::Object(members) => {
            let mut bounds: Vec<String> = Vec::new();
            for name in REFUSED {
                // Only a keyword if it is no property of that name.
                if members
                    .get(name)
                    .is_some_and(|bound| bound.is_number() || bound.is_boolean() || name == "patternProperties")
                {
                    bounds.extend(members.shift_remove(name).map(|bound| format!("{name}: {}", written(&bound))));
                }
            }
            if members.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 1) {
                bounds.extend(members.shift_remove("minItems").map(|bound| format!("minItems: {}", written(&bound))));
            }
            if !bounds.is_empty() {
                let told = members
                    .get("description")
                    .and_then(Value::as_str)
                    .map_or_else(String::new, |text| format!("{text} "));
                put(members, "description", format!("{told}({})", bounds.join(", ")).into());
            }
            if members.get("type").and_then(Value::as_str) == Some("object") {
                put(members, "additionalProperties", false.into());
            }
            members.values_mut().for_each(constrain);
        }
        _ => {}
    }
}

/// What a request's schemas may grow by when their references are resolved, about in bytes: definitions that use each other
/// in pairs double with every level. One that would grow by more stays as it is.
pub(super) const GROWTH_MAX: usize = 256 * 1024;
/// How deep inside a schema references are followed.
const DEPTH_MAX: usize = 64;

/// A schema whose references into itself are resolved, as far as that ends and as `left` lets it grow.
pub(super) fn inlined(schema: &Value, left: &mut usize) -> Value {
    let mut inlining = Inlining { root: schema, left, depth: 0, path: Vec::new(), whole: true };
    let Some(mut told) = inlining.value(schema) else { return schema.clone() };
    if inlining.whole
        && let Some(members) = told.as_object_mut()
    {
        members.shift_remove("$defs");
        members.shift_remove("definitions");
    }
    told
}

struct Inlining<'a> {
    root: &'a Value,
    left: &'a mut usize,
    depth: usize,
    /// The references being followed.
    path: Vec<&'a str>,
    /// None had to stay.
    whole: bool,
}

impl<'a> Inlining<'a> {
    /// Counts what is copied. `None`: it became too much.
    fn grow(&mut self, bytes: usize) -> Option<()> {
        if !self.path.is_empty() {
            *self.left = self.left.checked_sub(bytes)?;
        }
        Some(())
    }

    fn value(&mut self, value: &'a Value) -> Option<Value> {
        self.depth += 1;
        self.grow(value.as_str().map_or(4, |text| text.len() + 4))?;
        let told = match value {
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect::<Option<_>>()?,
            Value::Object(members) => match members.get("$ref") {
                Some(Value::String(reference)) => self.reference(reference, members)?,
                _ => self.members(members)?.into(),
            },
            other => other.clone(),
        };
        self.depth -= 1;
        Some(told)
    }

    fn members(&mut self, members: &'a Map<String, Value>) -> Option<Map<String, Value>> {
        let mut told = Map::new();
        for (name, value) in members {
            self.grow(name.len())?;
            // Definitions are copied where they are used.
            let definitions = self.path.is_empty() && (name == "$defs" || name == "definitions");
            told.insert(name.clone(), if definitions { value.clone() } else { self.value(value)? });
        }
        Some(told)
    }

    fn reference(&mut self, reference: &'a str, members: &'a Map<String, Value>) -> Option<Value> {
        let mut beside = self.members(members)?;
        let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let followed = !self.path.contains(&reference) && self.depth <= DEPTH_MAX;
        let Some(found) = found.filter(|_| followed) else {
            self.whole = false;
            return Some(beside.into());
        };
        self.path.push(reference);
        let mut told = self.value(found)?;
        self.path.pop();
        // What stands beside a reference stays beside what it means.
        if let Value::Object(told) = &mut told {
            beside.shift_remove("$ref");
            told.extend(beside);
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn inlined(schema: &Value) -> Value {
        super::inlined(schema, &mut GROWTH_MAX.clone())
    }

    #[test]
    fn references_become_what_they_mean() {
        let schema = json!({"type": "object", "$defs": {"A": {"type": "string"}, "B": {"items": {"$ref": "#/$defs/A"}}},
            "properties": {"a": {"$ref": "#/$defs/A", "description": "d"}, "b": {"$ref": "#/$defs/B"}, "$ref": {"type": "null"}}});
        let told = json!({"type": "object", "properties": {"a": {"type": "string", "description": "d"},
            "b": {"items": {"type": "string"}}, "$ref": {"type": "null"}}});
        assert_eq!(inlined(&schema), told);
        assert_eq!(inlined(&told), told);
    }

    #[test]
    fn what_does_not_end_stays() {
        let tree = json!({"$defs": {"T": {"properties": {"next": {"$ref": "#/$defs/T"}}}}, "$ref": "#/$defs/T"});
        let told = inlined(&tree);
        assert_eq!(told["properties"]["next"], json!({"$ref": "#/$defs/T"}));
        assert_eq!(told["$defs"], tree["$defs"]);
        for schema in [json!({"$ref": "#"}), json!({"$ref": "https://x.test/y"}), json!({"$ref": "#/nowhere"})] {
            assert_eq!(inlined(&schema)["$ref"], schema["$ref"]);
        }
        let mut bomb = json!({"$defs": {"D0": {"type": "string"}}, "$ref": "#/$defs/D40"});
        for level in 1..=40 {
            let before = format!("#/$defs/D{}", level - 1);
            bomb["$defs"][format!("D{level}")] = json!({"anyOf": [{"$ref": before}, {"$ref": before}]});
        }
        assert_eq!(inlined(&bomb), bomb);
    }

    #[test]
    fn the_work_is_bounded() {
        let all: Vec<Value> = (0..6_000).map(|_| json!({"$ref": "#"})).collect();
        let schema = json!({ "anyOf": all });
        // Every copied value is paid for: it gives up within the fourth copy, long before the last of 6,000.
        let mut left = GROWTH_MAX;
        assert_eq!(super::inlined(&schema, &mut left), schema);
        assert!(left < 64, "{left}");
        let small = json!({"$defs": {"A": {"type": "string"}}, "items": {"$ref": "#/$defs/A"}});
        left = 20;
        assert_eq!(super::inlined(&small, &mut left), json!({"items": {"type": "string"}}));
        assert_eq!(super::inlined(&small, &mut left), small, "all of a request's schemas share it");
    }
}
