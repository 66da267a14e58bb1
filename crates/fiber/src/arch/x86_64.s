# Context switch for x86_64, System V. Intel syntax, local labels only.
# What it relies on is drawn in arch/mod.rs and x86_64.rs.

    .text

# Enter with jmp, never with call (see x86_64.rs):
#   rax  address to come back to
#   rdi  where to store this side's stack pointer
#   rsi  the other side's stored stack pointer
# Keeps rbx, rbp and rsp; the caller gives up every other register.
    .p2align 4
    .globl spinlane_fiber_switch
    .hidden spinlane_fiber_switch
    .type spinlane_fiber_switch, @function
spinlane_fiber_switch:
    .cfi_startproc
    .cfi_def_cfa rsp, 0
    .cfi_register rip, rax
    push rbx
    .cfi_def_cfa_offset 8
    .cfi_offset rbx, -8
    push rax
    .cfi_def_cfa_offset 16
    .cfi_offset rip, -16
    push rbp
    .cfi_def_cfa_offset 24
    .cfi_offset rbp, -24
    mov [rdi], rsp
    # The other side looks the same from here, so the same directives hold.
    mov rsp, rsi
    pop rbp
    .cfi_def_cfa_offset 16
    .cfi_same_value rbp
    pop rcx
    .cfi_def_cfa_offset 8
    .cfi_register rip, rcx
    pop rbx
    .cfi_def_cfa_offset 0
    .cfi_same_value rbx
    jmp rcx
    .cfi_endproc
    .size spinlane_fiber_switch, . - spinlane_fiber_switch

# Leave a side for good: the same without storing anything.
#   rdi  the other side's stored stack pointer
    .p2align 4
    .globl spinlane_fiber_finish
    .hidden spinlane_fiber_finish
    .type spinlane_fiber_finish, @function
spinlane_fiber_finish:
    .cfi_startproc
    .cfi_def_cfa rdi, 24
    .cfi_offset rbx, -8
    .cfi_offset rip, -16
    .cfi_offset rbp, -24
    mov rsp, rdi
    pop rbp
    .cfi_same_value rbp
    pop rcx
    .cfi_register rip, rcx
    pop rbx
    .cfi_same_value rbx
    jmp rcx
    .cfi_endproc
    .size spinlane_fiber_finish, . - spinlane_fiber_finish

# The outermost frame of every fiber, reached by the first switch to it with
#   rbp  the fiber's Control block
#   rbx  the function to run; it takes the Control block and never returns
#   rsp  16-byte aligned
    .p2align 4
    .globl spinlane_fiber_entry
    .hidden spinlane_fiber_entry
    .type spinlane_fiber_entry, @function
spinlane_fiber_entry:
    .cfi_startproc
    # The caller's frame lies on another stack, possibly at a lower address.
    # gdb accepts that of signal frames only.
    .cfi_signal_frame
    # CFA = the resumer's stored stack pointer + 24, that is, its rsp when it
    # runs on: DW_CFA_def_cfa_expression, 5 bytes:
    # DW_OP_breg6 (rbp) 0, DW_OP_deref, DW_OP_plus_uconst 24.
    .cfi_escape 0x0f, 5, 0x76, 0x00, 0x06, 0x23, 0x18
    .cfi_offset rbx, -8
    .cfi_offset rip, -16
    .cfi_offset rbp, -24
    mov rdi, rbp
    # A return address for the unwinder alone. jmp and not call: nobody
    # returns here, and an unmatched call would put the processor's return
    # predictor out of step with the resumer's frames.
    lea rcx, [rip + 0f]
    push rcx
    jmp rbx
0:
    ud2
    .cfi_endproc
    .size spinlane_fiber_entry, . - spinlane_fiber_entry
