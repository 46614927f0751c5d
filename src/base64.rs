//! Bytes as text in base64 (RFC 4648), in both of its alphabets. As strict as the crate of that name, which the tests hold it
//! against: every text but one for the same bytes is refused. The crate's tables and blocks are 2 kB of the upload.

/// The two characters that the alphabets do not share.
const STANDARD: [u8; 2] = *b"+/";
const URL_SAFE: [u8; 2] = *b"-_";

/// In the standard's alphabet, padded.
#[must_use]
pub fn padded(bytes: &[u8]) -> String {
    let mut text = encoded(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The bytes of a padded text in the standard's alphabet.
#[must_use]
pub fn of_padded(text: &str) -> Option<Vec<u8>> {
    let bare = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    decoded(bare, STANDARD).filter(|_| text.len().is_multiple_of(4))
}

/// In the alphabet for addresses, without padding.
#[must_use]
pub fn url_safe(bytes: &[u8]) -> String {
    encoded(bytes, URL_SAFE)
}

/// The bytes of an unpadded text in the alphabet for addresses.
#[must_use]
pub fn of_url_safe(text: &str) -> Option<Vec<u8>> {
    decoded(text, URL_SAFE)
}

fn encoded(bytes: &[u8], last: [u8; 2]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let [.., six] = ((bits >> (18 - 6 * place)) & 63_u32).to_be_bytes();
            text.push(letter(six, last));
        }
    }
    text
}

fn decoded(text: &str, last: [u8; 2]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len().div_ceil(4) * 3);
    for group in text.as_bytes().chunks(4) {
        let read = |bits, letter| Some(bits << 6 | u32::from(six(letter, last)?));
        let bits = group.iter().copied().try_fold(0_u32, read)? << (6 * (4 - group.len()));
        let [_, three @ ..] = bits.to_be_bytes();
        let (told, rest) = three.split_at_checked(group.len() - 1)?;
        // One letter tells no byte, and what is left of the last one is nothing.
        if told.is_empty() || rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(told);
    }
    Some(bytes)
}

/// The letter for six bits.
fn letter(six: u8, [plus, slash]: [u8; 2]) -> char {
    char::from(match six {
        0..26 => b'A' + six,
        26..52 => b'a' + (six - 26),
        52..62 => b'0' + (six - 52),
        62 => plus,
        _ => slash,
    })
}

/// The six bits of a letter.
fn six(letter: u8, [plus, slash]: [u8; 2]) -> Option<u8> {
    Some(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        _ if letter == plus => 62,
        _ if letter == slash => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use proptest::{arbitrary::any, collection::vec, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn bytes_are_written_as_the_crate_does(bytes in vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(padded(&bytes), STANDARD.encode(&bytes));
            prop_assert_eq!(url_safe(&bytes), URL_SAFE_NO_PAD.encode(&bytes));
            prop_assert_eq!(of_padded(&padded(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(of_url_safe(&url_safe(&bytes)), Some(bytes));
        }

        #[test]
        fn texts_are_read_as_the_crate_does(text in "[A-D+/=_-]{0,9}|[ -~é]{0,5}") {
            prop_assert_eq!(of_padded(&text), STANDARD.decode(&text).ok());
            prop_assert_eq!(of_url_safe(&text), URL_SAFE_NO_PAD.decode(&text).ok());
        }
    }
}
