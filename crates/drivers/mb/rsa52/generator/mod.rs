//! Writes the kernels: Montgomery multiplication and squaring of 10n limbs in eight lanes.
#![allow(dead_code)] // the build script, the crate and its tests each use a part

pub mod blocks;
pub mod inst;
mod kernel;
pub mod layout;

pub use self::kernel::{Kind, kernel};

use self::inst::Inst;

/// Every kernel there is.
pub const KERNELS: [(Kind, usize); 19] = {
    use Kind::*;
    [
        (Mul, 20),
        (Mul, 30),
        (Mul, 40),
        (Mul, 60),
        (Mul, 80),
        (Square, 20),
        (Square, 30),
        (Square, 40),
        (Square, 60),
        (Square, 80),
        (SquareAndPick, 20),
        (SquareAndPick, 30),
        (SquareAndPick, 40),
        (Pick, 20),
        (Pick, 30),
        (Pick, 40),
        (Product, 20),
        (Product, 30),
        (Product, 40),
    ]
};

/// Writes all kernels and the subroutines that they share.
pub fn program() -> Vec<Inst> {
    let mut code = blocks::subroutines();
    for (kind, limbs) in KERNELS {
        code.extend(kernel(kind, limbs));
    }
    code
}

/// Writes the program as the assembler reads it.
pub fn assembly() -> String {
    let mut text = String::from(".text\n");
    for inst in program() {
        text.push_str(&inst.to_string());
        text.push('\n');
    }
    text
}
