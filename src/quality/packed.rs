//! Numbers as bytes in a fixed order, so that what was learned travels small.

/// Reads what was written, in the same order; `None` where the bytes end too early.
pub struct Unpack<'a>(pub &'a [u8]);

impl<'a> Unpack<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.number().map(u64::from_le_bytes)
    }

    pub fn f64(&mut self) -> Option<f64> {
        self.number().map(f64::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.number().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    pub fn f32(&mut self) -> Option<f32> {
        self.number().map(f32::from_le_bytes)
    }

    pub fn i8s(&mut self, count: usize) -> Option<Vec<i8>> {
        Some(self.bytes(count)?.iter().map(|byte| byte.cast_signed()).collect())
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.bytes(usize::from(length))?).ok()
    }
}

/// Puts a text behind its length.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.bytes().take(usize::from(length)));
}

pub fn put_i8s(bytes: &mut Vec<u8>, values: &[i8]) {
    bytes.extend(values.iter().map(|value| value.cast_unsigned()));
}
