//! The address of a value on the stack is the frame and a constant. Where it is used often the compiler keeps it in a local; here
//! it is added anew each time, which compression has seen before, while a local's number tells it nothing. So is any local that
//! holds the sum of a constant and of a local that never changes. Worth 1 % of the upload; compiled code keeps it or not as it likes.
use std::error::Error;

use wasm_encoder::{Encode, reencode};
use wasmparser::{FunctionBody, Operator, ValType};

use crate::{
    locals::{declare, rewritten},
    webs::{Steps, Webs},
};

/// `local.get`.
const GET: u8 = 0x20;

/// The module without locals for such sums; what is one local for several things becomes several.
pub fn repeated(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    rewritten(wasm, |body, params| {
        let code = Code::read(body, params)?;
        Ok(code.map_or_else(|| body.as_bytes().to_vec(), |code| code.repeated()))
    })
}

struct Code<'a> {
    params: usize,
    /// The type of each web.
    types: Vec<ValType>,
    operators: Vec<(Operator<'a>, &'a [u8])>,
    /// Of each operator, the web that it reads or writes, and whether it is in a loop.
    of: Vec<Option<usize>>,
    loops: Vec<bool>,
    webs: Webs,
}

/// A local that holds a sum.
struct Sum {
    /// Where it is written.
    written: usize,
    /// The other web of the sum.
    base: usize,
}

impl<'a> Code<'a> {
    /// None, if it is not known where the function's branches lead.
    fn read(body: &FunctionBody<'a>, params: &[ValType]) -> Result<Option<Self>, reencode::Error> {
        let mut locals = params.to_vec();
        for group in body.get_locals_reader()? {
            let (count, of) = group?;
            locals.extend(vec![of; count as usize]);
        }
        let (mut operators, mut loops, mut open, mut steps) = (Vec::new(), Vec::new(), Vec::new(), Steps::new());
        let (bytes, start) = (body.as_bytes(), body.range().start);
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let from = reader.original_position() - start;
            let operator = reader.read()?;
            steps.read(&operator);
            match operator {
                Operator::Loop { .. } => open.push(true),
                Operator::Block { .. } | Operator::If { .. } => open.push(false),
                Operator::End => drop(open.pop()),
                _ => {}
            }
            loops.push(open.contains(&true));
            operators.push((operator, &bytes[from..reader.original_position() - start]));
        }
        let Some(steps) = steps.taken() else { return Ok(None) };
        let webs = Webs::new(&steps, params.len(), locals.len());
        let mut uses = webs.of.iter().copied();
        let of = operators.iter().map(|(operator, _)| reads(operator).or(writes(operator)).and_then(|_| uses.next()));
        let of = of.collect();
        let types = webs.locals.iter().map(|&local| locals[local]).collect();
        Ok(Some(Self { params: params.len(), types, operators, of, loops, webs }))
    }

    /// The sum that each web holds.
    fn sums(&self) -> Vec<Option<Sum>> {
        let mut writes_of = vec![Vec::new(); self.types.len()];
        for (place, of) in self.of.iter().enumerate() {
            if let Some(web) = *of
                && writes(&self.operators[place].0).is_some()
            {
                writes_of[web].push(place);
            }
        }
        let once = |web: usize| match writes_of[web][..] {
            [place] if web >= self.webs.entry => Some(place),
            _ => None,
        };
        // One time for all, so that what a sum was made of is what is there when it is made again.
        let stays = |web: usize| {
            web < self.params && writes_of[web].is_empty() || once(web).is_some_and(|place| !self.loops[place])
        };
        let sum = |web: usize| {
            let written = once(web)?;
            let (Operator::LocalGet { .. }, Operator::I32Const { .. }, Operator::I32Add) = (
                &self.operators.get(written.checked_sub(3)?)?.0,
                &self.operators[written - 2].0,
                &self.operators[written - 1].0,
            ) else {
                return None;
            };
            self.of[written - 3].filter(|&base| stays(base)).map(|base| Sum { written, base })
        };
        let mut sums: Vec<Option<Sum>> = (0..self.types.len()).map(sum).collect();
        // What is made anew is made of what is kept.
        let kept: Vec<bool> = sums.iter().map(Option::is_none).collect();
        sums.iter_mut().for_each(|sum| drop(sum.take_if(|sum| !kept[sum.base])));
        sums
    }

    fn repeated(&self) -> Vec<u8> {
        let sums = self.sums();
        let mut numbers = vec![0; self.types.len()];
        let mut order: Vec<usize> = (self.params..self.types.len()).collect();
        order.sort_by_key(|&web| self.types[..=web].iter().position(|of| *of == self.types[web]));
        (0..self.params).chain(order.iter().copied()).zip(0..).for_each(|(web, number)| numbers[web] = number);
        let mut bytes = Vec::new();
        declare(&order.iter().map(|&web| self.types[web]).collect::<Vec<_>>(), &mut bytes);
        let mut left = vec![true; self.operators.len()];
        for sum in sums.iter().flatten() {
            // What `local.tee` leaves on the stack is still made there.
            let made = if matches!(self.operators[sum.written].0, Operator::LocalTee { .. }) { 0 } else { 3 };
            left[sum.written - made..=sum.written].fill(false);
        }
        for (place, (_, raw)) in self.operators.iter().enumerate().filter(|(place, _)| left[*place]) {
            match self.of[place].map(|web| (web, &sums[web])) {
                Some((_, Some(sum))) => {
                    bytes.push(GET);
                    numbers[sum.base].encode(&mut bytes);
                    (sum.written - 2..sum.written).for_each(|place| bytes.extend_from_slice(self.operators[place].1));
                }
                Some((web, None)) => {
                    bytes.push(raw[0]);
                    numbers[web].encode(&mut bytes);
                }
                None => bytes.extend_from_slice(raw),
            }
        }
        bytes
    }
}

fn reads(operator: &Operator<'_>) -> Option<u32> {
    if let Operator::LocalGet { local_index } = operator { Some(*local_index) } else { None }
}

fn writes(operator: &Operator<'_>) -> Option<u32> {
    match operator {
        Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => Some(*local_index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        BlockType, CodeSection, Function, FunctionSection, InstructionSink, Module, TypeSection, ValType::I32,
    };
    use wasmparser::{Parser, Payload, Validator};

    use super::*;

    /// A module with one function that takes a number and has two locals.
    fn module(code: impl Fn(&mut InstructionSink<'_>)) -> Vec<u8> {
        let (mut types, mut functions, mut bodies) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
        types.ty().function([I32], []);
        functions.function(0);
        let mut function = Function::new([(2, I32)]);
        code(&mut function.instructions());
        bodies.function(&function);
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&bodies);
        module.finish()
    }

    fn code(wasm: &[u8]) -> Vec<String> {
        Validator::new().validate_all(wasm).unwrap();
        let bodies = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        });
        let operators = bodies.flat_map(|body| body.get_operators_reader().unwrap().into_iter());
        operators.map(|operator| format!("{:?}", operator.unwrap())).collect()
    }

    #[test]
    fn a_sum_is_made_where_it_is_read() {
        let kept = module(|code| {
            code.local_get(0)
                .i32_const(8)
                .i32_add()
                .local_set(1)
                .local_get(0)
                .i32_const(16)
                .i32_add()
                .local_tee(2)
                .drop();
            code.local_get(1).drop().local_get(2).drop().end();
        });
        let anew = module(|code| {
            code.local_get(0).i32_const(16).i32_add().drop();
            code.local_get(0).i32_const(8).i32_add().drop().local_get(0).i32_const(16).i32_add().drop().end();
        });
        assert_eq!(code(&repeated(&kept).unwrap()), code(&anew));
    }

    #[test]
    fn what_it_was_made_of_has_to_stay() {
        // Perhaps written since, read before it is written, made in a loop of what is made there.
        let changing = module(|code| {
            code.local_get(0).i32_const(8).i32_add().local_set(1).local_get(0).if_(BlockType::Empty);
            code.i32_const(1).local_set(0).end().local_get(1).drop().local_get(0).drop().end();
        });
        let early = module(|code| {
            code.loop_(BlockType::Empty).local_get(1).br_if(0);
            code.local_get(0).i32_const(8).i32_add().local_set(1).br(0).end().end();
        });
        let turning = module(|code| {
            code.loop_(BlockType::Empty).i32_const(1).local_set(1).local_get(1).i32_const(8).i32_add().local_set(2);
            code.local_get(2).drop().br(0).end().end();
        });
        for wasm in [changing, early, turning] {
            assert_eq!(code(&repeated(&wasm).unwrap()).len(), code(&wasm).len());
        }
    }
}
