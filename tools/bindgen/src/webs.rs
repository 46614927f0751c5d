//! Which reads and writes of a function's locals belong together. A local that is used for one thing after another is taken apart:
//! a *web* is all writes that the same reads may see, and these reads. Two webs that never hold at the same time may have one number.
use wasmparser::Operator;

/// What a function does with its locals, and where it goes.
#[derive(Clone)]
pub enum Step {
    Read(usize),
    Write(usize),
    Block,
    Loop,
    If,
    Else,
    End,
    /// Goes to where one of these labels leads, or on if it is said.
    Branch(Vec<u32>, bool),
    /// Ends the function.
    Stop,
}

/// The steps of a function, as they are read.
pub struct Steps(Option<Vec<Step>>);

impl Steps {
    pub fn new() -> Self {
        Self(Some(Vec::new()))
    }

    /// None, if it is not known where they lead.
    pub fn taken(self) -> Option<Vec<Step>> {
        self.0
    }

    pub fn read(&mut self, operator: &Operator<'_>) {
        let Some(steps) = &mut self.0 else { return };
        steps.push(match operator {
            Operator::LocalGet { local_index } => Step::Read(*local_index as usize),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                Step::Write(*local_index as usize)
            }
            Operator::Block { .. } => Step::Block,
            Operator::Loop { .. } => Step::Loop,
            Operator::If { .. } => Step::If,
            Operator::Else => Step::Else,
            Operator::End => Step::End,
            Operator::Br { relative_depth } => Step::Branch(vec![*relative_depth], false),
            Operator::BrIf { relative_depth } => Step::Branch(vec![*relative_depth], true),
            Operator::BrTable { targets } => {
                let others = targets.targets().map_while(Result::ok);
                Step::Branch(others.chain([targets.default()]).collect(), false)
            }
            Operator::Return | Operator::Unreachable | Operator::Throw { .. } | Operator::Rethrow { .. } => Step::Stop,
            // A call may go to where it is caught; and other ways to branch, which nothing here is compiled to.
            Operator::Try { .. }
            | Operator::TryTable { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. } => return self.0 = None,
            _ => return,
        });
    }
}

/// Sets of small numbers.
#[derive(Clone)]
pub struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    pub fn new(sets: usize, size: usize) -> Self {
        let words = size.div_ceil(64);
        Self { words, bits: vec![0; sets * words] }
    }

    pub fn has(&self, set: usize, member: usize) -> bool {
        self.bits[set * self.words + member / 64] >> (member % 64) & 1 == 1
    }

    pub fn put(&mut self, set: usize, member: usize) {
        self.bits[set * self.words + member / 64] |= 1 << (member % 64);
    }

    pub fn of(&self, set: usize) -> impl Iterator<Item = usize> + '_ {
        let words = &self.bits[set * self.words..(set + 1) * self.words];
        words.iter().enumerate().flat_map(|(at, &word)| {
            std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)))
                .take_while(|word| *word != 0)
                .map(move |word| at * 64 + word.trailing_zeros() as usize)
        })
    }
}

/// The webs of a function.
pub struct Webs {
    /// Of each read and write, in their order.
    pub of: Vec<usize>,
    /// The local that each was. The first are the parameters, as they come in.
    pub locals: Vec<usize>,
    /// How many are there at first: parameters, and zeros that are read.
    pub entry: usize,
    /// Those that each may not share a number with.
    pub apart: Sets,
}

impl Webs {
    /// As if each local were one: of a function of which more is not known.
    pub fn whole(uses: Vec<usize>, locals: usize) -> Self {
        let mut apart = Sets::new(locals, locals);
        for one in 0..locals {
            (0..locals).filter(|&other| other != one).for_each(|other| apart.put(one, other));
        }
        Self { of: uses, locals: (0..locals).collect(), entry: locals, apart }
    }

    /// Those of a function with so many parameters, and locals in all.
    pub fn new(steps: &[Step], params: usize, locals: usize) -> Self {
        let next = successors(steps);
        let live = live(steps, &next, locals);
        // What a local holds before a step is one with what it holds before the next, where that is still read. Before a step
        // that writes it nothing reads it: there its place is for what is written.
        let mut heads: Vec<u32> = (0..(next.len() * locals) as u32).collect();
        for (at, next) in next.iter().enumerate() {
            for &next in next {
                live.of(next).for_each(|local| join(&mut heads, at * locals + local, next * locals + local));
            }
        }
        let mut known = vec![None; heads.len()];
        let mut webs = Vec::new();
        let mut web = |at: usize, local: usize| {
            *known[head(&mut heads, at * locals + local)].get_or_insert_with(|| {
                webs.push(local);
                webs.len() - 1
            })
        };
        let entry: Vec<usize> =
            (0..locals).filter(|&local| local < params || live.has(0, local)).map(|local| web(0, local)).collect();
        let (mut of, mut pairs) = (Vec::new(), Vec::new());
        for (place, &one) in entry.iter().enumerate() {
            pairs.extend(entry[..place].iter().map(|&other| (one, other)));
        }
        for (at, step) in (1..).zip(steps) {
            if let Step::Read(local) | Step::Write(local) = *step {
                of.push(web(at, local));
            }
            if let Step::Write(local) = *step {
                let one = web(at, local);
                for &next in &next[at] {
                    pairs.extend(live.of(next).filter(|&other| other != local).map(|other| (one, web(next, other))));
                }
            }
        }
        let mut apart = Sets::new(webs.len(), webs.len());
        for (one, other) in pairs {
            apart.put(one, other);
            apart.put(other, one);
        }
        Self { of, locals: webs, entry: entry.len(), apart }
    }
}

/// The head of what belongs together.
fn head(heads: &mut [u32], mut of: usize) -> usize {
    while heads[of] as usize != of {
        heads[of] = heads[heads[of] as usize];
        of = heads[of] as usize;
    }
    of
}

/// Makes one of two that belong together.
fn join(heads: &mut [u32], one: usize, other: usize) {
    let (one, other) = (head(heads, one), head(heads, other));
    heads[one.max(other)] = one.min(other) as u32;
}

/// Where each step may lead. Place 0 is before the first step.
fn successors(steps: &[Step]) -> Vec<Vec<usize>> {
    let mut next = vec![Vec::new(); steps.len() + 1];
    next[0].push(1);
    // Of each block that is open: where it begins if it is a loop, its `if`, and those that leave it.
    let mut open: Vec<(Option<usize>, Option<usize>, Vec<usize>)> = vec![(None, None, Vec::new())];
    for (at, step) in (1..).zip(steps) {
        let mut falls = true;
        match step {
            Step::Block => open.push((None, None, Vec::new())),
            Step::Loop => open.push((Some(at), None, Vec::new())),
            Step::If => open.push((None, Some(at), Vec::new())),
            Step::Else => {
                if let Some((_, before, leave)) = open.last_mut() {
                    before.take().iter().for_each(|&before| next[before].push(at + 1));
                    leave.push(at);
                }
                falls = false;
            }
            Step::End => {
                if let Some((_, before, leave)) = open.pop() {
                    leave.into_iter().chain(before).for_each(|from| next[from].push(at));
                }
            }
            Step::Branch(labels, on) => {
                for &label in labels {
                    let to = open.len().saturating_sub(label as usize + 1);
                    match open.get_mut(to) {
                        Some((Some(start), ..)) => next[at].push(*start),
                        Some((None, _, leave)) => leave.push(at),
                        None => {}
                    }
                }
                falls = *on;
            }
            Step::Stop => falls = false,
            Step::Read(_) | Step::Write(_) => {}
        }
        if falls && at < steps.len() {
            next[at].push(at + 1);
        }
    }
    next.iter_mut().for_each(|next| {
        next.sort_unstable();
        next.dedup();
    });
    next
}

/// The locals that are read after each step, before they are written again; the place of a step says what is read from it on.
fn live(steps: &[Step], next: &[Vec<usize>], locals: usize) -> Sets {
    let mut live = Sets::new(next.len(), locals);
    let words = live.words;
    let mut line = vec![0; words];
    loop {
        let mut changed = false;
        for at in (0..next.len()).rev() {
            line.fill(0);
            for &next in &next[at] {
                let after = &live.bits[next * words..(next + 1) * words];
                line.iter_mut().zip(after).for_each(|(line, after)| *line |= after);
            }
            match at.checked_sub(1).map(|at| &steps[at]) {
                Some(&Step::Read(local)) => line[local / 64] |= 1 << (local % 64),
                Some(&Step::Write(local)) => line[local / 64] &= !(1 << (local % 64)),
                _ => {}
            }
            let before = &mut live.bits[at * words..(at + 1) * words];
            changed |= before != line;
            before.copy_from_slice(&line);
        }
        if !changed {
            return live;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: usize = 2;
    const LOCALS: usize = 6;

    /// Chance that is the same each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % most
        }
    }

    fn code(dice: &mut Dice, depth: u32, steps: &mut Vec<Step>) {
        for _ in 0..dice.below(8) {
            let label = dice.below(depth as usize + 1) as u32;
            match dice.below(if depth < 4 { 11 } else { 8 }) {
                0..3 => steps.push(Step::Read(dice.below(LOCALS))),
                3..6 => steps.push(Step::Write(dice.below(LOCALS))),
                6 => steps.push(Step::Branch(vec![label], true)),
                7 => steps.push(Step::Branch(vec![label, 0], false)),
                kind => {
                    steps.push([Step::Block, Step::Loop, Step::If][kind - 8].clone());
                    code(dice, depth + 1, steps);
                    if kind == 10 && dice.below(2) == 0 {
                        steps.push(Step::Else);
                        code(dice, depth + 1, steps);
                    }
                    steps.push(Step::End);
                }
            }
        }
    }

    /// What is read on one way through the code, if each write writes something else.
    fn run(steps: &[Step], numbers: &[usize], way: u64) -> Vec<usize> {
        let next = successors(steps);
        let mut held: Vec<usize> = (0..64).map(|local| if local < PARAMS { 1000 + local } else { 0 }).collect();
        let uses = |at: usize| steps[..at].iter().filter(|step| matches!(step, Step::Read(_) | Step::Write(_))).count();
        let (mut dice, mut at, mut read) = (Dice(way), 0_usize, Vec::new());
        for turn in 1..200 {
            match at.checked_sub(1).map(|place| (&steps[place], uses(place))) {
                Some((Step::Read(_), of)) => read.push(held[numbers[of]]),
                Some((Step::Write(_), of)) => held[numbers[of]] = turn,
                _ => {}
            }
            let Some(&to) = next[at].get(dice.below(next[at].len().max(1))) else { break };
            at = to;
        }
        read
    }

    /// Every web gets the lowest number that it may have, and every read still sees what it saw.
    #[test]
    fn webs_that_are_not_apart_share_a_number() {
        let (mut dice, mut shared, mut parted) = (Dice(7), 0, 0);
        for seed in 0..3000 {
            let mut steps = Vec::new();
            code(&mut dice, 0, &mut steps);
            steps.push(Step::End);
            let webs = Webs::new(&steps, PARAMS, LOCALS);
            let mut numbers: Vec<usize> = (0..PARAMS).collect();
            for web in PARAMS..webs.locals.len() {
                let free = |number: &usize| webs.apart.of(web).all(|other| numbers.get(other) != Some(number));
                numbers.extend((0..64).find(free));
            }
            shared += webs.locals.len() - numbers.iter().max().map_or(0, |most| most + 1);
            parted += webs.locals.len().saturating_sub(LOCALS);
            let renamed: Vec<usize> = webs.of.iter().map(|&web| numbers[web]).collect();
            let own: Vec<usize> = webs.of.iter().map(|&web| webs.locals[web]).collect();
            for way in 0..20 {
                assert_eq!(run(&steps, &own, seed + way), run(&steps, &renamed, seed + way), "code {seed}, way {way}");
            }
        }
        assert!(shared > 1000 && parted > 1000, "{shared} {parted}");
    }
}
