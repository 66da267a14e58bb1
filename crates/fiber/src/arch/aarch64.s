// Context switch for aarch64, AAPCS64. tests/aarch64 runs this very text.
//
// Regs, in bytes: x29 0, x30 8, sp 16, fpcr 24, x19 to x28 32, d8 to d15 112.

    .text

// Loads the Regs at x1 and runs that side; x9 is the FPCR in force. Left by
// br and not by ret, which would be predicted to go back to the side just
// left. FPCR is written only if it differs, for that may stall.
    .macro load_and_run
    ldp x10, x11, [x1, 16]
    ldp x19, x20, [x1, 32]
    ldp x21, x22, [x1, 48]
    ldp x23, x24, [x1, 64]
    ldp x25, x26, [x1, 80]
    ldp x27, x28, [x1, 96]
    ldp d8, d9, [x1, 112]
    ldp d10, d11, [x1, 128]
    ldp d12, d13, [x1, 144]
    ldp d14, d15, [x1, 160]
    ldp x29, x30, [x1]
    mov sp, x10
    cmp x9, x11
    b.eq 1f
    msr fpcr, x11
1:  br x30
    .endm

// void spinlane_fiber_switch(Regs *mine, const Regs *theirs)
// Stores this side's registers and runs the other side; returns when
// something switches back.
    .p2align 4
    .globl spinlane_fiber_switch
    .hidden spinlane_fiber_switch
    .type spinlane_fiber_switch, %function
spinlane_fiber_switch:
    .cfi_startproc
    mov x10, sp
    mrs x9, fpcr
    stp x29, x30, [x0]
    stp x10, x9, [x0, 16]
    stp x19, x20, [x0, 32]
    stp x21, x22, [x0, 48]
    stp x23, x24, [x0, 64]
    stp x25, x26, [x0, 80]
    stp x27, x28, [x0, 96]
    stp d8, d9, [x0, 112]
    stp d10, d11, [x0, 128]
    stp d12, d13, [x0, 144]
    stp d14, d15, [x0, 160]
    load_and_run
    .cfi_endproc
    .size spinlane_fiber_switch, . - spinlane_fiber_switch

// noreturn void spinlane_fiber_finish(const Regs *theirs)
// Runs the other side; this one is never run again.
    .p2align 4
    .globl spinlane_fiber_finish
    .hidden spinlane_fiber_finish
    .type spinlane_fiber_finish, %function
spinlane_fiber_finish:
    .cfi_startproc
    mov x1, x0
    mrs x9, fpcr
    load_and_run
    .cfi_endproc
    .size spinlane_fiber_finish, . - spinlane_fiber_finish

// The outermost frame of every fiber. Reached by the first switch to it, with
//   x29  the fiber's Pair: the resumer's Regs lie at x29
//   x19  the function to run; it takes the same pointer and never returns
//   sp   16-byte aligned
    .p2align 4
    .globl spinlane_fiber_entry
    .hidden spinlane_fiber_entry
    .type spinlane_fiber_entry, %function
spinlane_fiber_entry:
    .cfi_startproc
    // The caller's frame lies on another stack, possibly at a lower address.
    // gdb accepts that of signal frames only.
    .cfi_signal_frame
    // The caller is the function that called resume, and its registers are
    // in its Regs. CFA (its sp) = *(x29 + 16); the others are saved at an
    // address. 0x0f DW_CFA_def_cfa_expression, 0x10 DW_CFA_expression,
    // 0x8d DW_OP_breg29, 0x06 DW_OP_deref.
    .cfi_escape 0x0f, 3, 0x8d, 0x10, 0x06
    .cfi_escape 0x10, 29, 2, 0x8d, 0x00 // x29
    .cfi_escape 0x10, 30, 2, 0x8d, 0x08 // x30
    .cfi_escape 0x10, 19, 2, 0x8d, 0x20 // x19
    .cfi_escape 0x10, 20, 2, 0x8d, 0x28 // x20
    .cfi_escape 0x10, 21, 2, 0x8d, 0x30 // x21
    .cfi_escape 0x10, 22, 2, 0x8d, 0x38 // x22
    .cfi_escape 0x10, 23, 3, 0x8d, 0xc0, 0x00 // x23
    .cfi_escape 0x10, 24, 3, 0x8d, 0xc8, 0x00 // x24
    .cfi_escape 0x10, 25, 3, 0x8d, 0xd0, 0x00 // x25
    .cfi_escape 0x10, 26, 3, 0x8d, 0xd8, 0x00 // x26
    .cfi_escape 0x10, 27, 3, 0x8d, 0xe0, 0x00 // x27
    .cfi_escape 0x10, 28, 3, 0x8d, 0xe8, 0x00 // x28
    .cfi_escape 0x10, 72, 3, 0x8d, 0xf0, 0x00 // d8
    .cfi_escape 0x10, 73, 3, 0x8d, 0xf8, 0x00 // d9
    .cfi_escape 0x10, 74, 3, 0x8d, 0x80, 0x01 // d10
    .cfi_escape 0x10, 75, 3, 0x8d, 0x88, 0x01 // d11
    .cfi_escape 0x10, 76, 3, 0x8d, 0x90, 0x01 // d12
    .cfi_escape 0x10, 77, 3, 0x8d, 0x98, 0x01 // d13
    .cfi_escape 0x10, 78, 3, 0x8d, 0xa0, 0x01 // d14
    .cfi_escape 0x10, 79, 3, 0x8d, 0xa8, 0x01 // d15
    mov x0, x29
    // A return address for the unwinder alone: nobody returns here.
    adr x30, 0f
    br x19
0:  brk 1
    .cfi_endproc
    .size spinlane_fiber_entry, . - spinlane_fiber_entry

// void spinlane_fiber_call(void *argument, void (*function)(void *), void *top)
// Calls function(argument) on the stack below top.
    .p2align 4
    .globl spinlane_fiber_call
    .hidden spinlane_fiber_call
    .type spinlane_fiber_call, %function
spinlane_fiber_call:
    .cfi_startproc
    // As above: the caller's frame lies on another stack.
    .cfi_signal_frame
    stp x29, x30, [sp, -16]!
    .cfi_def_cfa_offset 16
    .cfi_offset 29, -16
    .cfi_offset 30, -8
    mov x29, sp
    .cfi_def_cfa_register 29
    mov sp, x2
    blr x1
    mov sp, x29
    .cfi_def_cfa_register 31
    ldp x29, x30, [sp], 16
    .cfi_def_cfa_offset 0
    .cfi_restore 29
    .cfi_restore 30
    ret
    .cfi_endproc
    .size spinlane_fiber_call, . - spinlane_fiber_call
