//! The law between the rooms of `src/`, and the few habits a linter does not know. Each breach is told with its way out.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The law of imports, lowest level first: a room uses rooms of lower levels, and of its own level without a cycle.
const LAW: [&[&str]; 7] = [
    &["money", "time", "id", "mode", "table", "json", "base64"],
    &["body", "chat", "usage", "sse", "eventstream", "fault", "endpoint"],
    &["catalog", "price", "health", "access", "analysis", "quality", "ledger", "audit", "receipt", "payment"],
    &["budget", "world"],
    &["account", "dialect", "route"],
    &["exchange"],
    &["edge"],
];
/// The level whose rooms do not know each other.
const STRANGERS: usize = 4;

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 700;
const COLUMNS: usize = 140;
const ENTRY_LINES: usize = 79;

#[test]
fn rooms_import_only_what_the_law_lets_them() {
    let mut breaches = Vec::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in house() {
        let Some(room) = &source.room else { continue };
        for (line, used) in source.imports() {
            if used != *room {
                breaches.extend(lawless(room, &used).map(|why| format!("{}:{line}: {why}", source.path)));
                graph.entry(room.clone()).or_default().insert(used);
            }
        }
    }
    breaches.extend(
        cycle(&graph).map(|rooms| format!("{}: a cycle; move what both need into a lower room", rooms.join(" -> "))),
    );
    verdict(&breaches);
}

#[test]
fn functions_files_and_lines_stay_short() {
    let mut breaches = Vec::new();
    for source in house() {
        let path = &source.path;
        for (line, name, lines) in source.functions().into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES) {
            breaches.push(format!(
                "{path}:{line}: fn {name} has {lines} lines, {FUNCTION_LINES} are allowed; name its parts"
            ));
        }
        let lines = source.in_tests.iter().filter(|test| !**test).count();
        if lines > FILE_LINES {
            breaches.push(format!(
                "{path}: {lines} lines, {FILE_LINES} are allowed; give it a folder and move a part there"
            ));
        }
        for (line, text) in (1..).zip(source.raw.lines()).filter(|(line, _)| !source.is_test_line(*line)) {
            let columns = text.chars().count();
            if columns > COLUMNS {
                breaches.push(format!(
                    "{path}:{line}: {columns} columns, {COLUMNS} are allowed; break the line (strings with \\)"
                ));
            }
        }
    }
    verdict(&breaches);
}

#[test]
fn every_file_is_reached_and_named_for_what_it_does() {
    let house = house();
    let reached: BTreeSet<&str> = house.iter().map(|source| source.path.as_str()).collect();
    let mut breaches = Vec::new();
    for path in files(&root().join("src"), "rs") {
        if !reached.contains(path.as_str()) {
            breaches.push(format!("{path}: no `mod` line leads here; add one or delete the file"));
        }
        let mut parts = path.trim_end_matches(".rs").split('/');
        if let Some(part) =
            parts.find(|part| ["utils", "util", "common", "helpers", "types", "misc", "mod"].contains(part))
        {
            breaches.push(format!(
                "{path}: {part:?} says nothing; name the room for what it does (x.rs beside x/, not x/mod.rs)"
            ));
        }
    }
    verdict(&breaches);
}

#[test]
fn nothing_is_left_undone_and_the_platform_stays_at_the_edge() {
    let undone = ["todo!", "unimplemented!", "dbg!"];
    let clocks = ["SystemTime::now", "Instant::now"];
    let platform = ["worker::", "wasm_bindgen", "js_sys", "web_sys"];
    let mut breaches = Vec::new();
    for source in house() {
        let told = |words: &[&str], advice: &str| -> Vec<String> {
            let found = words.iter().flat_map(|word| places(&source.code, word).into_iter().map(move |at| (at, *word)));
            found.map(|(at, word)| format!("{}:{}: {word} {advice}", source.path, line_of(&source.code, at))).collect()
        };
        breaches.extend(told(&undone, "is not for keeping; finish it or return a fault"));
        breaches.extend(told(&clocks, "reads a clock; take the time as an argument"));
        if source.room.as_deref() != Some("edge") {
            breaches.extend(told(&platform, "names the platform; only src/edge may"));
        }
    }
    verdict(&breaches);
}

#[test]
fn the_root_has_its_papers_and_the_shim_is_short() {
    let mut breaches: Vec<String> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .into_iter()
        .filter(|name| !root().join(name).is_file())
        .map(|name| format!("{name}: is missing at the root; write it"))
        .collect();
    let lines = read(&root().join("src/entry.js")).lines().count();
    if lines > ENTRY_LINES {
        breaches.push(format!("src/entry.js: {lines} lines, {ENTRY_LINES} are allowed; decisions belong into Rust"));
    }
    verdict(&breaches);
}

/// A guard that sees nothing passes everything: these breaches were planted.
#[test]
fn planted_breaches_are_seen() {
    let planted = Source::of(
        "route/x.rs",
        r##"
        //! crate::edge in a comment, todo!() too
        use crate::{budget::Counted, chat::{self, world}, edge as e};
        use super::super::dialect;
        fn long<'a>(x: [u8; 2], c: char) -> &'a str { let _ = ('{', '\'', "}", r#"crate::price " todo!()"#, b'}'); crate::account::go() }
        trait T { fn bodiless(x: [u8; 2]); }
        #[cfg(test)]
        mod tests { use crate::exchange; fn f() {} }
        /* crate::world /* nested */ */
        "##,
        false,
    );
    let used: Vec<String> = planted.imports().into_iter().map(|(_, room)| room).collect();
    assert_eq!(used, ["budget", "chat", "edge", "account", "dialect"]);
    assert_eq!(planted.functions(), [(5, "long".to_owned(), 1)]);
    assert!(places(&planted.code, "todo!").is_empty() && planted.is_test_line(8) && !planted.is_test_line(9));
    assert!(
        lawless("route", "edge").is_some()
            && lawless("route", "dialect").is_some()
            && lawless("route", "attic").is_some()
    );
    assert!(lawless("access", "catalog").is_none() && lawless("exchange", "account").is_none());
    let graph = [("a", "b"), ("b", "c"), ("c", "b")].map(|(from, to)| (from.to_owned(), [to.to_owned()].into()));
    assert_eq!(cycle(&graph.into()), Some(["b", "c", "b"].map(str::to_owned).to_vec()));
    assert_eq!(mods("pub mod a;\n#[cfg(test)]\nmod b;\nmod c { mod d; }", &[false; 4]).len(), 3);
}

// What the law says.

fn level(room: &str) -> Option<usize> {
    LAW.iter().position(|rooms| rooms.contains(&room))
}

fn lawless(room: &str, used: &str) -> Option<String> {
    let (Some(ours), Some(theirs)) = (level(room), level(used)) else {
        let unknown = if level(room).is_none() { room } else { used };
        return Some(format!("the room {unknown} has no level; give it one in LAW, in tests/tidy.rs"));
    };
    if theirs > ours {
        return Some(format!("{room} (level {ours}) must not use {used} (level {theirs}); pass in what it needs"));
    }
    (ours == theirs && ours == STRANGERS)
        .then(|| format!("{room} and {used} must not know each other; let exchange bring them together"))
}

/// A ring of rooms that use each other.
fn cycle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        room: &'a String,
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<&'a String>,
        clear: &mut BTreeSet<&'a String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|one| *one == room) {
            return Some(path.iter().skip(start).copied().chain([room]).cloned().collect());
        }
        if clear.contains(room) {
            return None;
        }
        path.push(room);
        let found = graph.get(room).into_iter().flatten().find_map(|next| walk(next, graph, path, clear));
        path.pop();
        clear.insert(room);
        found
    }
    let mut clear = BTreeSet::new();
    graph.keys().find_map(|room| walk(room, graph, &mut Vec::new(), &mut clear))
}

// What the sources say.

struct Source {
    /// Under `src/`.
    path: String,
    /// The top-level module it belongs to; none for lib.rs.
    room: Option<String>,
    raw: String,
    /// The text with comments and literals blanked, byte for byte.
    code: String,
    /// For each line, whether it is test code.
    in_tests: Vec<bool>,
}

impl Source {
    fn of(path: &str, raw: &str, test: bool) -> Self {
        let code = blanked(raw);
        let mut in_tests = vec![test; raw.lines().count()];
        for range in test_ranges(&code) {
            let (first, last) = (line_of(&code, range.start), line_of(&code, range.end));
            in_tests.iter_mut().skip(first - 1).take(last + 1 - first).for_each(|line| *line = true);
        }
        let first = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let room = (first != "lib").then(|| first.to_owned());
        Self { path: path.to_owned(), room, raw: raw.to_owned(), code, in_tests }
    }

    fn is_test_line(&self, line: usize) -> bool {
        self.in_tests.get(line - 1).copied().unwrap_or_default()
    }

    /// The rooms that `crate::x`, `crate::{x, y}` and as many `super::` as lead to the root name, with their lines.
    fn imports(&self) -> Vec<(usize, String)> {
        let to_root = "super::".repeat(self.path.split('/').count());
        let mut found = Vec::new();
        for start in ["crate::", &to_root] {
            for at in places(&self.code, start) {
                let line = line_of(&self.code, at);
                if !self.is_test_line(line) && !self.code.get(..at).is_some_and(|before| before.ends_with("::")) {
                    let rest = self.code.get(at + start.len()..).unwrap_or_default();
                    found.extend(first_names(rest).into_iter().map(|room| (line, room)));
                }
            }
        }
        found
    }

    /// The functions outside tests: line, name, number of lines.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let measured = |at: usize| {
            let rest = self.code.get(at + 3..)?;
            let name = word(rest);
            let end = at + 3 + body_end(rest)?;
            let (first, last) = (line_of(&self.code, at), line_of(&self.code, end));
            (!name.is_empty() && !self.is_test_line(first)).then_some((first, name, last + 1 - first))
        };
        places(&self.code, "fn ").into_iter().filter_map(measured).collect()
    }
}

/// Every source that `mod` lines lead to from lib.rs.
fn house() -> Vec<Source> {
    let mut found = Vec::new();
    let mut ahead = vec![("lib.rs".to_owned(), false)];
    while let Some((path, test)) = ahead.pop() {
        let file = root().join("src").join(&path);
        if file.is_file() {
            let source = Source::of(&path, &read(&file), test);
            let folder = if path == "lib.rs" { String::new() } else { format!("{}/", path.trim_end_matches(".rs")) };
            let below = mods(&source.code, &source.in_tests);
            ahead.extend(below.into_iter().map(|(name, test)| (format!("{folder}{name}.rs"), test)));
            found.push(source);
        }
    }
    assert!(found.len() > 20, "only {} sources were found: this test is blind", found.len());
    found
}

/// The names of `mod x;` lines, and whether they are test code.
fn mods(code: &str, in_tests: &[bool]) -> Vec<(String, bool)> {
    let declared = |at: usize| {
        let name = word(code.get(at + 4..)?);
        let test = in_tests.get(line_of(code, at) - 1).copied().unwrap_or_default();
        code.get(at + 4 + name.len()..)?.trim_start().starts_with(';').then_some((name, test))
    };
    places(code, "mod ").into_iter().filter_map(declared).collect()
}

/// Where items under `#[cfg(test)]` stand.
fn test_ranges(code: &str) -> Vec<std::ops::Range<usize>> {
    let range = |start: usize| {
        let rest = code.get(start..)?;
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let end = if rest.find('{').is_some_and(|brace| brace < semicolon) { body_end(rest)? } else { semicolon };
        Some(start..start + end)
    };
    places(code, "#[cfg(test)]").into_iter().filter_map(range).collect()
}

/// Where the block of an item ends; `None` for one that ends with a semicolon.
fn body_end(code: &str) -> Option<usize> {
    let (mut nested, mut braces) = (0_u32, 0_u32);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' if braces == 0 => nested += 1,
            b')' | b']' if braces == 0 => nested = nested.saturating_sub(1),
            b';' if braces == 0 && nested == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces <= 1 => return (braces == 1).then_some(at),
            b'}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// `x` of `x::y`, and `x` and `z` of `{x::y, z::{w}}`.
fn first_names(code: &str) -> Vec<String> {
    let Some(group) = code.strip_prefix('{') else { return vec![word(code)] };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0_u32, true);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b'{' => depth += 1,
            b',' if depth == 0 => fresh = true,
            _ if fresh && (byte.is_ascii_alphabetic() || byte == b'_') => {
                names.push(word(group.get(at..).unwrap_or_default()));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn word(code: &str) -> String {
    code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Where a text stands that does not go on from a longer word.
fn places(code: &str, text: &str) -> Vec<usize> {
    let whole = |at: &usize| {
        let before = code.get(..*at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    code.match_indices(text).map(|(at, _)| at).filter(whole).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The text with comments, strings and characters as spaces; line ends stay.
fn blanked(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside_word = out.last().is_some_and(|byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_');
        let length = comment(rest).or_else(|| literal(rest, inside_word));
        let taken = length.unwrap_or(first.len_utf8()).min(rest.len());
        let (now, later) = rest.split_at(taken);
        let blank = |byte: u8| if length.is_some() && byte != b'\n' || !byte.is_ascii() { b' ' } else { byte };
        out.extend(now.bytes().map(blank));
        rest = later;
    }
    String::from_utf8(out).expect("ASCII only")
}

/// The length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| {
        let (mut depth, mut at) = (0_u32, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (step, change) = match rest {
                _ if rest.starts_with("/*") => (2, 1),
                _ if rest.starts_with("*/") => (2, -1),
                _ => (rest.chars().next().map_or(1, char::len_utf8), 0),
            };
            at += step;
            depth = depth.saturating_add_signed(change);
            if depth == 0 {
                break;
            }
        }
        at
    })
}

/// The length of the string or character that begins here. A lifetime is none.
fn literal(text: &str, inside_word: bool) -> Option<usize> {
    let mark = if inside_word { text } else { text.trim_start_matches(['b', 'c']) };
    let prefix = text.len() - mark.len();
    if let Some(raw) = mark.strip_prefix('r').filter(|_| !inside_word && prefix <= 1) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(hashes..)?.starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = raw.get(hashes + 1..)?;
            return Some(prefix + 1 + hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()));
        }
        return None;
    }
    let quote = mark.chars().next().filter(|c| prefix <= 1 && (*c == '"' || *c == '\''))?;
    let mut escaped = false;
    let mut inner = mark.char_indices().skip(1);
    if quote == '\'' {
        let (_, first) = inner.next()?;
        let (at, second) = inner.next()?;
        if first != '\\' {
            return (second == '\'').then_some(prefix + at + 1);
        }
    }
    let end = inner.find(|(_, c)| {
        let closes = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    Some(prefix + end.map_or(mark.len(), |(at, _)| at + 1))
}

// The disk.

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of an extension under a folder, by their paths in it.
fn files(folder: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut ahead = vec![folder.to_path_buf()];
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            ahead.extend(entries.map(|entry| entry.expect("a folder's entry").path()));
        } else if path.extension().is_some_and(|known| known == extension) {
            let inside = path.strip_prefix(folder).expect("below the folder");
            found.push(inside.to_string_lossy().replace('\\', "/"));
        }
    }
    found.sort();
    found
}

fn verdict(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// What is told to be tested is tested: every test that docs/money.md names is there.
#[test]
fn every_test_the_documents_name_is_there() {
    let text = read(&root().join("docs/money.md"));
    let rows = text.lines().filter(|line| line.starts_with("| B"));
    let named: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(named.len(), 18, "a row for each failure");
    let mut tests = String::new();
    for (folder, kind) in [("src", "rs"), ("tests", "rs"), ("tests/runtime", "mjs")] {
        for path in files(&root().join(folder), kind) {
            tests.push_str(&read(&root().join(folder).join(path)));
        }
    }
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/money.md names tests that are not there: {missing:?}");
}
