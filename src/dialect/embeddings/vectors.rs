//! Vectors of numbers to base64, as official clients ask for them.
use crate::{
    base64,
    json::{read_bytes, written},
};
use serde_json::Value;

/// An answer with its vectors as base64 of little-endian 32-bit floats. `None` where it holds none as numbers.
pub(super) fn packed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut told: Value = read_bytes(bytes).ok()?;
    let mut changed = false;
    for item in told.get_mut("data")?.as_array_mut()? {
        let Some(vector) = item.get_mut("embedding") else { continue };
        let Some(numbers) = vector.as_array() else { continue };
        let mut packed = Vec::with_capacity(numbers.len() * 4);
        for number in numbers {
            #[expect(clippy::cast_possible_truncation, reason = "the wire's own precision")]
            packed.extend_from_slice(&(number.as_f64()? as f32).to_le_bytes());
        }
        *vector = base64::padded(&packed).into();
        changed = true;
    }
    changed.then(|| written(&told).into_bytes())
}
