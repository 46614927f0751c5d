//! Numbers the locals of functions so that compression finds more: in code that does the same, the same local has the same
//! number. Worth 4 % of the upload; what a function does is as before, and compiled code knows no numbers.
//!
//! A local that is used for several things may get a number for each of them (see `webs`). First the most used get the lowest
//! numbers; the frame (where the function's part of the stack begins) gets one number in all functions, and the locals of each
//! type are filled up to a round count: one that is not used costs a few bytes in two texts that are alike anyway, and nothing in
//! optimised code. Then, when the functions are in their order, each function's numbers are changed as long as it weighs less
//! behind those before it.
use std::{cmp::Reverse, convert::Infallible, error::Error};

use wasm_encoder::{
    CodeSection, Encode, Module,
    reencode::{self, Reencode},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, ValType};

use crate::{
    webs::{Steps, Webs},
    weight::Scales,
};

/// The number of the frame.
const FRAME: usize = 10;
/// The locals of a type are a multiple of this, unless they are many.
const ROUND: usize = 16;
const MANY: usize = 60;
/// How many of the most used change places with each other; the others do with the few that are used next to them.
const MOVED: usize = 20;
const NEAR: usize = 3;
/// How many other numbers are tried for what has one now.
const TRIED: usize = 16;

/// The module with the numbers that tell most to the order of functions.
pub fn numbered(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    rewritten(wasm, |body, params| Ok(Body::read(body, params)?.numbered()))
}

/// The module with the numbers that compress best in its order of functions, each gone through so many times, and what its code
/// weighs then.
pub fn fitted(wasm: &[u8], times: usize) -> Result<(u64, Vec<u8>), Box<dyn Error>> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body.as_bytes());
        }
    }
    let mut scales = Scales::learnt(bodies.into_iter());
    let fitted = rewritten(wasm, |body, params| Ok(Body::read(body, params)?.fitted(&mut scales, times)))?;
    Ok((scales.weight(), fitted))
}

/// The module with its functions rewritten; each is told the types of its parameters.
pub fn rewritten(
    wasm: &[u8],
    rewrite: impl FnMut(&FunctionBody<'_>, &[ValType]) -> Result<Vec<u8>, reencode::Error>,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut of_type, mut params) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for of in section.into_iter_err_on_gc_types() {
                    of_type.push(of?.params().to_vec());
                }
            }
            Payload::FunctionSection(section) => {
                for function in section {
                    params.push(of_type[function? as usize].clone());
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
    /// The parameters of each function.
    params: P,
    rewrite: R,
}

impl<P: Iterator<Item = Vec<ValType>>, R: FnMut(&FunctionBody<'_>, &[ValType]) -> Result<Vec<u8>, reencode::Error>>
    Reencode for Rewrite<P, R>
{
    type Error = Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), reencode::Error> {
        code.raw(&(self.rewrite)(&body, &self.params.next().unwrap_or_default())?);
        Ok(())
    }
}

/// A function, apart from the numbers of its locals.
struct Body {
    /// How many parameters it has; their numbers are fixed.
    params: usize,
    /// The types of all numbers.
    types: Vec<ValType>,
    code: Vec<u8>,
    /// Where in the code a number belongs.
    uses: Vec<usize>,
    /// Which web each is.
    webs: Webs,
    frame: Option<usize>,
}

impl Body {
    fn read(body: &FunctionBody<'_>, params: &[ValType]) -> Result<Self, reencode::Error> {
        let mut types = params.to_vec();
        for group in body.get_locals_reader()? {
            let (count, of) = group?;
            types.extend(vec![of; count as usize]);
        }
        let params = params.len();
        let (mut code, mut uses, mut locals, mut frame) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut steps = Steps::new();
        let (bytes, start) = (body.as_bytes(), body.range().start);
        let mut operators = body.get_operators_reader()?;
        let mut last = [Operator::Nop, Operator::Nop, Operator::Nop];
        while !operators.eof() {
            let from = operators.original_position() - start;
            let operator = operators.read()?;
            let to = operators.original_position() - start;
            steps.read(&operator);
            if let Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } = operator
            {
                code.push(bytes[from]);
                if let [Operator::GlobalGet { .. }, Operator::I32Const { .. }, Operator::I32Sub] = last
                    && local_index as usize >= params
                {
                    frame = frame.or(Some(uses.len()));
                }
                uses.push(code.len());
                locals.push(local_index as usize);
            } else {
                code.extend_from_slice(&bytes[from..to]);
            }
            last.rotate_left(1);
            last[2] = operator;
        }
        let webs = match steps.taken() {
            Some(steps) => Webs::new(&steps, params, types.len()),
            None => Webs::whole(locals, types.len()),
        };
        let frame = frame.map(|at| webs.of[at]);
        Ok(Self { params, types, code, uses, webs, frame })
    }

    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.webs.locals.len()];
        self.webs.of.iter().for_each(|&web| counts[web] += 1);
        counts
    }

    fn numbered(mut self) -> Vec<u8> {
        let counts = self.counts();
        let mut numbers: Vec<usize> = (0..counts.len()).collect();
        let of_type = |web: usize| self.types[self.webs.locals[web]];
        let mut groups = vec![ValType::I32, ValType::I64];
        for of in &self.types {
            if !groups.contains(of) {
                groups.push(*of);
            }
        }
        let mut types = self.types[..self.params].to_vec();
        for of in groups {
            let first = types.len();
            let mut webs: Vec<usize> = (self.params..counts.len()).filter(|&web| of_type(web) == of).collect();
            webs.sort_by_key(|&web| Reverse(counts[web]));
            // Of each number, the webs that have it.
            let mut places: Vec<Vec<usize>> = Vec::new();
            if let Some(frame) = self.frame.filter(|&frame| of_type(frame) == of) {
                webs.retain(|&web| web != frame);
                let at = FRAME.saturating_sub(first);
                places.resize(at, Vec::new());
                places.push(vec![frame]);
            }
            for web in webs {
                let free = |holds: &Vec<usize>| {
                    holds.iter().all(|&other| !self.webs.apart.has(web, other) && Some(other) != self.frame)
                };
                match places.iter_mut().find(|holds| free(holds)) {
                    Some(holds) => holds.push(web),
                    None => places.push(vec![web]),
                }
            }
            if places.len() <= MANY && !of.is_reference_type() {
                places.resize(places.len().next_multiple_of(ROUND), Vec::new());
            }
            types.extend(vec![of; places.len()]);
            for (number, holds) in (first..).zip(places) {
                holds.into_iter().for_each(|web| numbers[web] = number);
            }
        }
        self.types = types;
        let mut bytes = Vec::new();
        self.write(&numbers, &mut bytes);
        bytes
    }

    fn fitted(self, scales: &mut Scales, times: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let places = self.write(&self.webs.locals, &mut bytes);
        let mut of_web = vec![Vec::new(); self.webs.locals.len()];
        for (&web, place) in self.webs.of.iter().zip(places) {
            of_web[web].push(place);
        }
        let mut fit = Fit { numbers: self.webs.locals.clone(), of_web, body: &self, scales };
        fit.scales.put(&bytes);
        for _ in 0..times {
            fit.swap();
            fit.shift();
        }
        scales.last().to_vec()
    }

    /// Writes the function with these numbers for its webs, and says where each stands.
    fn write(&self, numbers: &[usize], bytes: &mut Vec<u8>) -> Vec<usize> {
        declare(&self.types[self.params..], bytes);
        let (mut written, mut places) = (0, Vec::new());
        for (&at, &web) in self.uses.iter().zip(&self.webs.of) {
            bytes.extend_from_slice(&self.code[written..at]);
            places.push(bytes.len());
            numbers[web].encode(bytes);
            written = at;
        }
        bytes.extend_from_slice(&self.code[written..]);
        places
    }
}

/// Writes the types of a function's locals.
pub fn declare(types: &[ValType], bytes: &mut Vec<u8>) {
    let groups: Vec<&[ValType]> = types.chunk_by(|a, b| a == b).collect();
    groups.len().encode(bytes);
    for group in groups {
        group.len().encode(bytes);
        if let Some(&of) = group.first()
            && let Ok(of) = reencode::utils::val_type(&mut reencode::RoundtripReencoder, of)
        {
            of.encode(bytes);
        }
    }
}

/// A function that is made to fit behind others.
struct Fit<'a> {
    body: &'a Body,
    /// The number of each web, and where in the text it stands.
    numbers: Vec<usize>,
    of_web: Vec<Vec<usize>>,
    scales: &'a mut Scales,
}

impl Fit<'_> {
    /// How often each number stands.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.body.types.len()];
        self.numbers.iter().zip(&self.of_web).for_each(|(&number, of)| counts[number] += of.len());
        counts
    }

    /// Lets numbers change places with each other.
    fn swap(&mut self) {
        let mut holds = vec![Vec::new(); self.body.types.len()];
        self.numbers.iter().enumerate().for_each(|(web, &number)| holds[number].push(web));
        let mut counts = self.counts();
        let mut order: Vec<usize> = (self.body.params..counts.len()).collect();
        order.sort_by_key(|&number| Reverse(counts[number]));
        for place in 0..order.len() {
            let to = if place < MOVED { MOVED } else { place + NEAR };
            for other in place + 1..to.min(order.len()) {
                let (a, b) = (order[place], order[other]);
                if self.fits(a, b) && counts[a] + counts[b] > 0 {
                    let webs = holds[a].iter().map(|&web| (web, b)).chain(holds[b].iter().map(|&web| (web, a)));
                    if self.change(&webs.collect::<Vec<_>>()) {
                        holds.swap(a, b);
                        counts.swap(a, b);
                        order.swap(place, other);
                    }
                }
            }
        }
    }

    /// Gives single webs other numbers, which they may have.
    fn shift(&mut self) {
        let mut counts = self.counts();
        let webs = &self.body.webs;
        let mut order: Vec<usize> = (self.body.params..self.numbers.len()).collect();
        order.sort_by_key(|&web| Reverse(self.of_web[web].len()));
        for web in order {
            let mut free: Vec<usize> =
                (self.body.params..counts.len()).filter(|&number| self.fits(number, self.numbers[web])).collect();
            webs.apart.of(web).for_each(|other| free.retain(|&number| number != self.numbers[other]));
            free.sort_by_key(|&number| Reverse(counts[number]));
            for number in free.into_iter().take(TRIED) {
                let before = self.numbers[web];
                if self.change(&[(web, number)]) {
                    counts[before] -= self.of_web[web].len();
                    counts[number] += self.of_web[web].len();
                }
            }
        }
    }

    /// Whether what has one number may have the other by its type, and takes as many bytes then.
    fn fits(&self, a: usize, b: usize) -> bool {
        let length = |number: usize| number.max(1).ilog2() / 7;
        a != b && self.body.types[a] == self.body.types[b] && length(a) == length(b)
    }

    /// Gives webs these numbers, if the function weighs less then.
    fn change(&mut self, webs: &[(usize, usize)]) -> bool {
        let mut bytes = Vec::new();
        for &(web, number) in webs {
            let mut written = Vec::new();
            number.encode(&mut written);
            for &place in &self.of_web[web] {
                bytes.extend((place..).zip(written.iter().copied()));
            }
        }
        bytes.sort_unstable();
        let lighter = self.scales.change(&mut bytes);
        if lighter {
            webs.iter().for_each(|&(web, number)| self.numbers[web] = number);
        }
        lighter
    }
}
