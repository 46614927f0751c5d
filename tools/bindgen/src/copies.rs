//! A copy of a known small size becomes a call of a function that makes it word by word: two bytes in place of six. The
//! instruction would leave the compiled code for a routine that is made for large sizes.
use std::{collections::BTreeMap, convert::Infallible, error::Error};

use wasm_encoder::{
    CodeSection, Function, FunctionSection, MemArg, Module, TypeSection,
    reencode::{self, Reencode},
};
use wasmparser::{
    CodeSectionReader, FunctionBody, FunctionSectionReader, Operator, Parser, Payload, TypeRef, TypeSectionReader,
};

/// What is larger is copied by the instruction.
const LARGEST: i32 = 128;
/// A size that is copied at fewer places gets no function.
const PLACES: u32 = 2;

/// The module with such calls in place of copies.
pub fn called(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut functions, mut types, mut places) = (0, 0, BTreeMap::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => types = section.count(),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    functions += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(section) => functions += section.count(),
            Payload::CodeSectionEntry(body) => {
                for size in sizes(&body)?.into_values() {
                    *places.entry(size).or_insert(0) += 1;
                }
            }
            _ => {}
        }
    }
    places.retain(|_, count| *count >= PLACES);
    let mut module = Module::new();
    Copies { of_size: places.into_keys().zip(functions..).collect(), copies: types }.parse_core_module(
        &mut module,
        Parser::new(0),
        wasm,
    )?;
    Ok(module.finish())
}

/// The sizes of a function's copies, by the place of the instruction before.
fn sizes(body: &FunctionBody<'_>) -> Result<BTreeMap<usize, i32>, Box<dyn Error>> {
    let (mut sizes, mut before) = (BTreeMap::new(), None);
    for (place, operator) in body.get_operators_reader()?.into_iter().enumerate() {
        let operator = operator?;
        if let (Some(size @ 1..=LARGEST), Operator::MemoryCopy { dst_mem: 0, src_mem: 0 }) = (before, &operator) {
            sizes.insert(place - 1, size);
        }
        before = if let Operator::I32Const { value } = operator { Some(value) } else { None };
    }
    Ok(sizes)
}

struct Copies {
    /// The function for each size.
    of_size: BTreeMap<i32, u32>,
    /// Their type.
    copies: u32,
}

impl Reencode for Copies {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_type_section(self, types, section)?;
        types.ty().function([wasm_encoder::ValType::I32; 2], []);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_function_section(self, functions, section)?;
        for _ in &self.of_size {
            functions.function(self.copies);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_code_section(self, code, section)?;
        for &size in self.of_size.keys() {
            code.function(&copying(size as u64));
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), reencode::Error> {
        let sizes = sizes(&body).unwrap_or_default();
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut operators = body.get_operators_reader()?.into_iter().enumerate();
        while let Some((place, operator)) = operators.next() {
            if let Some(&copy) = sizes.get(&place).and_then(|size| self.of_size.get(size)) {
                operators.next();
                function.instructions().call(copy);
            } else {
                function.instruction(&self.instruction(operator?)?);
            }
        }
        code.function(&function);
        Ok(())
    }
}

/// Copies `size` bytes from where the second parameter says to where the first says. All is read before the first is written,
/// because the two may overlap.
fn copying(size: u64) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    let at = |offset| MemArg { offset, align: 0, memory_index: 0 };
    let (mut pieces, mut offset) = (Vec::new(), 0);
    while offset < size {
        let bytes = [8, 4, 2, 1].into_iter().find(|bytes| offset + bytes <= size).unwrap_or(1);
        code.local_get(0).local_get(1);
        match bytes {
            8 => code.i64_load(at(offset)),
            4 => code.i32_load(at(offset)),
            2 => code.i32_load16_u(at(offset)),
            _ => code.i32_load8_u(at(offset)),
        };
        pieces.push((offset, bytes));
        offset += bytes;
    }
    for (offset, bytes) in pieces.into_iter().rev() {
        match bytes {
            8 => code.i64_store(at(offset)),
            4 => code.i32_store(at(offset)),
            2 => code.i32_store16(at(offset)),
            _ => code.i32_store8(at(offset)),
        };
    }
    code.end();
    function
}
