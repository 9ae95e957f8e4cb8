//! Which ways lead through a program's instructions? Walked as the oldest kernel's verifier does, so that
//! what it refuses shows on every kernel.

use aya_obj::generated::bpf_insn;

/// Where an instruction leads, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    to: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To the next instruction, or by what the kernel takes for that.
    Next,
    /// To the next instruction of a branch that is not taken, or to where one leads.
    Branch,
    /// Into another function of the program.
    Call,
}

/// Where the instruction at a place leads, in reverse order of trying.
fn edges(code: &[bpf_insn], at: usize) -> Vec<Edge> {
    const JUMPS: [u8; 2] = [5, 6];
    const ALWAYS: u8 = 0x00;
    const CALL: u8 = 0x80;
    const EXIT: u8 = 0x90;
    const OF_OURS: u8 = 1;
    let instruction = &code[at];
    let edge = |to, kind| Edge { to, kind };
    // A way out of the program is found by whoever looks there.
    let target = |distance: i32| {
        let distance = isize::try_from(distance).unwrap_or(isize::MAX);
        (at + 1).saturating_add_signed(distance)
    };
    let next = edge(at + 1, Kind::Next);
    if !JUMPS.contains(&(instruction.code & 7)) {
        return vec![next];
    }
    let jump = edge(target(instruction.off.into()), Kind::Branch);
    match instruction.code & 0xf0 {
        EXIT => Vec::new(),
        CALL if instruction.src_reg() == OF_OURS => {
            vec![edge(target(instruction.imm), Kind::Call), next]
        }
        CALL => vec![next],
        ALWAYS => vec![jump],
        _ => vec![jump, edge(at + 1, Kind::Branch)],
    }
}

/// Where kernel 5.10 would see a loop that it refuses, if anywhere: it walks through the instructions
/// depth first, as its `check_cfg` does, and takes a way back to where it comes from only by a jump. A
/// loop that is entered in its middle may come back by plain falling through, and LLVM likes such loops.
pub(super) fn refused_loop(code: &[bpf_insn]) -> Option<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Never,
        OnTheWay,
        Done,
    }
    let mut seen = vec![Seen::Never; code.len()];
    // Instructions on the way, each with its edges that are still to be tried, the next one last.
    let mut way = vec![(0, edges(code, 0))];
    *seen.first_mut()? = Seen::OnTheWay;
    while let Some((at, untried)) = way.last_mut() {
        let at = *at;
        let Some(Edge { to, kind }) = untried.pop() else {
            seen[at] = Seen::Done;
            way.pop();
            continue;
        };
        match seen.get(to)? {
            Seen::Never => {
                seen[to] = Seen::OnTheWay;
                way.push((to, edges(code, to)));
            }
            Seen::OnTheWay if kind != Kind::Branch => return Some((at, to)),
            Seen::OnTheWay | Seen::Done => {}
        }
    }
    None
}

/// Where the functions of a program begin, in order: the first one, and whatever is called.
fn functions(code: &[bpf_insn]) -> Vec<usize> {
    let calls = (0..code.len()).flat_map(|at| edges(code, at));
    let called = calls.filter(|edge| edge.kind == Kind::Call);
    let mut begins: Vec<_> = called.map(|edge| edge.to).chain([0]).collect();
    begins.sort_unstable();
    begins.dedup();
    begins
}

/// Bytes of stack of the functions that call each other and take most, as kernel 5.10 adds them up: each
/// frame counts in steps of 32 bytes, from which newer ones went down to 16.
pub(super) fn deepest_stack(code: &[bpf_insn]) -> u32 {
    const STEP: u32 = 32;
    let begins = functions(code);
    let mut deepest = vec![0; begins.len()];
    // Functions call each other in no circle, so that as many rounds as there are functions will do.
    for _ in 0..begins.len() {
        for (i, &begin) in begins.iter().enumerate() {
            let end = begins.get(i + 1).copied().unwrap_or(code.len());
            let calls = (begin..end).flat_map(|at| edges(code, at));
            let called = calls.filter(|edge| edge.kind == Kind::Call);
            let below = called.filter_map(|edge| begins.binary_search(&edge.to).ok());
            let below = below.map(|callee| deepest[callee]).max().unwrap_or(0);
            deepest[i] = frame(&code[begin..end]).max(1).next_multiple_of(STEP) + below;
        }
    }
    deepest.first().copied().unwrap_or(0)
}

/// Bytes of stack that a function uses: how far below the frame's pointer it reaches, by itself or by a
/// copy of that pointer.
fn frame(function: &[bpf_insn]) -> u32 {
    const LOAD: u8 = 1;
    const STORES: [u8; 2] = [2, 3];
    const COPY: u8 = 0xbf;
    const ADD: u8 = 0x07;
    const FRAME: u8 = 10;
    /// What is added to anything else may be any number.
    const LIMIT: u32 = 512;
    let mut copies = [false; 11];
    let mut deepest = 0;
    for instruction in function {
        let (to, from) = (instruction.dst_reg(), instruction.src_reg());
        let class = instruction.code & 7;
        let below = if class == LOAD && from == FRAME || STORES.contains(&class) && to == FRAME {
            i32::from(instruction.off)
        } else if instruction.code == ADD && std::mem::take(&mut copies[usize::from(to)]) {
            instruction.imm
        } else {
            0
        };
        if instruction.code == COPY {
            copies[usize::from(to)] = from == FRAME;
        }
        let below = below.min(0).unsigned_abs();
        if below <= LIMIT {
            deepest = deepest.max(below);
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use aya_obj::copy_instructions;
    use aya_obj::generated::bpf_insn;

    use super::{deepest_stack, refused_loop};

    /// A program, each instruction given by its code and distance.
    fn program(instructions: &[(u8, i16)]) -> Vec<bpf_insn> {
        let bytes = instructions.iter().flat_map(|(code, distance)| {
            let [low, high] = distance.to_le_bytes();
            [*code, 0, low, high, 0, 0, 0, 0]
        });
        copy_instructions(&bytes.collect::<Vec<_>>()).expect("whole instructions")
    }

    #[test]
    fn a_loop_that_comes_back_by_falling_through_is_refused() {
        const JUMP: u8 = 0x05;
        const JUMP_IF: u8 = 0x15;
        const ADD: u8 = 0x07;
        const EXIT: u8 = 0x95;
        let proper = program(&[(ADD, 0), (JUMP_IF, -2), (EXIT, 0)]);
        assert_eq!(refused_loop(&proper), None);
        let in_the_middle = program(&[(JUMP, 1), (ADD, 0), (JUMP_IF, -2), (EXIT, 0)]);
        assert_eq!(refused_loop(&in_the_middle), Some((1, 2)));
    }

    #[test]
    fn stack_adds_up_along_calls_in_steps() {
        // *(u64 *)(r10 - 33) = r1
        const STORE: [u8; 8] = [0x7b, 0x1a, 0xdf, 0xff, 0, 0, 0, 0];
        // r2 = r10; r2 += -64
        const COPY: [u8; 8] = [0xbf, 0xa2, 0, 0, 0, 0, 0, 0];
        const ADD: [u8; 8] = [0x07, 0x02, 0, 0, 0xc0, 0xff, 0xff, 0xff];
        const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let call = |to: u8| [0x85, 0x10, 0, 0, to, 0, 0, 0];
        // The first function calls the second and the third, the second calls the third.
        let first = [call(2), call(4), EXIT];
        let second = [STORE, call(1), EXIT];
        let third = [COPY, ADD, EXIT];
        let bytes = [first, second, third].concat().concat();
        let code = copy_instructions(&bytes).expect("whole instructions");
        assert_eq!(deepest_stack(&code), 32 + 64 + 64);
    }
}
