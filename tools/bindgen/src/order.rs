//! Puts functions that are alike beside each other, where the upload's compression finds what they share: it looks back
//! 32 kB, a fortieth of the code. Worth 4 % of the upload; what a function does and costs to call is as before.
//!
//! Two things more that only the compression sees: what is called most gets the indices that take one byte, and the hints of
//! alignment, which V8 does not read, are all the same.
use std::{cmp::Reverse, collections::HashMap, convert::Infallible, error::Error};

use wasm_encoder::{
    CodeSection, FunctionSection, MemArg, Module,
    reencode::{self, Reencode},
};
use wasmparser::{CodeSectionReader, FunctionBody, FunctionSectionReader, Operator, Parser, Payload, TypeRef};

/// The bytes of a piece; two functions are alike by as many pieces as they share.
const PIECE: usize = 6;
/// A piece in more functions than this is in every window and tells nothing.
const COMMON: usize = 50;
/// The first index that takes two bytes.
const TWO_BYTES: u32 = 128;

/// What is worth trying: which of them is best depends on the code, by a third of a percent.
pub const LIKINGS: [Liking; 4] = [
    Liking { window: 29_000, power: 0.6 },
    Liking { window: 29_000, power: 0.7 },
    Liking { window: 32_000, power: 0.6 },
    Liking { window: 32_000, power: 0.7 },
];

/// What counts as alike.
#[derive(Clone, Copy)]
pub struct Liking {
    /// How far back functions are compared, in bytes: somewhat less than compression looks, which also remembers how near.
    window: usize,
    /// Size counts by this power: by itself it would put all that is large first, and a share would put all that is tiny.
    power: f64,
}

/// The module with its functions in another order.
pub fn ordered(wasm: &[u8], liking: Liking) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut imported, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let most_called = most_called(&bodies, imported)?;
    let bodies: Vec<_> = bodies.iter().map(FunctionBody::as_bytes).collect();
    let order = by_likeness(&bodies, &most_called, liking);
    let mut places = vec![0; order.len()];
    for (place, &function) in (imported..).zip(&order) {
        places[function] = place;
    }
    let mut module = Module::new();
    Reorder { imported, order, places }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

/// Writes a module as it is read, but its functions in `order`.
struct Reorder {
    imported: u32,
    order: Vec<usize>,
    /// The new index of each function that is not imported.
    places: Vec<u32>,
}

impl Reencode for Reorder {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, reencode::Error> {
        Ok(index.checked_sub(self.imported).map_or(index, |own| self.places[own as usize]))
    }

    fn mem_arg(&mut self, arg: wasmparser::MemArg) -> Result<MemArg, reencode::Error> {
        Ok(MemArg { offset: arg.offset, align: 0, memory_index: arg.memory })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        let types = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for &function in &self.order {
            functions.function(types[function]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        let bodies = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for function in self.order.clone() {
            self.parse_function_body(code, bodies[function].clone())?;
        }
        Ok(())
    }
}

/// The functions that are called at most places, as many as have indices of one byte.
fn most_called(bodies: &[FunctionBody<'_>], imported: u32) -> Result<Vec<usize>, Box<dyn Error>> {
    let mut calls = vec![0_u32; bodies.len()];
    for body in bodies {
        for operator in body.get_operators_reader()? {
            if let Operator::Call { function_index } = operator?
                && let Some(own) = function_index.checked_sub(imported)
            {
                calls[own as usize] += 1;
            }
        }
    }
    let mut functions: Vec<usize> = (0..bodies.len()).collect();
    functions.sort_by_key(|&function| (Reverse(calls[function]), function));
    functions.truncate(TWO_BYTES.saturating_sub(imported) as usize);
    Ok(functions)
}

/// Begins with those of `first`; each time comes the one that shares most with the window before it.
fn by_likeness(bodies: &[&[u8]], first: &[usize], liking: Liking) -> Vec<usize> {
    let (pieces, holders) = shared(bodies);
    // What few have tells more. Whole numbers, because their sum does not depend on the order.
    let weights = holders.iter().map(|of| (1_000_000 / of.len() as u64).isqrt()).collect();
    let mut window = Window { seen: vec![0; holders.len()], known: vec![0; bodies.len()], weights, holders };
    let rest = (0..bodies.len()).filter(|function| !first.contains(function)).collect();
    let (mut order, mut oldest, mut bytes) = (Vec::new(), 0, 0);
    for mut left in [first.to_vec(), rest] {
        while let Some(at) = (0..left.len()).max_by(|&a, &b| {
            let likeness =
                |at: usize| window.known[left[at]] as f64 / (bodies[left[at]].len() as f64).powf(liking.power);
            let size = |at: usize| bodies[left[at]].len();
            // The first of equals, so that the order is the same each time.
            likeness(a).total_cmp(&likeness(b)).then(size(a).cmp(&size(b))).then(b.cmp(&a))
        }) {
            let next = left.remove(at);
            order.push(next);
            bytes += bodies[next].len();
            window.enter(&pieces[next]);
            while bytes > liking.window && oldest + 1 < order.len() {
                let gone = order[oldest];
                oldest += 1;
                bytes -= bodies[gone].len();
                window.leave(&pieces[gone]);
            }
        }
    }
    order
}

/// The last functions that were put.
struct Window {
    /// How many of its functions have each piece.
    seen: Vec<u32>,
    /// What those of each function's pieces weigh that are in it.
    known: Vec<u64>,
    weights: Vec<u64>,
    /// Which functions have each piece.
    holders: Vec<Vec<usize>>,
}

impl Window {
    fn enter(&mut self, pieces: &[usize]) {
        for &piece in pieces {
            self.seen[piece] += 1;
            if self.seen[piece] == 1 {
                self.holders[piece].iter().for_each(|&function| self.known[function] += self.weights[piece]);
            }
        }
    }

    fn leave(&mut self, pieces: &[usize]) {
        for &piece in pieces {
            self.seen[piece] -= 1;
            if self.seen[piece] == 0 {
                self.holders[piece].iter().for_each(|&function| self.known[function] -= self.weights[piece]);
            }
        }
    }
}

/// The pieces of each function that some others have too, and the functions that have each piece.
fn shared(bodies: &[&[u8]]) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut holders: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (function, body) in bodies.iter().enumerate() {
        for piece in body.windows(PIECE) {
            let of = holders.entry(piece).or_default();
            if of.last() != Some(&function) {
                of.push(function);
            }
        }
    }
    let telling: Vec<_> = holders.into_values().filter(|of| (2..=COMMON).contains(&of.len())).collect();
    let mut pieces = vec![Vec::new(); bodies.len()];
    for (piece, of) in telling.iter().enumerate() {
        of.iter().for_each(|&function| pieces[function].push(piece));
    }
    (pieces, telling)
}
