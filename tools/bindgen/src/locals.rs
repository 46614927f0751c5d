//! Numbers the locals of functions so that compression finds more: in code that does the same, the same local has the same
//! number. Worth 3 % of the upload; what a function does is as before, and compiled code knows no numbers.
//!
//! First the frame (where the function's part of the stack begins, its most used local) gets one number in all functions, and
//! the locals of each type are filled up to a round count: one that is not used costs a few bytes in two texts that are alike
//! anyway, and nothing in optimised code. Then, when the functions are in their order, each function's locals change places as long
//! as it weighs less behind those before it.
use std::{cmp::Reverse, convert::Infallible, error::Error, mem};

use wasm_encoder::{
    CodeSection, Encode, Module,
    reencode::{self, Reencode},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, ValType};

use crate::weight::Scales;

/// The number of the frame.
const FRAME: usize = 10;
/// The locals of a type are a multiple of this, unless they are many.
const ROUND: usize = 12;
const MANY: usize = 60;
/// How many of the most used change places with each other; the others do with the few that are used next to them.
const MOVED: usize = 20;
const NEAR: usize = 3;
/// How much less a function must weigh for a change, in eighths of a bit: those behind it rely on what is there.
const WORTH: u32 = 8;

/// The module with the numbers that tell most to the order of functions.
pub fn numbered(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    rewritten(wasm, |body, params| Ok(Body::read(body, params)?.numbered()))
}

/// The module with the numbers that compress best in its order of functions, and what they weigh then.
pub fn fitted(wasm: &[u8]) -> Result<(u64, Vec<u8>), Box<dyn Error>> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body.as_bytes());
        }
    }
    let mut scales = Scales::learnt(bodies.into_iter());
    let fitted = rewritten(wasm, |body, params| Ok(Body::read(body, params)?.fitted(&mut scales)))?;
    Ok((scales.weight(), fitted))
}

fn rewritten(
    wasm: &[u8],
    rewrite: impl FnMut(&FunctionBody<'_>, usize) -> Result<Vec<u8>, reencode::Error>,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut of_type, mut params) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for of in section.into_iter_err_on_gc_types() {
                    of_type.push(of?.params().len());
                }
            }
            Payload::FunctionSection(section) => {
                for function in section {
                    params.push(of_type[function? as usize]);
                }
            }
            _ => {}
        }
    }
    let mut module = Module::new();
    Rewrite { params: params.into_iter(), rewrite }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

struct Rewrite<P, R> {
    /// How many parameters each function has.
    params: P,
    rewrite: R,
}

impl<P: Iterator<Item = usize>, R: FnMut(&FunctionBody<'_>, usize) -> Result<Vec<u8>, reencode::Error>> Reencode
    for Rewrite<P, R>
{
    type Error = Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), reencode::Error> {
        code.raw(&(self.rewrite)(&body, self.params.next().unwrap_or(0))?);
        Ok(())
    }
}

/// A function, apart from the numbers of its locals.
struct Body {
    /// How many parameters it has; their numbers are fixed.
    params: usize,
    /// The types of the locals behind them.
    types: Vec<ValType>,
    code: Vec<u8>,
    /// Where in the code a number belongs, and which local it is.
    uses: Vec<(usize, usize)>,
    frame: Option<usize>,
}

impl Body {
    fn read(body: &FunctionBody<'_>, params: usize) -> Result<Self, reencode::Error> {
        let mut types = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, of) = group?;
            types.extend(vec![of; count as usize]);
        }
        let (mut code, mut uses, mut frame) = (Vec::new(), Vec::new(), None);
        let (bytes, start) = (body.as_bytes(), body.range().start);
        let mut operators = body.get_operators_reader()?;
        let mut last = [Operator::Nop, Operator::Nop, Operator::Nop];
        while !operators.eof() {
            let from = operators.original_position() - start;
            let operator = operators.read()?;
            let to = operators.original_position() - start;
            if let Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } = operator
            {
                let local = local_index as usize;
                code.push(bytes[from]);
                uses.push((code.len(), local));
                if let [Operator::GlobalGet { .. }, Operator::I32Const { .. }, Operator::I32Sub] = last
                    && local >= params
                {
                    frame = frame.or(Some(local));
                }
            } else {
                code.extend_from_slice(&bytes[from..to]);
            }
            last.rotate_left(1);
            last[2] = operator;
        }
        Ok(Self { params, types, code, uses, frame })
    }

    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.params + self.types.len()];
        self.uses.iter().for_each(|&(_, local)| counts[local] += 1);
        counts
    }

    fn numbered(mut self) -> Vec<u8> {
        let counts = self.counts();
        let mut numbers: Vec<usize> = (0..counts.len()).collect();
        let mut groups = vec![ValType::I32, ValType::I64];
        for of in &self.types {
            if !groups.contains(of) {
                groups.push(*of);
            }
        }
        let mut types = Vec::new();
        for of in groups {
            let first = self.params + types.len();
            let mut places: Vec<Option<usize>> =
                (self.params..counts.len()).filter(|local| self.types[local - self.params] == of).map(Some).collect();
            places.sort_by_key(|local| local.map(|local| Reverse(counts[local])));
            if let Some(frame) = self.frame.filter(|frame| self.types[frame - self.params] == of) {
                places.retain(|&local| local != Some(frame));
                let at = FRAME.saturating_sub(first);
                places.resize(places.len().max(at), None);
                places.insert(at, Some(frame));
            }
            if places.len() <= MANY && !of.is_reference_type() {
                places.resize(places.len().next_multiple_of(ROUND), None);
            }
            types.extend(vec![of; places.len()]);
            for (number, local) in (first..).zip(places) {
                if let Some(local) = local {
                    numbers[local] = number;
                }
            }
        }
        self.types = types;
        let mut bytes = Vec::new();
        self.write(&numbers, &mut bytes);
        bytes
    }

    fn fitted(self, scales: &mut Scales) -> Vec<u8> {
        let counts = self.counts();
        let mut order: Vec<usize> = (self.params..counts.len()).collect();
        order.sort_by_key(|&local| Reverse(counts[local]));
        let mut numbers: Vec<usize> = (0..counts.len()).collect();
        let (mut best, mut bytes) = (Vec::new(), Vec::new());
        self.write(&numbers, &mut best);
        let mut weight = scales.less(&best, u32::MAX).unwrap_or(u32::MAX);
        for (place, &one) in order.iter().enumerate() {
            let to = if place < MOVED { MOVED } else { place + NEAR };
            for &other in order.iter().take(to).skip(place + 1) {
                if self.types[one - self.params] != self.types[other - self.params] || counts[one] + counts[other] == 0
                {
                    continue;
                }
                numbers.swap(one, other);
                self.write(&numbers, &mut bytes);
                if let Some(less) = scales.less(&bytes, weight.saturating_sub(WORTH)) {
                    weight = less;
                    mem::swap(&mut best, &mut bytes);
                } else {
                    numbers.swap(one, other);
                }
            }
        }
        scales.put(&best);
        best
    }

    /// Writes the function with these numbers for its locals.
    fn write(&self, numbers: &[usize], bytes: &mut Vec<u8>) {
        bytes.clear();
        let groups: Vec<&[ValType]> = self.types.chunk_by(|a, b| a == b).collect();
        groups.len().encode(bytes);
        for group in groups {
            group.len().encode(bytes);
            if let Some(&of) = group.first()
                && let Ok(of) = reencode::utils::val_type(&mut reencode::RoundtripReencoder, of)
            {
                of.encode(bytes);
            }
        }
        let mut written = 0;
        for &(at, local) in &self.uses {
            bytes.extend_from_slice(&self.code[written..at]);
            numbers[local].encode(bytes);
            written = at;
        }
        bytes.extend_from_slice(&self.code[written..]);
    }
}
