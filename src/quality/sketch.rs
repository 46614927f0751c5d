//! What the text of a request looks like, as a router learns from it: its words, hashed, and a few figures of its shape.
//!
//! One pass over at most [`BYTES_MAX`] bytes. Case, spacing, digits, phrases of politeness and a lead-in leave no trace, so that they
//! cannot flip a decision; a slip of the pen changes a word or two.

/// Buckets of hashed words.
pub const BUCKETS: usize = 8_192;
/// Figures of the shape.
pub const FIGURES: usize = 16;
/// What is read of a text: later words say little that earlier ones do not.
pub const BYTES_MAX: usize = 16_384;

/// Letters of a word that count: endings say little.
const WORD_BYTES: u32 = 12;
/// Words that ask nicely and say nothing about the task.
const POLITE: [&str; 14] =
    ["please", "could", "would", "you", "kindly", "can", "help", "me", "thanks", "thank", "hi", "hello", "dear", "hey"];

/// Words that a text may begin with, up to a mark, before it comes to the point.
const LEAD_IN: &str = "i d m im am a an and any the this that my your to for with in on of be is was if it so us just need want have \
    like know tell answer solve following question questions problem task here there good morning afternoon evening day great much \
    very advance assistance appreciate wondering quick";

/// Bucket weights: how much a word says that is rarely seen. In [0, 255]; 128 is one.
pub type Rarity = [u8; BUCKETS];

/// See the head of this room.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// Buckets with their values; the length of the vector is one.
    pub words: Vec<(u16, f32)>,
    pub shape: [f32; FIGURES],
}

impl Default for Sketch {
    fn default() -> Self {
        Self { words: Vec::new(), shape: [0.0; FIGURES] }
    }
}

/// Reads a text, piece by piece.
pub struct Reader {
    /// Made with the first text: a request without one needs none.
    counts: Vec<i16>,
    touched: Vec<u16>,
    /// Bytes that may still be read.
    left: usize,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    /// Bytes that are no spaces, of everything and of what stands before the first option.
    bytes: u32,
    stem: u32,
    words: u32,
    word_bytes: u32,
    long_words: u32,
    numbers: u32,
    digits: u32,
    operators: u32,
    stops: u32,
    brackets: u32,
    maths: u32,
    questions: u32,
    foreign: u32,
    fences: u32,
    options: u32,
    tools: u32,
    schema_bytes: u32,
    /// The last token was a letter that an option may begin with.
    lettered: bool,
}

/// What a byte is to the reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Word,
    Digit,
    Mark,
}

fn kind_of(byte: u8) -> Kind {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' => Kind::Space,
        b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => Kind::Word,
        b'0'..=b'9' => Kind::Digit,
        _ => Kind::Mark,
    }
}

/// FNV-1a with a last mixing (the finaliser of MurmurHash3): the low bits become the bucket, the highest one the sign.
fn mixed(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

/// FNV-1a: <https://www.isthe.com/chongo/tech/comp/fnv/>.
pub struct Fnv(pub u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(FNV_START)
    }
}

impl Fnv {
    pub fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(FNV_PRIME);
    }

    /// A text, and that it ends.
    pub fn take(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
        self.byte(0);
    }
}

const FNV_START: u32 = 0x811C_9DC5;
const FNV_PRIME: u32 = 0x0100_0193;

impl Default for Reader {
    fn default() -> Self {
        Self { counts: Vec::new(), touched: Vec::new(), left: BYTES_MAX, tally: Tally::default() }
    }
}

impl Reader {
    /// Takes in a text of the request.
    pub fn text(&mut self, text: &str) {
        self.counts.resize(BUCKETS, 0);
        let bytes = text.as_bytes();
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        let mut rest = if self.touched.is_empty() { to_the_point(bytes) } else { bytes };
        while let Some((kind, token, after)) = first_of(rest) {
            if kind != Kind::Space {
                self.token(token, kind);
            }
            rest = after;
        }
    }

    /// Takes in a tool on offer: its name says what the task is about, its schema how much there is to get wrong.
    pub fn tool(&mut self, name: &str, schema_bytes: usize) {
        self.text(name);
        self.tally.tools += 1;
        self.tally.schema_bytes += u32::try_from(schema_bytes).unwrap_or(u32::MAX / 64);
    }

    fn token(&mut self, token: &[u8], kind: Kind) {
        let length = u32::try_from(token.len()).unwrap_or(u32::MAX);
        self.tally.bytes += length;
        let hash = match kind {
            Kind::Word => {
                if is_polite(token) {
                    self.tally.bytes -= length;
                    return;
                }
                self.word(token, length)
            }
            Kind::Digit => {
                self.tally.numbers += 1;
                self.tally.digits += length;
                self.tally.lettered = false;
                // How long a number is says something; which one it is does not.
                FNV_START.wrapping_add(length.min(4))
            }
            _ => self.mark(token.first().copied().unwrap_or_default()),
        };
        note(&mut self.counts, &mut self.touched, mixed(hash));
    }

    fn word(&mut self, token: &[u8], length: u32) -> u32 {
        let tally = &mut self.tally;
        tally.words += 1;
        tally.word_bytes += length.min(WORD_BYTES);
        tally.long_words += u32::from(length > 8);
        let mut hash = Fnv::default();
        token.iter().take(WORD_BYTES as usize).for_each(|byte| hash.byte(byte.to_ascii_lowercase()));
        let first = token.first().copied().unwrap_or_default();
        tally.foreign += u32::from(first >= 0x80) * length;
        // Options come as A, B, C, …, each with a mark after it.
        let next = b'a' + u8::try_from(tally.options.min(25)).unwrap_or_default();
        tally.lettered = length == 1 && first.to_ascii_lowercase() == next;
        hash.0
    }

    fn mark(&mut self, mark: u8) -> u32 {
        let tally = &mut self.tally;
        match mark {
            b'+' | b'-' | b'*' | b'/' | b'=' | b'^' | b'<' | b'>' | b'%' | b'|' | b'&' => tally.operators += 1,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' => tally.brackets += 1,
            b'$' | b'\\' => tally.maths += 1,
            b'?' => tally.questions += 1,
            b'`' => tally.fences += 1,
            b'.' | b',' | b';' | b':' => tally.stops += 1,
            _ => {}
        }
        if std::mem::take(&mut tally.lettered) && matches!(mark, b'.' | b')' | b':') {
            if tally.options == 0 {
                tally.stem = tally.bytes;
            }
            tally.options += 1;
        }
        FNV_START ^ (u32::from(mark) << 8)
    }

    /// The sketch of what was read.
    #[must_use]
    pub fn finish(mut self, rarity: &Rarity) -> Sketch {
        self.touched.sort_unstable();
        self.touched.dedup();
        let mut words = Vec::with_capacity(self.touched.len());
        let mut square = 0.0_f32;
        for bucket in self.touched {
            let at = usize::from(bucket);
            let count = f32::from(self.counts.get(at).copied().unwrap_or_default());
            let rare = f32::from(rarity.get(at).copied().unwrap_or(128)) / 128.0;
            // Said twice is not twice as telling.
            let value = count.abs().sqrt().copysign(count) * rare;
            if value != 0.0 {
                square += value * value;
                words.push((bucket, value));
            }
        }
        let norm = square.sqrt().max(f32::MIN_POSITIVE);
        for (_, value) in &mut words {
            *value /= norm;
        }
        Sketch { shape: self.tally.figures(words.len()), words }
    }
}

/// The first token of a text and what comes after it.
fn first_of(text: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    let kind = kind_of(*text.first()?);
    let length = match kind {
        Kind::Mark => 1,
        _ => text.iter().take_while(|byte| kind_of(**byte) == kind).count(),
    };
    let (token, after) = text.split_at(length);
    Some((kind, token, after))
}

/// A text without greetings and requests to answer it at its beginning: "Hi! Could you help me with this:". They end in a mark and
/// say nothing of the task, but would make a short text look like a longer one.
fn to_the_point(text: &[u8]) -> &[u8] {
    let (mut before, mut point, mut rest, mut said) = (text, text, text, false);
    while let Some((kind, token, after)) = first_of(rest) {
        match (kind, token) {
            (Kind::Space, _) | (Kind::Mark, b"," | b"'") => {}
            (Kind::Mark, b"." | b"!" | b"?" | b":") => {
                if std::mem::take(&mut said) {
                    before = point;
                }
                point = after;
            }
            (Kind::Word, word) if is_polite(word) || is_lead_in(word) => said = true,
            _ => return point,
        }
        rest = after;
    }
    // Nothing else was said: then what was said last is the point.
    if said { point } else { before }
}

fn is_lead_in(token: &[u8]) -> bool {
    LEAD_IN.split_ascii_whitespace().any(|word| token.eq_ignore_ascii_case(word.as_bytes()))
}

fn note(counts: &mut [i16], touched: &mut Vec<u16>, hash: u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the bucket is below 2^13")]
    let bucket = (hash as usize & (BUCKETS - 1)) as u16;
    if let Some(count) = counts.get_mut(usize::from(bucket)) {
        if *count == 0 {
            touched.push(bucket);
        }
        *count = count.saturating_add(if hash >> 31 == 1 { 1 } else { -1 });
    }
}

fn is_polite(token: &[u8]) -> bool {
    token.len() <= 6 && POLITE.iter().any(|word| token.eq_ignore_ascii_case(word.as_bytes()))
}

impl Tally {
    /// Figures of about the same size, whatever the length of the text.
    #[expect(clippy::cast_precision_loss, reason = "counts of one text")]
    fn figures(&self, distinct: usize) -> [f32; FIGURES] {
        let tokens = (self.words + self.numbers + self.operators + self.stops + self.brackets).max(1) as f32;
        let bytes = self.bytes.max(1) as f32;
        let words = self.words.max(1) as f32;
        let stem = if self.options > 1 { self.stem } else { self.bytes };
        let of = |count: u32, whole: f32| count as f32 / whole;
        [
            ((self.bytes + self.schema_bytes).max(1) as f32).ln(),
            (stem.max(1) as f32).ln(),
            if self.options > 1 { (self.options.min(10) as f32) / 10.0 } else { 0.0 },
            of(self.digits, bytes),
            of(self.numbers, tokens),
            of(self.operators, bytes) * 10.0,
            of(self.long_words, words),
            distinct as f32 / (2.0 * tokens),
            of(self.word_bytes, words),
            of(self.maths, bytes) * 20.0,
            of(self.questions.min(1), 1.0),
            of(u32::from(self.fences >= 3), 1.0),
            of(self.foreign, bytes),
            (1.0 + self.numbers as f32).ln(),
            of(self.stops, bytes) * 10.0 + of(self.brackets, bytes) * 10.0,
            (1.0 + self.tools as f32).ln(),
        ]
    }
}
