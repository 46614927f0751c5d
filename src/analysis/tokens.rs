//! How many tokens a text has, without a tokenizer's table: classes of characters are counted and weighed.
//!
//! The weights are fitted by `tools/tokens/fit.py` on real text in 35 languages, code and markup, against `o200k_base`; `make
//! bench` prints how far off they are. Never used for billing where a provider tells usage.

/// What a class weighs, in the order of [`Class`].
const WEIGHTS: [f64; 18] =
    [0.79, 0.51, 1.34, 0.84, 0.40, 1.27, 0.83, 0.85, 0.74, 0.30, 0.36, 0.41, 0.44, 0.44, 0.39, 0.31, 1.00, 0.86];

/// Letters of a word beyond these weigh by themselves.
const WORD_LETTERS: u32 = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A run of ASCII letters, split where a capital follows a small one.
    Word,
    LettersPast7,
    DigitsOf3,
    /// A run of ASCII punctuation.
    Marks,
    /// More than one space: a single one belongs to the word after it.
    Spaces,
    LineEnds,
    Han,
    Kana,
    Hangul,
    Cyrillic,
    Arabic,
    Greek,
    Hebrew,
    Thai,
    Indic,
    Caucasian,
    LatinExtended,
    Other,
}

/// A run of ASCII characters of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    None,
    Upper,
    Lower,
    Digits,
    Spaces,
    LineEnds,
    Marks,
}

/// What a byte is; those of characters beyond ASCII end a run.
fn kind_of(byte: u8) -> Run {
    match byte {
        b'a'..=b'z' => Run::Lower,
        b' ' | b'\t' => Run::Spaces,
        b'A'..=b'Z' => Run::Upper,
        b'0'..=b'9' => Run::Digits,
        b'\n' | b'\r' => Run::LineEnds,
        b'!'..=b'~' => Run::Marks,
        _ => Run::None,
    }
}

/// An estimate for a text.
#[must_use]
#[optimize(speed)]
pub fn estimate(text: &str) -> f64 {
    let mut counts = [0_u32; WEIGHTS.len()];
    let (mut run, mut length) = (Run::None, 0_u32);
    for byte in text.bytes() {
        let kind = kind_of(byte);
        if kind == run || (run == Run::Upper && kind == Run::Lower) {
            (run, length) = (kind, length + 1);
        } else {
            close(run, length, &mut counts);
            (run, length) = (kind, 1);
        }
    }
    close(run, length, &mut counts);
    if !text.is_ascii() {
        text.chars().filter(|letter| !letter.is_ascii()).for_each(|letter| note(&mut counts, class_of(letter), 1));
    }
    counts.iter().zip(WEIGHTS).map(|(count, weight)| f64::from(*count) * weight).sum()
}

fn note(counts: &mut [u32; WEIGHTS.len()], class: Class, by: u32) {
    if let Some(count) = counts.get_mut(class as usize) {
        *count += by;
    }
}

fn close(run: Run, length: u32, counts: &mut [u32; WEIGHTS.len()]) {
    match run {
        Run::None => {}
        Run::Upper | Run::Lower => {
            note(counts, Class::Word, 1);
            note(counts, Class::LettersPast7, length.saturating_sub(WORD_LETTERS));
        }
        Run::Digits => note(counts, Class::DigitsOf3, length.div_ceil(3)),
        Run::Spaces => note(counts, Class::Spaces, u32::from(length > 1)),
        Run::LineEnds => note(counts, Class::LineEnds, 1),
        Run::Marks => note(counts, Class::Marks, 1),
    }
}

fn class_of(letter: char) -> Class {
    match u32::from(letter) {
        0x0400..=0x052F => Class::Cyrillic,
        0x0600..=0x06FF => Class::Arabic,
        0x0370..=0x03FF => Class::Greek,
        0x0590..=0x05FF => Class::Hebrew,
        0x0E00..=0x0E7F => Class::Thai,
        0x0900..=0x0DFF => Class::Indic,
        0x0530..=0x058F | 0x10A0..=0x10FF => Class::Caucasian,
        0x3040..=0x30FF => Class::Kana,
        0x3400..=0x9FFF => Class::Han,
        0xAC00..=0xD7AF => Class::Hangul,
        0x00C0..=0x024F | 0x1E00..=0x1EFF => Class::LatinExtended,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_counted() {
        let told = |text: &str| (estimate(text) * 100.0).round() / 100.0;
        assert_eq!(told(""), 0.0);
        assert_eq!(told("hello World"), 1.58);
        assert_eq!(told("camelCaseWord"), 2.37);
        assert_eq!(told("HTTPServer"), 2.32, "one word, three letters past seven");
        assert_eq!(told("1234"), 2.68);
        assert_eq!(told("{\"a\":  1}\n"), 6.32);
        assert_eq!(told("日本"), 1.66);
        assert_eq!(told("\u{0}\u{7f}"), 0.0);
        assert_eq!(told("😀"), 0.86);
    }
}
