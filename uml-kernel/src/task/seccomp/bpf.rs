//! Classic BPF, as far as seccomp(2) has it: no packets, words of `struct seccomp_data` only (linux/filter.h, bpf_common.h).

use crate::base::{Errno, Result};

/// Longest program (BPF_MAXINSNS).
pub const MAX_INSNS: usize = 4096;
/// Bytes of `struct seccomp_data`.
const DATA: u32 = 64;
/// Words of scratch memory (BPF_MEMWORDS).
const MEMORY: u32 = 16;

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Insn {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

// Classes.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
// Modes of loads, of words only.
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
// The operand is the index register.
const X: u16 = 0x08;
// Arithmetic.
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const XOR: u16 = 0xa0;
// Jumps.
const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;
/// RET of the accumulator.
const RET_A: u16 = RET | 0x10;
const TAX: u16 = MISC;
const TXA: u16 = MISC | 0x80;

/// A program that was checked: it ends, and stays in its data and memory.
#[derive(Debug, PartialEq, Eq)]
pub struct Program(Vec<Insn>);

impl Program {
    /// Checks a program: EINVAL for an unknown instruction, a jump or load out of bounds, a word that is read before it is
    /// written, or an end without RET.
    pub fn new(insns: Vec<Insn>) -> Result<Program> {
        if insns.is_empty()
            || insns.len() > MAX_INSNS
            || !insns.iter().enumerate().all(|(n, i)| fits(i, insns.len() - n))
        {
            return Err(Errno::EINVAL);
        }
        let ends = insns.last().is_some_and(|i| matches!(i.code, RET | RET_A));
        if !ends || !writes_before_reads(&insns) {
            return Err(Errno::EINVAL);
        }
        Ok(Program(insns))
    }

    /// Number of instructions.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Runs it on the words of a `struct seccomp_data`.
    pub fn run(&self, data: &[u32; 16]) -> u32 {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY as usize]);
        let mut at = 0;
        while let Some(i) = self.0.get(at) {
            at += 1;
            let word = |n: u32| memory[n as usize % memory.len()];
            let operand = if i.code & X != 0 { x } else { i.k };
            match i.code & 7 {
                LD if i.code & 0xe0 == ABS => a = data[i.k as usize / 4 % data.len()],
                LD | LDX => {
                    let value = match i.code & 0xe0 {
                        LEN => DATA,
                        MEM => word(i.k),
                        _ => i.k,
                    };
                    if i.code & 7 == LD { a = value } else { x = value }
                }
                ST => memory[i.k as usize % memory.len()] = a,
                STX => memory[i.k as usize % memory.len()] = x,
                ALU => match compute(i.code & 0xf0, a, operand) {
                    Some(value) => a = value,
                    // Division by zero ends the program as a return of zero would.
                    None => return 0,
                },
                JMP if i.code == JMP | JA => at += i.k as usize,
                JMP => {
                    let holds = match i.code & 0xf0 {
                        JEQ => a == operand,
                        JGT => a > operand,
                        JGE => a >= operand,
                        _ => a & operand != 0,
                    };
                    at += usize::from(if holds { i.jt } else { i.jf });
                }
                RET => return if i.code == RET_A { a } else { i.k },
                _ if i.code == TAX => x = a,
                _ => a = x,
            }
        }
        0
    }
}

fn compute(op: u16, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        ADD => a.wrapping_add(b),
        SUB => a.wrapping_sub(b),
        MUL => a.wrapping_mul(b),
        DIV => return a.checked_div(b),
        OR => a | b,
        AND => a & b,
        LSH => a.wrapping_shl(b),
        RSH => a.wrapping_shr(b),
        XOR => a ^ b,
        _ => a.wrapping_neg(),
    })
}

/// Whether an instruction is one that seccomp knows, with `left` instructions from it to the end.
fn fits(i: &Insn, left: usize) -> bool {
    match i.code & 7 {
        LD if i.code == LD | ABS => i.k < DATA && i.k.is_multiple_of(4),
        LD | LDX => match i.code & !7 {
            IMM | LEN => true,
            MEM => i.k < MEMORY,
            _ => false,
        },
        ST | STX => i.code & !7 == 0 && i.k < MEMORY,
        ALU => {
            let known = matches!(i.code & 0xf0, ADD | SUB | MUL | DIV | OR | AND | LSH | RSH | XOR)
                || i.code == ALU | NEG;
            let by_constant = i.code & X == 0;
            let sane = match i.code & 0xf0 {
                DIV => i.k != 0,
                LSH | RSH => i.k < 32,
                _ => true,
            };
            i.code <= 0xff && known && (!by_constant || sane)
        }
        JMP if i.code == JMP | JA => (i.k as usize) < left - 1,
        JMP => {
            i.code <= 0xff
                && matches!(i.code & 0xf0, JEQ | JGT | JGE | JSET)
                && usize::from(i.jt) + 1 < left
                && usize::from(i.jf) + 1 < left
        }
        RET => matches!(i.code, RET | RET_A),
        _ => matches!(i.code, TAX | TXA),
    }
}

/// Whether every word of memory is written on all ways to where it is read. Jumps go forward only: one pass does it.
fn writes_before_reads(insns: &[Insn]) -> bool {
    let mut known = vec![u16::MAX; insns.len() + 1];
    known[0] = 0;
    for (n, i) in insns.iter().enumerate() {
        let mut valid = known[n];
        let mut reach = |to: usize, valid: u16| known[to.min(insns.len())] &= valid;
        match i.code {
            _ if matches!(i.code & 7, ST | STX) => {
                valid |= 1 << i.k;
                reach(n + 1, valid);
            }
            _ if matches!(i.code & 7, LD | LDX) && i.code & 0xe0 == MEM => {
                if valid & 1 << i.k == 0 {
                    return false;
                }
                reach(n + 1, valid);
            }
            c if c == JMP | JA => reach(n + 1 + i.k as usize, valid),
            c if c & 7 == JMP => {
                reach(n + 1 + usize::from(i.jt), valid);
                reach(n + 1 + usize::from(i.jf), valid);
            }
            c if c & 7 == RET => {}
            _ => reach(n + 1, valid),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    fn result(insns: &[Insn]) -> Result<u32> {
        let data = std::array::from_fn(|n| n as u32 * 10);
        Program::new(insns.to_vec()).map(|p| p.run(&data))
    }

    #[test]
    fn arithmetic_memory_and_jumps() {
        // (word 3 + 5) kept, doubled in X, compared.
        let program = [
            insn(LD | ABS, 0, 0, 12),
            insn(ALU | ADD, 0, 0, 5),
            insn(ST, 0, 0, 2),
            insn(LDX | MEM, 0, 0, 2),
            insn(ALU | ADD | X, 0, 0, 0),
            insn(JMP | JEQ, 1, 0, 70),
            insn(RET, 0, 0, 1),
            insn(RET_A, 0, 0, 0),
        ];
        assert_eq!(result(&program), Ok(70));
        assert_eq!(result(&[insn(LD | LEN, 0, 0, 0), insn(RET_A, 0, 0, 0)]), Ok(64));
        let by_zero = [insn(LDX | IMM, 0, 0, 0), insn(ALU | DIV | X, 0, 0, 0), insn(RET, 0, 0, 9)];
        assert_eq!(result(&by_zero), Ok(0));
    }

    #[test]
    fn programs_that_could_go_astray_are_refused() {
        let ret = insn(RET, 0, 0, 0);
        let bad: &[&[Insn]] = &[
            &[],
            &[insn(LD | ABS, 0, 0, 0)],
            &[insn(LD | ABS, 0, 0, 2), ret],
            &[insn(LD | ABS, 0, 0, 64), ret],
            &[insn(0x28, 0, 0, 0), ret],
            &[insn(JMP | JA, 0, 0, 1), ret],
            &[insn(JMP | JA, 0, 0, u32::MAX), ret],
            &[insn(JMP | JEQ, 1, 0, 0), ret],
            &[insn(JMP | JEQ, 0, 255, 0), ret],
            &[insn(ALU | DIV, 0, 0, 0), ret],
            &[insn(ALU | LSH, 0, 0, 32), ret],
            &[insn(ALU | 0x90, 0, 0, 3), ret],
            &[insn(ST, 0, 0, 16), ret],
            &[insn(LD | MEM, 0, 0, 0), ret],
            // Written on one of two ways only.
            &[insn(JMP | JEQ, 1, 0, 0), insn(ST, 0, 0, 0), insn(LD | MEM, 0, 0, 0), ret],
        ];
        for program in bad {
            assert_eq!(result(program), Err(Errno::EINVAL), "{program:?}");
        }
    }
}
