//! Server-sent events: a push parser of frames and a writer.
//!
//! Refuses nothing: bytes that are no event stream give frames without data, which the dialects ignore or fault. Every
//! cut of the same bytes gives the same frames; CRLF, CR and LF are line ends, also when cut in the middle.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

/// The longest frame that is kept, in bytes; a longer one ends the stream as malformed. Base64 images travel in one frame.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One dispatched event: its `event` name ("" where none was given) and its `data` lines joined by LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub event: &'a str,
    pub data: &'a str,
    /// The bytes as they came, blank line included.
    pub raw: &'a [u8],
}

/// A frame grew past [`FRAME_BYTES_MAX`], or is no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Cuts pushed bytes into frames.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Where the search for the next line end goes on.
    scanned: usize,
    /// Where the line being scanned begins.
    line: usize,
    data: String,
    event: String,
}

impl Parser {
    /// Takes the next bytes and hands each whole frame to `each`, in order. Frames with neither data nor a name
    /// (comments, lone blank lines) are handed on too, with empty data: their bytes may have to be relayed.
    ///
    /// # Errors
    /// [`Malformed`]; the parser is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        self.buffer.extend_from_slice(bytes);
        let mut frame_start = 0;
        while let Some((end, next)) = self.line_end(false) {
            let blank = end == self.line;
            self.scanned = next;
            if blank {
                self.dispatch(frame_start, next, &mut each)?;
                frame_start = next;
            }
            self.line = next;
        }
        self.buffer.drain(..frame_start);
        self.line -= frame_start;
        self.scanned -= frame_start;
        if self.buffer.len() > FRAME_BYTES_MAX { Err(Malformed) } else { Ok(()) }
    }

    /// Ends the stream: a last frame without its blank line is still a frame to providers that forget it.
    ///
    /// # Errors
    /// As [`Parser::push`].
    pub fn finish(&mut self, mut each: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        while let Some((_, next)) = self.line_end(true) {
            self.scanned = next;
            self.line = next;
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let end = self.buffer.len();
        self.dispatch(0, end, &mut each)?;
        self.buffer.clear();
        (self.line, self.scanned) = (0, 0);
        Ok(())
    }

    /// The end of the line being scanned and the begin of the next. A CR at the very end may be half of a CRLF, so it
    /// waits for more bytes unless the stream is over.
    fn line_end(&self, over: bool) -> Option<(usize, usize)> {
        let rest = self.buffer.get(self.scanned..)?;
        let at = self.scanned + memchr::memchr2(b'\n', b'\r', rest)?;
        if self.buffer.get(at) == Some(&b'\n') {
            return Some((at, at + 1));
        }
        match self.buffer.get(at + 1) {
            Some(b'\n') => Some((at, at + 2)),
            Some(_) => Some((at, at + 1)),
            None => over.then_some((at, at + 1)),
        }
    }

    fn dispatch(&mut self, start: usize, end: usize, each: &mut impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        self.data.clear();
        self.event.clear();
        let raw = self.buffer.get(start..end).unwrap_or_default();
        let text = std::str::from_utf8(raw).map_err(|_| Malformed)?;
        // A byte order mark may open the stream.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut has_data = false;
        for line in text.split(['\n', '\r']) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if has_data {
                        self.data.push('\n');
                    }
                    has_data = true;
                    self.data.push_str(value);
                }
                "event" => value.clone_into(&mut self.event),
                _ => {}
            }
        }
        each(Frame { event: &self.event, data: &self.data, raw });
        Ok(())
    }
}

/// Appends one event without a name.
pub fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends one event with its name.
pub fn write_event(out: &mut Vec<u8>, event: &str, data: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.push(b'\n');
    write_data(out, data);
}

/// Appends a comment, which every client skips. The text holds no line end.
pub fn write_comment(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Vec<(String, String)>;

    fn parse(chunks: &[&[u8]]) -> (Told, Vec<u8>) {
        let (mut told, mut raw, mut parser) = (Vec::new(), Vec::new(), Parser::default());
        let mut each = |frame: Frame<'_>| {
            raw.extend_from_slice(frame.raw);
            told.push((frame.event.to_owned(), frame.data.to_owned()));
        };
        for chunk in chunks {
            parser.push(chunk, &mut each).expect("well formed");
        }
        parser.finish(&mut each).expect("well formed");
        (told, raw)
    }

    #[test]
    fn every_cut_gives_the_same_frames() {
        let text =
            ": ping\n\ndata: {\"a\":\"é\"}\r\n\r\nevent: x\ndata:one\ndata: two\n\nretry: 5\rdata: три\r\rdata: last"
                .as_bytes();
        let (whole, raw) = parse(&[text]);
        assert_eq!(raw, text, "no byte is lost");
        let data: Vec<&str> = whole.iter().map(|(_, data)| data.as_str()).collect();
        assert_eq!(data, ["", "{\"a\":\"é\"}", "one\ntwo", "три", "last"]);
        assert_eq!(whole[2].0, "x");
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            let (told, raw) = parse(&[head, tail]);
            assert_eq!(told, whole, "cut at {cut}");
            assert_eq!(raw, text, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(parse(&bytes).0, whole, "byte by byte");
    }

    #[test]
    fn bytes_that_are_no_text_are_malformed() {
        assert_eq!(Parser::default().push(b"data: \xff\n\n", |_| ()), Err(Malformed));
    }
}
