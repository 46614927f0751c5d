//! Small changes of a text that must not change a decision.
use megarouter::id::Dice;

type Change = fn(&str, u64) -> String;

pub const CHANGES: &[(&str, Change)] =
    &[("case", case), ("spacing", spacing), ("polite_prefix", polite), ("typos", typos)];

fn case(text: &str, _: u64) -> String {
    text.to_lowercase()
}

/// Every third space is two.
fn spacing(text: &str, _: u64) -> String {
    let mut spaces = 0;
    let mut changed = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        changed.push(letter);
        if letter == ' ' {
            spaces += 1;
            if spaces % 3 == 0 {
                changed.push(' ');
            }
        }
    }
    changed
}

fn polite(text: &str, row: u64) -> String {
    let prefixes = ["Please help me with this: ", "Hi! Could you answer the following? ", "I would like to know: "];
    format!("{}{text}", prefixes[usize::try_from(row % 3).unwrap_or(0)])
}

/// Two letters in a hundred change places with the next one.
fn typos(text: &str, row: u64) -> String {
    let mut dice = Dice::new(row + 1);
    let mut letters: Vec<char> = text.chars().collect();
    for place in 1..letters.len().saturating_sub(1) {
        if letters[place].is_alphabetic() && letters[place + 1].is_alphabetic() && dice.share() < 0.02 {
            letters.swap(place, place + 1);
        }
    }
    letters.into_iter().collect()
}
