//! Answers for people: lists as tables, objects as lines.
use serde_json::Value;

/// The widest cell of a table.
const CELL: usize = 60;

/// An answer as text. Lists have these columns, or the members of their first row.
pub fn shown(answer: &Value, columns: &[&str]) -> String {
    let Some(rows) = answer.get("data").and_then(Value::as_array) else { return lines(answer) };
    let rows: Vec<Value> = rows.iter().flat_map(results).collect();
    let Some(first) = rows.first() else { return "none\n".to_owned() };
    let own: Vec<&str> = first.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let columns: Vec<&str> = if columns.is_empty() { own } else { columns.to_vec() };
    let columns: Vec<&str> = columns.into_iter().filter(|name| *name != "object").collect();
    let mut text = table(&columns, &rows);
    if answer.get("has_more").and_then(Value::as_bool) == Some(true) {
        let last = answer.get("last_id").and_then(Value::as_str).unwrap_or_default();
        text.extend(["There is more: --after ", &plain(last), "\n"]);
    }
    text
}

/// The results of a bucket, each with the bucket's beginning; any other row is itself.
fn results(row: &Value) -> Vec<Value> {
    let Some(results) = row.get("results").and_then(Value::as_array) else { return vec![row.clone()] };
    let with_start = |result: &Value| {
        let mut told = serde_json::Map::new();
        told.insert("start_time".into(), row.get("start_time").cloned().unwrap_or_default());
        told.extend(result.as_object().cloned().unwrap_or_default());
        Value::Object(told)
    };
    results.iter().map(with_start).collect()
}

fn table(columns: &[&str], rows: &[Value]) -> String {
    let last = |name: &str| name.rsplit_once('.').map_or(name, |(_, last)| last).to_owned();
    let alone = |name: &&str| columns.iter().filter(|other| last(other) == last(name)).count() == 1;
    let head = columns.iter().map(|name| if alone(name) { last(name) } else { (*name).to_owned() }).collect();
    let cells = |row: &Value| columns.iter().map(|name| clipped(&cell(at(row, name)))).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &all {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A member, by its name with dots.
fn at<'a>(row: &'a Value, name: &str) -> &'a Value {
    name.split('.').fold(row, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn lines(value: &Value) -> String {
    let mut pairs = Vec::new();
    collect("", value, &mut pairs);
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line = |(name, value): &(String, String)| format!("{name:width$}  {value}\n");
    pairs.iter().map(line).collect::<Vec<_>>().concat()
}

fn collect(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "object") {
        let name = format!("{prefix}{}", plain(name));
        match value {
            Value::Object(inner) if !inner.is_empty() => collect(&format!("{name}."), value, pairs),
            other => pairs.push((name, cell(other))),
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(","),
        other => plain(&other.to_string()),
    }
}

/// An item of a list: a role, a target and a delivery in a few words.
fn item(value: &Value) -> String {
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    for (first, between, second) in [("role", "@", "scope"), ("provider", "/", "model"), ("endpoint_id", ":", "status")]
    {
        if let (Some(first), Some(second)) = (word(first), word(second)) {
            return plain(&format!("{first}{between}{second}"));
        }
    }
    cell(value)
}

fn clipped(text: &str) -> String {
    if text.chars().count() <= CELL { text.to_owned() } else { text.chars().take(CELL - 1).chain(['…']).collect() }
}

/// Without control characters: names are given by others, and must not move the cursor.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_tables_and_objects_are_lines() {
        let list = json!({"object": "list", "data": [
            {"id": "mem_1", "name": "Ada\u{1b}[2J", "roles": [{"role": "owner", "scope": "organization"}], "group_id": null},
            {"id": "mem_22", "name": "Bob", "roles": [], "group_id": "grp_1"},
        ], "has_more": true, "last_id": "mem_22"});
        let expected = "id      name     roles               group_id\n\
                        mem_1   Ada [2J  owner@organization  -\n\
                        mem_22  Bob      -                   grp_1\n\
                        There is more: --after mem_22\n";
        assert_eq!(shown(&list, &["id", "name", "roles", "group_id"]), expected);
        let wallet = json!({"object": "wallet", "available_usd": "5", "a": {"b": [1, 2]}});
        assert_eq!(shown(&wallet, &[]), "available_usd  5\na.b            1,2\n");
        assert_eq!(shown(&json!({"data": []}), &["id"]), "none\n");
        let nested = json!({"data": [{"id": 1, "a": {"id": 2, "b": 3}}]});
        assert_eq!(shown(&nested, &["id", "a.id", "a.b"]), "id  a.id  b\n1   2     3\n");
    }

    #[test]
    fn buckets_are_laid_flat() {
        let usage = json!({"data": [{"object": "bucket", "start_time": "t", "results": [
            {"object": "usage.result", "requests": 2, "amount_usd": "0.5"}]}]});
        assert_eq!(shown(&usage, &[]), "start_time  requests  amount_usd\nt           2         0.5\n");
    }
}
