//! AWS's binary event streams: a push parser with the frames of [`crate::sse`].
//!
//! A message is two lengths and a checksum over them, headers, a payload, a checksum over all. Every cut of the same bytes
//! gives the same frames. <https://smithy.io/2.0/aws/amazon-eventstream.html>
use crate::sse::{FRAME_BYTES_MAX, Frame, Malformed};

/// Both lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum over all.
const TRAILER: usize = 4;

/// Cuts pushed bytes into frames.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
}

impl Parser {
    /// Takes the next bytes and hands each whole message to `each`, in order: its event type, or the type of the exception
    /// it is, and its payload.
    ///
    /// # Errors
    /// A checksum that is wrong, a message that is too long or no text; the parser is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(message) = next(self.buffer.get(start..).unwrap_or_default())? {
            each(frame(message).ok_or(Malformed)?);
            start += message.len();
        }
        self.buffer.drain(..start);
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It ended within a message.
    pub fn finish(&mut self, _each: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        if self.buffer.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// The message the bytes begin with; `None` where they do not hold all of it yet.
fn next(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    let (total, headers) = (number(prelude, 0), number(prelude, 4));
    let least = headers.saturating_add(PRELUDE + TRAILER);
    if !sealed(prelude) || total < least || total > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(message) = bytes.get(..total) else { return Ok(None) };
    if sealed(message) { Ok(Some(message)) } else { Err(Malformed) }
}

/// Whether bytes end with the checksum over those before.
fn sealed(bytes: &[u8]) -> bool {
    let (told, seal) = bytes.split_at(bytes.len().saturating_sub(TRAILER));
    crc32(told) as usize == number(seal, 0)
}

/// The number of four bytes at a place; 0 where there are none.
fn number(bytes: &[u8], at: usize) -> usize {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    u32::from_be_bytes(four) as usize
}

/// A message that was found whole, as a frame. What failed beside a modelled exception tells its code and text in headers.
fn frame(message: &[u8]) -> Option<Frame<'_>> {
    let headers = number(message, 4);
    let (told, payload) = message.get(PRELUDE..message.len() - TRAILER)?.split_at_checked(headers)?;
    let data = std::str::from_utf8(payload).ok()?;
    let (mut event, mut text, mut rest) = ("", data, told);
    while !rest.is_empty() {
        let name;
        (name, rest) = short(rest)?;
        let kind;
        (kind, rest) = rest.split_first()?;
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | 7 => {
                let (length, after) = rest.split_first_chunk()?;
                rest = after;
                usize::from(u16::from_be_bytes(*length))
            }
            9 => 16,
            _ => return None,
        };
        let value;
        (value, rest) = rest.split_at_checked(length)?;
        match name {
            b":event-type" | b":exception-type" | b":error-code" => event = std::str::from_utf8(value).ok()?,
            b":error-message" => text = std::str::from_utf8(value).ok()?,
            _ => {}
        }
    }
    Some(Frame { event, data: text, raw: message })
}

/// A text with its length in one byte before it, and what comes after.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The checksum of zip and Ethernet, half a byte at a time: a table of sixteen is small.
fn crc32(bytes: &[u8]) -> u32 {
    #[rustfmt::skip]
    const TABLE: [u32; 16] = [
        0, 0x1db7_1064, 0x3b6e_20c8, 0x26d9_30ac, 0x76dc_4190, 0x6b6b_51f4, 0x4db2_6158, 0x5005_713c,
        0xedb8_8320, 0xf00f_9344, 0xd6d6_a3e8, 0xcb61_b38c, 0x9b64_c2b0, 0x86d3_d2d4, 0xa00a_e278, 0xbdbd_f21c,
    ];
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..2 {
            sum = TABLE.get((sum & 15) as usize).copied().unwrap_or_default() ^ (sum >> 4);
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Vec<(String, String)>;

    fn parse(chunks: &[&[u8]]) -> Result<(Told, Vec<u8>), Malformed> {
        let (mut told, mut raw, mut parser) = (Vec::new(), Vec::new(), Parser::default());
        let mut each = |frame: Frame<'_>| {
            raw.extend_from_slice(frame.raw);
            told.push((frame.event.to_owned(), frame.data.to_owned()));
        };
        for chunk in chunks {
            parser.push(chunk, &mut each)?;
        }
        parser.finish(&mut each)?;
        Ok((told, raw))
    }

    fn header(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        let name = [&[u8::try_from(name.len()).expect("short")], name.as_bytes(), &[kind]].concat();
        let length = u16::try_from(value.len()).expect("short").to_be_bytes();
        [&name[..], if kind == 6 || kind == 7 { &length } else { &[] }, value].concat()
    }

    fn message(headers: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
        let headers = headers.concat();
        let size = |length: usize| u32::try_from(length).expect("short").to_be_bytes();
        let mut told = [size(headers.len() + payload.len() + 16), size(headers.len())].concat();
        told.extend(crc32(&told).to_be_bytes());
        told.extend([&headers, payload].concat());
        told.extend(crc32(&told).to_be_bytes());
        told
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!((crc32(b"123456789"), crc32(b"")), (0xcbf4_3926, 0));
    }

    #[test]
    fn every_cut_gives_the_same_frames() {
        let others = [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 3), (8, 8), (9, 16)];
        let mut headers: Vec<Vec<u8>> =
            others.map(|(kind, length)| header("other", kind, &vec![1; length])).into_iter().collect();
        headers.push(header(":event-type", 7, b"contentBlockDelta"));
        let bytes = [
            message(&[header(":event-type", 7, b"messageStart")], br#"{"role":"assistant"}"#),
            message(&headers, "{\"text\":\"é\"}".as_bytes()),
            message(
                &[header(":message-type", 7, b"exception"), header(":exception-type", 7, b"throttlingException")],
                b"{}",
            ),
            message(&[header(":error-code", 7, b"InternalError"), header(":error-message", 7, b"broken")], b""),
        ]
        .concat();
        let (whole, raw) = parse(&[&bytes]).expect("well formed");
        let told: Vec<(&str, &str)> = whole.iter().map(|(event, data)| (event.as_str(), data.as_str())).collect();
        assert_eq!(
            told,
            [
                ("messageStart", r#"{"role":"assistant"}"#),
                ("contentBlockDelta", "{\"text\":\"é\"}"),
                ("throttlingException", "{}"),
                ("InternalError", "broken")
            ]
        );
        assert_eq!(raw, bytes, "no byte is lost");
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(parse(&[head, tail]).as_ref(), Ok(&(whole.clone(), bytes.clone())), "cut at {cut}");
        }
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parse(&each).expect("well formed").0, whole, "byte by byte");
    }

    #[test]
    fn what_is_broken_is_malformed() {
        let good = message(&[header(":event-type", 7, b"x")], b"{}");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&[&bad]), Err(Malformed), "byte {at}");
        }
        for cut in 1..good.len() {
            assert_eq!(parse(&[&good[..cut]]), Err(Malformed), "ends after {cut}");
        }
        for headers in [vec![9, 9], vec![1, b'x', 77], vec![1, b'x', 7, 9, 9], vec![1, b'x', 9, 0]] {
            assert_eq!(parse(&[&message(&[headers], b"")]), Err(Malformed));
        }
        assert_eq!(parse(&[&message(&[], b"\xff")]), Err(Malformed), "no text");
        let mut long = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec();
        long.extend(crc32(&long).to_be_bytes());
        assert_eq!(parse(&[&long]), Err(Malformed), "too long");
        assert_eq!(parse(&[&[]]), Ok((Vec::new(), Vec::new())));
    }
}
