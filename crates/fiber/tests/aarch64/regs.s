// unsigned long switch_checked(Regs *mine, const Regs *theirs, unsigned long seed)
//
// Fills x19 to x28 with seed + 19 and so on, d8 to d15 with seed + 108 and so
// on, calls spinlane_fiber_switch and returns how many of them, x29 or sp came
// back changed.
    .text
    .p2align 4
    .globl switch_checked
    .type switch_checked, %function
switch_checked:
    .cfi_startproc
    stp x29, x30, [sp, -176]!
    .cfi_def_cfa_offset 176
    .cfi_offset 29, -176
    .cfi_offset 30, -168
    stp x19, x20, [sp, 16]
    stp x21, x22, [sp, 32]
    stp x23, x24, [sp, 48]
    stp x25, x26, [sp, 64]
    stp x27, x28, [sp, 80]
    stp d8, d9, [sp, 96]
    stp d10, d11, [sp, 112]
    stp d12, d13, [sp, 128]
    stp d14, d15, [sp, 144]
    mov x29, sp
    str x2, [sp, 160]
    str x29, [sp, 168]
    .irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
    add x\n, x2, \n
    .endr
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    add x9, x2, 100 + \n
    fmov d\n, x9
    .endr
    bl spinlane_fiber_switch
    mov x0, 0
    ldr x2, [sp, 160]
    .irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
    add x9, x2, \n
    cmp x9, x\n
    cinc x0, x0, ne
    .endr
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    add x9, x2, 100 + \n
    fmov x10, d\n
    cmp x9, x10
    cinc x0, x0, ne
    .endr
    ldr x9, [sp, 168]
    cmp x9, x29
    cinc x0, x0, ne
    mov x10, sp
    cmp x9, x10
    cinc x0, x0, ne
    ldp d8, d9, [sp, 96]
    ldp d10, d11, [sp, 112]
    ldp d12, d13, [sp, 128]
    ldp d14, d15, [sp, 144]
    ldp x19, x20, [sp, 16]
    ldp x21, x22, [sp, 32]
    ldp x23, x24, [sp, 48]
    ldp x25, x26, [sp, 64]
    ldp x27, x28, [sp, 80]
    ldp x29, x30, [sp], 176
    ret
    .cfi_endproc
    .size switch_checked, . - switch_checked
    .section .note.GNU-stack, "", %progbits
