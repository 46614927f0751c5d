//! Rounds up what functions take of the stack, where it is little: with few sizes the beginnings and ends of functions are
//! alike. Worth some tenths of a percent of the upload; a frame grows by half a kilobyte at most.
use std::{collections::BTreeSet, convert::Infallible, error::Error};

use wasm_encoder::{
    CodeSection, Module,
    reencode::{self, Reencode},
};
use wasmparser::{FunctionBody, Operator, Parser};

/// The smallest frame, and the largest that is rounded up.
const LEAST: u32 = 128;
const MOST: u32 = 1024;

/// The module with such frames.
pub fn rounded(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut module = Module::new();
    Frames.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

struct Frames;

impl Reencode for Frames {
    type Error = Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), reencode::Error> {
        let operators = body.get_operators_reader()?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let frame = frame(&operators).filter(|(size, _)| (1..=MOST).contains(size));
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for (place, operator) in operators.into_iter().enumerate() {
            if let Some((size, places)) = &frame
                && places.contains(&place)
            {
                function.instructions().i32_const(size.next_power_of_two().max(LEAST) as i32);
            } else {
                function.instruction(&self.instruction(operator)?);
            }
        }
        code.function(&function);
        Ok(())
    }
}

/// The size of a function's frame and where it is said, if the function takes one from the stack once and gives back that.
fn frame(operators: &[Operator<'_>]) -> Option<(u32, BTreeSet<usize>)> {
    let begins = |place: usize| match operators.get(place..place + 5)? {
        &[
            Operator::GlobalGet { global_index: stack },
            Operator::I32Const { value },
            Operator::I32Sub,
            Operator::LocalTee { local_index },
            Operator::GlobalSet { global_index: after },
        ] if stack == after => Some((place, stack, value, local_index)),
        _ => None,
    };
    let (start, stack, size, local) = (0..operators.len()).find_map(begins)?;
    let mut places = BTreeSet::from([start + 1]);
    for (place, operator) in operators.iter().enumerate() {
        match *operator {
            Operator::GlobalGet { global_index } if global_index == stack && place != start => return None,
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
                if local_index == local && place != start + 3 =>
            {
                return None;
            }
            Operator::GlobalSet { global_index } if global_index == stack && place != start + 4 => {
                match operators[..place] {
                    // Given back.
                    [.., Operator::LocalGet { local_index }, Operator::I32Const { value }, Operator::I32Add]
                        if local_index == local && value == size =>
                    {
                        places.insert(place - 2);
                    }
                    // As it was after the beginning: a panic was caught.
                    [.., Operator::LocalGet { local_index }] if local_index == local => {}
                    _ => return None,
                }
            }
            _ => {}
        }
    }
    Some((u32::try_from(size).ok()?, places))
}
