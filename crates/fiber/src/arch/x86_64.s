# The outermost frame of every fiber on x86_64, and a call on another stack. Intel syntax.

    .text
    .p2align 4
    .globl spinlane_fiber_entry
    .hidden spinlane_fiber_entry
    .type spinlane_fiber_entry, @function

# Reached by the first switch to a fiber, with
#   rbp  the fiber's Regs pair: the resumer's Regs lie at rbp
#   rbx  the function to run; it takes the same pointer and never returns
#   rsp  16-byte aligned
spinlane_fiber_entry:
    .cfi_startproc
    # The caller's frame lies on another stack, possibly at a lower address.
    # gdb accepts that of signal frames only.
    .cfi_signal_frame
    # The caller is the function that called resume, and its registers are in
    # its Regs. CFA (its rsp) = *(rbp + 16); the others are saved at an
    # address: rbp (6) at rbp + 0, rip (16) at rbp + 8, rbx (3) at rbp + 24.
    # r12 to r15 are lost, as the resumer knows.
    # 0x0f DW_CFA_def_cfa_expression, 0x10 DW_CFA_expression,
    # 0x76 DW_OP_breg6, 0x06 DW_OP_deref.
    .cfi_escape 0x0f, 3, 0x76, 16, 0x06
    .cfi_escape 0x10, 6, 2, 0x76, 0
    .cfi_escape 0x10, 16, 2, 0x76, 8
    .cfi_escape 0x10, 3, 2, 0x76, 24
    .cfi_undefined r12
    .cfi_undefined r13
    .cfi_undefined r14
    .cfi_undefined r15
    mov rdi, rbp
    # A return address for the unwinder alone. jmp and not call: nobody
    # returns here, and an unmatched call would put the processor's return
    # predictor out of step with the resumer's frames.
    lea rax, [rip + 0f]
    push rax
    jmp rbx
0:
    ud2
    .cfi_endproc
    .size spinlane_fiber_entry, . - spinlane_fiber_entry

# void spinlane_fiber_call(void *argument, void (*function)(void *), void *top)
# Calls function(argument) on the stack below top.
    .p2align 4
    .globl spinlane_fiber_call
    .hidden spinlane_fiber_call
    .type spinlane_fiber_call, @function
spinlane_fiber_call:
    .cfi_startproc
    # As above: the caller's frame lies on another stack.
    .cfi_signal_frame
    push rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    mov rsp, rdx
    call rsi
    mov rsp, rbp
    pop rbp
    .cfi_def_cfa rsp, 8
    ret
    .cfi_endproc
    .size spinlane_fiber_call, . - spinlane_fiber_call
