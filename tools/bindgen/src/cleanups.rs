//! What is done while a panic passes through a function is left out: an eighth of the upload.
//!
//! A panic still ends where it is caught, at the edge of its request or of its object's turn, and costs that request alone.
//! On the way there values are not dropped any more: their memory is lost, and a `RefCell` that was borrowed stays borrowed.
//! So nothing that outlives a request may be borrowed while something may panic.
use walrus::{
    LocalFunction,
    ir::{Block, IfElse, Instr, InstrSeqId, LegacyCatch, Loop, Try},
};

/// Leaves a function's cleanups out.
pub fn leave_out(function: &mut LocalFunction) {
    let entry = function.entry_block();
    walk(function, entry, &mut vec![false]);
}

/// Walks a block. `catching` tells of every block around it, outermost first, whether a panic that is thrown in it is caught
/// there.
fn walk(function: &mut LocalFunction, block: InstrSeqId, catching: &mut Vec<bool>) {
    for place in 0..function.block(block).instrs.len() {
        if let Some(seq) = bare(function, &function.block(block).instrs[place].0, catching) {
            function.block_mut(block).instrs[place].0 = Instr::Block(Block { seq });
        }
        let inner = |function: &mut LocalFunction, seq, catches, catching: &mut Vec<bool>| {
            catching.push(catches);
            walk(function, seq, catching);
            catching.pop();
        };
        match function.block(block).instrs[place].0.clone() {
            Instr::Block(Block { seq }) | Instr::Loop(Loop { seq }) => inner(function, seq, false, catching),
            Instr::IfElse(IfElse { consequent, alternative }) => {
                inner(function, consequent, false, catching);
                inner(function, alternative, false, catching);
            }
            Instr::Try(Try { seq, catches }) => {
                inner(function, seq, !matches!(catches[..], [LegacyCatch::Delegate { .. }]), catching);
                for catch in catches {
                    if let LegacyCatch::Catch { handler, .. } | LegacyCatch::CatchAll { handler } = catch {
                        inner(function, handler, false, catching);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The body of a `try` that is left out, to run without it.
fn bare(function: &LocalFunction, instr: &Instr, catching: &[bool]) -> Option<InstrSeqId> {
    let Instr::Try(Try { seq, catches }) = instr else { return None };
    let goes = match catches[..] {
        [LegacyCatch::CatchAll { handler }] => hands_on(function, handler),
        // It leads a panic past the blocks between here and its target: nothing is to be passed if none of them catches.
        [LegacyCatch::Delegate { relative_depth }] => {
            !catching.iter().rev().take(relative_depth as usize).any(|catches| *catches)
        }
        _ => false,
    };
    goes.then_some(*seq)
}

/// Whether a handler ends by handing the panic on.
fn hands_on(function: &LocalFunction, handler: InstrSeqId) -> bool {
    match function.block(handler).instrs.last() {
        Some((Instr::Rethrow(_), _)) => true,
        Some((Instr::Block(Block { seq }) | Instr::Try(Try { seq, .. }), _)) => hands_on(function, *seq),
        _ => false,
    }
}
