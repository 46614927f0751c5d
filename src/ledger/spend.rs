//! What was used and spent, in buckets of time and by who or what: a question, the one statement it is to the journal, and what is
//! told of the rows.
use crate::json::{put, put_text};
use crate::{
    endpoint::percent_decoded,
    fault::Fault,
    json::{json, list_of},
    money::Nanos,
    time::Millis,
};
use serde_json::{Map, Value};

/// What spending is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Group,
    Member,
    ApiKey,
    Model,
    Provider,
}

impl By {
    const ALL: [Self; 5] = [Self::Group, Self::Member, Self::ApiKey, Self::Model, Self::Provider];

    fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Member => "member",
            Self::ApiKey => "api_key",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }

    /// The member of an answer, and the column.
    fn name(self) -> &'static str {
        match self {
            Self::Group => "group_id",
            Self::Member => "member_id",
            Self::ApiKey => "api_key_id",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }

    /// Where it stands in an entry. A call counts for the deepest group its key stood under.
    fn column(self) -> &'static str {
        match self {
            Self::Group => {
                "(SELECT substr(value, 7) FROM json_each(call, '$.path') WHERE value LIKE 'group:%' ORDER BY key LIMIT 1)"
            }
            Self::Member => {
                "(SELECT substr(value, 8) FROM json_each(call, '$.path') WHERE value LIKE 'member:%' LIMIT 1)"
            }
            Self::ApiKey => "call ->> 'api_key_id'",
            Self::Model => "(call ->> 'provider') || '/' || (call ->> 'model')",
            Self::Provider => "call ->> 'provider'",
        }
    }
}

/// Rows of one answer at most.
pub const ROWS_MAX: usize = 1_000;
const DAY_MS: u64 = 86_400_000;
/// Widths of a bucket, each with the longest time that is told in such.
const WIDTHS: [(&str, u64, u64); 3] =
    [("1m", 60_000, DAY_MS), ("1h", 3_600_000, 32 * DAY_MS), ("1d", DAY_MS, 400 * DAY_MS)];
/// Without a beginning, and the longest time in one piece.
const USUAL_MS: u64 = 30 * DAY_MS;
const LONGEST_MS: u64 = 400 * DAY_MS;
/// Counts of a row: the column, what it sums, the member it is told as.
pub(super) const COUNTS: [(&str, &str); 5] = [
    ("requests", "kind = 'usage' AND id NOT LIKE '%#%'"),
    ("input_tokens", "coalesce(call ->> '$.usage.input', 0) + coalesce(call ->> '$.usage.audio_input', 0)"),
    ("cache_read_tokens", "coalesce(call ->> '$.usage.cache_read', 0)"),
    (
        "cache_write_tokens",
        "coalesce(call ->> '$.usage.cache_write', 0) + coalesce(call ->> '$.usage.cache_write_1h', 0)",
    ),
    ("output_tokens", "coalesce(call ->> '$.usage.output', 0)"),
];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub start: Millis,
    pub end: Millis,
    /// Of a bucket; all in one without.
    width_ms: Option<u64>,
    by: Vec<By>,
}

impl Question {
    /// Reads a query.
    ///
    /// # Errors
    /// 400 naming the parameter that is out of bounds.
    pub fn of_query(query: &str, now: Millis) -> Result<Self, Fault> {
        let (mut start, mut end, mut width, mut by) = (None, None, None, Vec::new());
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decoded(&value.replace('+', " "));
            let name = percent_decoded(name);
            match name.strip_suffix("[]").unwrap_or(&name) {
                "start_time" => start = Some(moment("start_time", &value)?),
                "end_time" => end = Some(moment("end_time", &value)?),
                "bucket_width" => {
                    let known = WIDTHS.into_iter().find(|(word, ..)| *word == value);
                    width =
                        Some(known.ok_or_else(|| Fault::parameter("bucket_width", "bucket_width is 1m, 1h or 1d."))?);
                }
                "group_by" => {
                    for word in value.split(',') {
                        let known = By::ALL.into_iter().find(|by| by.word() == word);
                        let text = "group_by is group, member, api_key, model or provider, or several of them.";
                        let known = known.ok_or_else(|| Fault::parameter("group_by", text))?;
                        by.extend((!by.contains(&known)).then_some(known));
                    }
                }
                other => {
                    let text = "The query takes start_time, end_time, bucket_width and group_by.";
                    return Err(Fault::parameter(other, text));
                }
            }
        }
        let end = end.unwrap_or(now);
        let start = start.unwrap_or(Millis(end.0.saturating_sub(USUAL_MS)));
        let (word, longest) = width.map_or(("one bucket", LONGEST_MS), |(word, _, longest)| (word, longest));
        if start >= end || end.since(start) > longest {
            let text = format!("start_time lies before end_time, at most {} days with {word}.", longest / DAY_MS);
            return Err(Fault::parameter("start_time", text));
        }
        Ok(Self { start, end, width_ms: width.map(|(_, ms, _)| ms), by })
    }

    /// The statement: the account is its first value, then the first and the last entry of the time, its beginning and end, and, where
    /// only some scopes may be seen, these as a JSON list.
    #[must_use]
    pub fn statement(&self, some_scopes: bool) -> String {
        let bucket = self.width_ms.map_or("0".to_owned(), |ms| format!("at - at % {ms}"));
        let mut columns = vec![format!("{bucket} AS bucket")];
        columns.extend(self.by.iter().map(|by| format!("{} AS {}", by.column(), by.name())));
        // No call counts a million million tokens; sums that overflow would fail for good.
        columns.extend(COUNTS.iter().map(|(name, summed)| format!("sum(min({summed}, 1000000000000)) AS {name}")));
        columns.push("CAST(sum(-amount) AS TEXT) AS nanos".to_owned());
        let groups: Vec<String> = (1..=1 + self.by.len()).map(|number| number.to_string()).collect();
        let seen = if some_scopes {
            " AND EXISTS (SELECT 1 FROM json_each(call, '$.path') AS p, json_each(?6) AS s WHERE p.value = s.value)"
        } else {
            ""
        };
        format!(
            "SELECT {} FROM entry WHERE account = ?1 AND kind IN ('usage', 'refund') \
             AND seq >= CAST(?2 AS INTEGER) AND seq < CAST(?3 AS INTEGER) \
             AND at >= CAST(?4 AS INTEGER) AND at < CAST(?5 AS INTEGER){seen} GROUP BY {} ORDER BY 1, sum(-amount) DESC LIMIT {}",
            columns.join(", "),
            groups.join(", "),
            ROWS_MAX + 1
        )
    }

    /// What is told of the rows: a list of buckets, oldest first, each with who spent most in front. Buckets without calls are left out.
    ///
    /// # Errors
    /// 400 where there are more rows than an answer holds.
    pub fn told(&self, rows: &[Value]) -> Result<Value, Fault> {
        let mut buckets: Vec<(u64, Vec<Value>)> = Vec::new();
        for row in fits(rows)? {
            let start = number(row, "bucket");
            if buckets.last().is_none_or(|(last, _)| *last != start) {
                buckets.push((start, Vec::new()));
            }
            if let Some((_, results)) = buckets.last_mut() {
                results.push(self.result(row));
            }
        }
        let bucket = |(start, results): (u64, Vec<Value>)| {
            let (start, end) = self.bounds(start);
            json!({"object": "bucket", "id": start.rfc3339(), "start_time": start.rfc3339(), "end_time": end.rfc3339(),
                "results": results})
        };
        Ok(list_of(buckets.into_iter().map(bucket).collect(), false))
    }

    fn bounds(&self, bucket: u64) -> (Millis, Millis) {
        self.width_ms.map_or((self.start, self.end), |ms| (Millis(bucket), Millis(bucket + ms)))
    }

    fn result(&self, row: &Value) -> Value {
        let mut told = Map::new();
        put_text(&mut told, "object", "usage.result");
        for by in &self.by {
            told.insert(by.name().into(), row.get(by.name()).cloned().unwrap_or_default());
        }
        for (name, _) in COUNTS {
            put(&mut told, name, number(row, name).into());
        }
        put(&mut told, "amount_usd", spent(row).to_string().into());
        Value::Object(told)
    }

    /// The same as a table.
    ///
    /// # Errors
    /// As for [`Self::told`].
    pub fn csv(&self, rows: &[Value]) -> Result<String, Fault> {
        let mut names = vec!["start_time"];
        names.extend(self.by.iter().map(|by| by.name()));
        names.extend(COUNTS.iter().map(|(name, _)| *name));
        names.push("amount_usd");
        let mut lines = vec![names.join(",")];
        for row in fits(rows)? {
            let mut cells = vec![self.bounds(number(row, "bucket")).0.rfc3339()];
            cells.extend(self.by.iter().map(|by| cell(row.get(by.name()).and_then(Value::as_str).unwrap_or_default())));
            cells.extend(COUNTS.iter().map(|(name, _)| number(row, name).to_string()));
            cells.push(spent(row).to_string());
            lines.push(cells.join(","));
        }
        lines.push(String::new());
        Ok(lines.join("\r\n"))
    }
}

/// A text in quotes, which no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let shown = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{shown}{}\"", text.replace('"', "\"\""))
}

fn fits(rows: &[Value]) -> Result<&[Value], Fault> {
    if rows.len() > ROWS_MAX {
        let text = format!("That is more than {ROWS_MAX} rows. Ask for a shorter time, wider buckets or fewer groups.");
        return Err(Fault::parameter("group_by", text));
    }
    Ok(rows)
}

pub(super) fn number(row: &Value, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) fn spent(row: &Value) -> Nanos {
    nanos(row, "nanos")
}

/// A column of money, which is text.
pub(super) fn nanos(row: &Value, name: &str) -> Nanos {
    Nanos(row.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// A moment, as a date and time or in seconds since 1970.
fn moment(name: &str, text: &str) -> Result<Millis, Fault> {
    let seconds = text.parse::<u64>().ok().filter(|seconds| *seconds < 1 << 40).map(|seconds| Millis(seconds * 1_000));
    let found = seconds.or_else(|| Millis::of_rfc3339(text)).or_else(|| Millis::of_date(text));
    found.ok_or_else(|| {
        Fault::parameter(
            name,
            format!("{name} is a moment, like 2026-11-28T00:00:00Z, 2026-11-28, or seconds since 1970."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_824_000_000);

    fn asked(query: &str) -> Result<Question, Fault> {
        Question::of_query(query, NOW)
    }

    #[test]
    fn a_question_has_bounds_and_says_which() {
        let usual = asked("").expect("all of it");
        assert_eq!((usual.end, usual.end.since(usual.start)), (NOW, 30 * DAY_MS));
        let day = asked(
            "start_time=2026-11-01&end_time=2026-11-02T00%3A00%3A00Z&bucket_width=1h&group_by[]=model&group_by=key",
        );
        assert_eq!(day.expect_err("no such group").param.as_deref(), Some("group_by"));
        let day = asked(
            "start_time=1793491200&end_time=2026-11-02&bucket_width=1h&group_by%5B%5D=model,api_key&group_by[]=model",
        );
        let day = day.expect("a day");
        assert_eq!((day.end.since(day.start), day.by.clone()), (DAY_MS, vec![By::Model, By::ApiKey]));
        for (query, param) in [
            ("start_time=soon", "start_time"),
            ("bucket_width=1y", "bucket_width"),
            ("bucket_width=1m", "start_time"),
            ("start_time=2026-11-02&end_time=2026-11-02", "start_time"),
            ("start_time=2020-01-01", "start_time"),
            ("limit=5", "limit"),
        ] {
            assert_eq!(asked(query).expect_err(query).param.as_deref(), Some(param));
        }
    }

    #[test]
    fn a_statement_groups_by_what_is_asked_and_shows_only_what_may_be_seen() {
        let all = asked("bucket_width=1d&group_by=group,member").expect("a question");
        let statement = all.statement(false);
        assert!(
            statement.contains("at - at % 86400000 AS bucket") && statement.contains("GROUP BY 1, 2, 3 ORDER BY 1")
        );
        assert!(!statement.contains("?6") && all.statement(true).contains("json_each(?6)"));
        assert!(asked("").expect("a question").statement(false).contains("GROUP BY 1 ORDER"));
    }

    #[test]
    fn rows_are_told_in_buckets_and_as_a_table() {
        let question = asked("bucket_width=1d&group_by=model").expect("a question");
        let row = |bucket: u64, model: &str, nanos: &str| {
            json!({"bucket": bucket, "model": model, "requests": 2, "input_tokens": 10, "cache_read_tokens": 0,
                "cache_write_tokens": 0, "output_tokens": 5, "nanos": nanos})
        };
        let rows = [row(0, "a/x", "1500000000"), row(0, "=b", "7"), row(DAY_MS, "a/x", "0")];
        let told = question.told(&rows).expect("few");
        assert_eq!(told["data"].as_array().map(Vec::len), Some(2));
        let first = &told["data"][0];
        assert_eq!(
            (&first["start_time"], &first["results"][0]["amount_usd"]),
            (&json!("1970-01-01T00:00:00Z"), &json!("1.5"))
        );
        assert_eq!(first["results"][1]["model"], "=b");
        let table = question.csv(&rows).expect("few");
        let lines: Vec<&str> = table.split("\r\n").collect();
        assert_eq!(
            lines[0],
            "start_time,model,requests,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,amount_usd"
        );
        assert_eq!(lines[1], "1970-01-01T00:00:00Z,\"a/x\",2,10,0,0,5,1.5");
        assert_eq!((lines[2], lines.len()), ("1970-01-01T00:00:00Z,\"'=b\",2,10,0,0,5,0.000000007", 5));
        let many = vec![row(0, "m", "1"); ROWS_MAX + 1];
        assert!(question.told(&many).is_err() && question.csv(&many).is_err());
    }
}
