//! How is a program interpreted? Instruction by instruction, as RFC 9669 says; each is counted.

use anyhow::{Context as _, Result, bail, ensure};
use aya_obj::generated::bpf_insn;

use super::helpers;
use super::{Counts, State};

/// A program that does not end by then never does.
const MOST: u32 = 1_000_000;
/// Bytes of a function's stack.
const STACK: usize = 512;
/// Functions that may call each other.
const DEPTH: usize = 8;

/// Register of the frame's end.
const FRAME: usize = 10;

/// What comes back to a function when the one that it called ends.
struct Caller {
    next: usize,
    saved: [u64; 4],
    frame: u64,
}

/// Runs a program on its context to its end; what it returns.
pub(super) fn run(
    code: &[bpf_insn],
    context: u64,
    state: &mut State,
    counts: &mut Counts,
) -> Result<u64> {
    let mut registers = [0; 11];
    registers[1] = context;
    registers[FRAME] = state.memory.add(vec![0; STACK]) + STACK as u64;
    let mut callers: Vec<Caller> = Vec::new();
    let mut at = 0;
    loop {
        let instruction = code
            .get(at)
            .with_context(|| format!("no instruction {at}"))?;
        counts.instructions += 1;
        ensure!(counts.instructions < MOST, "it does not end");
        at += 1;
        match step(*instruction, code.get(at).copied(), &mut registers, state) {
            Ok(Next::On) => {}
            Ok(Next::Skip) => at += 1,
            Ok(Next::Jump(distance)) => at = at.wrapping_add_signed(distance),
            Ok(Next::Helper(number)) => {
                let called = helpers::call(number, &registers, state, counts);
                registers[0] = called.with_context(|| format!("instruction {}", at - 1))?;
            }
            Ok(Next::Function(distance)) => {
                ensure!(
                    callers.len() + 1 < DEPTH,
                    "functions call each other too deep"
                );
                callers.push(Caller {
                    next: at,
                    saved: [6, 7, 8, 9].map(|i| registers[i]),
                    frame: registers[FRAME],
                });
                registers[FRAME] = state.memory.add(vec![0; STACK]) + STACK as u64;
                at = at.wrapping_add_signed(distance);
            }
            Ok(Next::End) => match callers.pop() {
                Some(caller) => {
                    at = caller.next;
                    registers[6..FRAME].copy_from_slice(&caller.saved);
                    registers[FRAME] = caller.frame;
                }
                None => return Ok(registers[0]),
            },
            Err(error) => return Err(error.context(format!("instruction {}", at - 1))),
        }
    }
}

/// What follows an instruction.
enum Next {
    On,
    /// It had two places.
    Skip,
    Jump(isize),
    Function(isize),
    Helper(u32),
    End,
}

fn step(
    instruction: bpf_insn,
    following: Option<bpf_insn>,
    registers: &mut [u64; 11],
    state: &mut State,
) -> Result<Next> {
    let (to, from) = (
        usize::from(instruction.dst_reg()),
        usize::from(instruction.src_reg()),
    );
    let distance = isize::from(instruction.off);
    let immediate = i64::from(instruction.imm).cast_unsigned();
    let place = |register: u64| register.wrapping_add_signed(i64::from(instruction.off));
    match instruction.code & 7 {
        // LD: a constant of 64 bits alone.
        0 => {
            ensure!(
                instruction.code == 0x18,
                "it reads as packets were read of old"
            );
            let high = following.context("half a constant")?.imm;
            registers[to] = match from {
                0 => {
                    u64::from(instruction.imm.cast_unsigned())
                        | (u64::from(high.cast_unsigned()) << 32)
                }
                1 => helpers::handle(instruction.imm),
                2 => state.data_of(instruction.imm)? + u64::from(high.cast_unsigned()),
                other => bail!("a constant of kind {other}"),
            };
            return Ok(Next::Skip);
        }
        1 => {
            registers[to] = state
                .memory
                .read(place(registers[from]), width(instruction)?)?;
        }
        2 => state
            .memory
            .write(place(registers[to]), width(instruction)?, immediate)?,
        3 if instruction.code & 0xe0 == 0xc0 => {
            add_at(instruction, place(registers[to]), registers[from], state)?;
        }
        3 => state
            .memory
            .write(place(registers[to]), width(instruction)?, registers[from])?,
        class @ (4 | 7) => {
            let other = if instruction.code & 8 == 0 {
                immediate
            } else {
                registers[from]
            };
            registers[to] = compute(instruction, class == 7, registers[to], other)?;
        }
        class @ (5 | 6) => {
            let other = if instruction.code & 8 == 0 {
                immediate
            } else {
                registers[from]
            };
            return Ok(match instruction.code & 0xf0 {
                0x00 if class == 6 => Next::Jump(instruction.imm as isize),
                0x00 => Next::Jump(distance),
                0x80 if from == 1 => Next::Function(instruction.imm as isize),
                0x80 => Next::Helper(instruction.imm.cast_unsigned()),
                0x90 => Next::End,
                test if holds(test, class == 5, registers[to], other)? => Next::Jump(distance),
                _ => Next::On,
            });
        }
        _ => unreachable!("three bits"),
    }
    Ok(Next::On)
}

/// Bytes that a load or store is about.
fn width(instruction: bpf_insn) -> Result<usize> {
    ensure!(instruction.code & 0xe0 == 0x60, "an unknown load or store");
    Ok(match instruction.code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    })
}

/// The one atomic operation that programs here use.
fn add_at(instruction: bpf_insn, place: u64, value: u64, state: &mut State) -> Result<()> {
    ensure!(instruction.imm == 0, "an atomic operation that is new here");
    let size = if instruction.code & 0x18 == 0 { 4 } else { 8 };
    let sum = state.memory.read(place, size)?.wrapping_add(value);
    state.memory.write(place, size, sum)
}

/// Arithmetic of 64 bits, or of the lower 32.
fn compute(instruction: bpf_insn, wide: bool, one: u64, other: u64) -> Result<u64> {
    let operation = instruction.code & 0xf0;
    if operation == 0xd0 {
        return swap(instruction, wide, one);
    }
    ensure!(instruction.off == 0, "signed arithmetic, which is new here");
    let (bits, one, other) = if wide {
        (64, one, other)
    } else {
        (32, one & u64::from(u32::MAX), other & u64::from(u32::MAX))
    };
    let by = (other % bits) as u32;
    let result = match operation {
        0x00 => one.wrapping_add(other),
        0x10 => one.wrapping_sub(other),
        0x20 => one.wrapping_mul(other),
        0x30 => one.checked_div(other).unwrap_or(0),
        0x40 => one | other,
        0x50 => one & other,
        0x60 => one << by,
        0x70 => one >> by,
        0x80 => one.wrapping_neg(),
        0x90 => one.checked_rem(other).unwrap_or(one),
        0xa0 => one ^ other,
        0xb0 => other,
        0xc0 if wide => (one.cast_signed() >> by).cast_unsigned(),
        0xc0 => u64::from(((one as u32).cast_signed() >> by).cast_unsigned()),
        other => bail!("arithmetic {other:#x}"),
    };
    Ok(if wide {
        result
    } else {
        result & u64::from(u32::MAX)
    })
}

/// Byte order: to network order, to the machine's, or turned around whatever the machine's is.
fn swap(instruction: bpf_insn, always: bool, value: u64) -> Result<u64> {
    let turns = always || instruction.code & 8 != 0;
    Ok(match (instruction.imm, turns) {
        (16, true) => u64::from((value as u16).swap_bytes()),
        (32, true) => u64::from((value as u32).swap_bytes()),
        (64, true) => value.swap_bytes(),
        (16, false) => value & u64::from(u16::MAX),
        (32, false) => value & u64::from(u32::MAX),
        (64, false) => value,
        (bits, _) => bail!("the byte order of {bits} bits"),
    })
}

fn holds(test: u8, wide: bool, one: u64, other: u64) -> Result<bool> {
    let (one, other, signed_one, signed_other) = if wide {
        (one, other, one.cast_signed(), other.cast_signed())
    } else {
        let signed = |word: u64| i64::from((word as u32).cast_signed());
        let low = u64::from(u32::MAX);
        (one & low, other & low, signed(one), signed(other))
    };
    Ok(match test {
        0x10 => one == other,
        0x20 => one > other,
        0x30 => one >= other,
        0x40 => one & other != 0,
        0x50 => one != other,
        0x60 => signed_one > signed_other,
        0x70 => signed_one >= signed_other,
        0xa0 => one < other,
        0xb0 => one <= other,
        0xc0 => signed_one < signed_other,
        0xd0 => signed_one <= signed_other,
        other => bail!("jump {other:#x}"),
    })
}

#[cfg(test)]
mod tests {
    use aya_obj::copy_instructions;

    use super::*;

    /// What a program of these instructions returns.
    fn result(code: &[[u8; 8]]) -> Result<(u64, u32)> {
        let code = copy_instructions(&code.concat())?;
        let (mut state, mut counts) = (State::default(), Counts::default());
        let result = run(&code, 0, &mut state, &mut counts)?;
        Ok((result, counts.instructions))
    }

    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn loops_end_and_every_instruction_counts() -> Result<()> {
        // r0 = 0; r1 = 4; r0 += r1; r1 -= 1; if r1 != 0 back by 3
        let code = [
            [0xb7, 0x00, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x01, 0, 0, 4, 0, 0, 0],
            [0x0f, 0x10, 0, 0, 0, 0, 0, 0],
            [0x17, 0x01, 0, 0, 1, 0, 0, 0],
            [0x55, 0x01, 0xfd, 0xff, 0, 0, 0, 0],
            EXIT,
        ];
        assert_eq!(result(&code)?, (10, 2 + 4 * 3 + 1));
        let for_ever = [[0x05, 0, 0xff, 0xff, 0, 0, 0, 0], EXIT];
        assert!(result(&for_ever).is_err());
        Ok(())
    }

    #[test]
    fn a_function_has_its_own_stack_and_gives_registers_back() -> Result<()> {
        // r6 = 7; *(r10 - 8) = 5; call; r0 += r6; r1 = *(r10 - 8); r0 += r1; exit
        // function: r6 = 1; *(r10 - 8) = 9; r0 = 100; exit
        let code = [
            [0xb7, 0x06, 0, 0, 7, 0, 0, 0],
            [0x7a, 0x0a, 0xf8, 0xff, 5, 0, 0, 0],
            [0x85, 0x10, 0, 0, 4, 0, 0, 0],
            [0x0f, 0x60, 0, 0, 0, 0, 0, 0],
            [0x79, 0xa1, 0xf8, 0xff, 0, 0, 0, 0],
            [0x0f, 0x10, 0, 0, 0, 0, 0, 0],
            EXIT,
            [0xb7, 0x06, 0, 0, 1, 0, 0, 0],
            [0x7a, 0x0a, 0xf8, 0xff, 9, 0, 0, 0],
            [0xb7, 0x00, 0, 0, 100, 0, 0, 0],
            EXIT,
        ];
        assert_eq!(result(&code)?, (112, 11));
        Ok(())
    }

    #[test]
    fn narrow_arithmetic_forgets_the_upper_half() -> Result<()> {
        // r0 = -1; w0 += 2 (signed shift right by 31 of -2 is -1 in 32 bits)
        let code = [
            [0xb7, 0x00, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0x04, 0x00, 0, 0, 2, 0, 0, 0],
            EXIT,
        ];
        assert_eq!(result(&code)?.0, 1);
        let code = [
            [0xb7, 0x00, 0, 0, 0xfe, 0xff, 0xff, 0xff],
            [0xc4, 0x00, 0, 0, 31, 0, 0, 0],
            EXIT,
        ];
        assert_eq!(result(&code)?.0, u64::from(u32::MAX));
        // Network order of 0x1234 in 16 bits.
        let code = [
            [0xb7, 0x00, 0, 0, 0x34, 0x12, 0, 0],
            [0xdc, 0x00, 0, 0, 16, 0, 0, 0],
            EXIT,
        ];
        assert_eq!(result(&code)?.0, 0x3412);
        Ok(())
    }
}
