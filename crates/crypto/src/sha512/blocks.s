// SHA-512's compression function (FIPS 180-4, section 6.4.2), block after block.
//
//   rdi  state   8 words, read and written
//   rsi  data    rdx blocks of 128 bytes, read
//
//   r8-r15      a to h; the rounds rename them instead of moving them
//   xmm0-7      the last 16 words of the message schedule, two in each
//   [rsp]       the next 16 words, their constants added; zeroed at the end
//
// The rounds wait for one another in the integer units; in their shade the vector units do the message
// schedule, two words at a time. No address and no jump depends on data.

// One round. rdx: b ^ c before, a ^ b after, of which Maj(a,b,c) = ((a ^ b) & (b ^ c)) ^ b is made.
.macro SPINLANE_SHA512_STEP a, b, c, d, e, f, g, h, t
    add \h, [rsp + 8*(\t)]
    rorx rax, \e, 14
    rorx rbx, \e, 18
    mov rcx, \e
    and rcx, \f
    xor rax, rbx
    rorx rbx, \e, 41
    andn rbp, \e, \g
    add \h, rcx
    xor rax, rbx
    add \h, rbp
    rorx rcx, \a, 28
    rorx rbp, \a, 34
    add \h, rax
    xor rcx, rbp
    rorx rbp, \a, 39
    add \d, \h
    mov rax, \a
    xor rcx, rbp
    xor rax, \b
    add \h, rcx
    and rdx, rax
    xor rdx, \b
    add \h, rdx
    mov rdx, rax
.endm

// Two words: W(t) = W(t-16) + s0(W(t-15)) + W(t-7) + s1(W(t-2)). x0 to x7 are W(t-16) to W(t-1).
// Nothing where `schedule` is 0.
.macro SPINLANE_SHA512_TWO_WORDS schedule, x0, x1, x4, x5, x7, t
.if \schedule
    vpalignr xmm8, \x1, \x0, 8
    vpalignr xmm9, \x5, \x4, 8
    vprorq xmm10, xmm8, 1
    vprorq xmm11, xmm8, 8
    vpsrlq xmm8, xmm8, 7
    vpaddq \x0, \x0, xmm9
    vprorq xmm12, \x7, 19
    vprorq xmm13, \x7, 61
    vpsrlq xmm14, \x7, 6
    vpternlogq xmm8, xmm10, xmm11, 0x96 // exclusive or of all three
    vpternlogq xmm12, xmm13, xmm14, 0x96
    vpaddq \x0, \x0, xmm8
    vpaddq \x0, \x0, xmm12
    vpaddq xmm9, \x0, [rdi + 8*(\t)]
    vmovdqa [rsp + 8*(\t)], xmm9
.endif
.endm

// Sixteen rounds, and in their shade the next sixteen words, where `schedule` is 1.
.macro SPINLANE_SHA512_SIXTEEN schedule
    SPINLANE_SHA512_STEP r8, r9, r10, r11, r12, r13, r14, r15, 0
    SPINLANE_SHA512_STEP r15, r8, r9, r10, r11, r12, r13, r14, 1
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm0, xmm1, xmm4, xmm5, xmm7, 0
    SPINLANE_SHA512_STEP r14, r15, r8, r9, r10, r11, r12, r13, 2
    SPINLANE_SHA512_STEP r13, r14, r15, r8, r9, r10, r11, r12, 3
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm1, xmm2, xmm5, xmm6, xmm0, 2
    SPINLANE_SHA512_STEP r12, r13, r14, r15, r8, r9, r10, r11, 4
    SPINLANE_SHA512_STEP r11, r12, r13, r14, r15, r8, r9, r10, 5
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm2, xmm3, xmm6, xmm7, xmm1, 4
    SPINLANE_SHA512_STEP r10, r11, r12, r13, r14, r15, r8, r9, 6
    SPINLANE_SHA512_STEP r9, r10, r11, r12, r13, r14, r15, r8, 7
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm3, xmm4, xmm7, xmm0, xmm2, 6
    SPINLANE_SHA512_STEP r8, r9, r10, r11, r12, r13, r14, r15, 8
    SPINLANE_SHA512_STEP r15, r8, r9, r10, r11, r12, r13, r14, 9
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm4, xmm5, xmm0, xmm1, xmm3, 8
    SPINLANE_SHA512_STEP r14, r15, r8, r9, r10, r11, r12, r13, 10
    SPINLANE_SHA512_STEP r13, r14, r15, r8, r9, r10, r11, r12, 11
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm5, xmm6, xmm1, xmm2, xmm4, 10
    SPINLANE_SHA512_STEP r12, r13, r14, r15, r8, r9, r10, r11, 12
    SPINLANE_SHA512_STEP r11, r12, r13, r14, r15, r8, r9, r10, 13
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm6, xmm7, xmm2, xmm3, xmm5, 12
    SPINLANE_SHA512_STEP r10, r11, r12, r13, r14, r15, r8, r9, 14
    SPINLANE_SHA512_STEP r9, r10, r11, r12, r13, r14, r15, r8, 15
    SPINLANE_SHA512_TWO_WORDS \schedule, xmm7, xmm0, xmm3, xmm4, xmm6, 14
.endm

    .text
    .balign 64
    .globl spinlane_sha512_blocks
    .hidden spinlane_sha512_blocks
    .type spinlane_sha512_blocks, @function
spinlane_sha512_blocks:
    .cfi_startproc
    .irp register, rbx, rbp, r12, r13, r14, r15
    push \register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \register, 0
    .endr
    sub rsp, 152
    .cfi_adjust_cfa_offset 152
    mov [rsp + 128], rdi
    mov [rsp + 136], rsi
    mov [rsp + 144], rdx
    mov r8, [rdi + 0]
    mov r9, [rdi + 8]
    mov r10, [rdi + 16]
    mov r11, [rdi + 24]
    mov r12, [rdi + 32]
    mov r13, [rdi + 40]
    mov r14, [rdi + 48]
    mov r15, [rdi + 56]
    vmovdqa xmm15, [rip + spinlane_sha512_swap]
3:
    lea rdi, [rip + spinlane_sha512_k]
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vmovdqu xmm\i, [rsi + 16*\i]
    vpshufb xmm\i, xmm\i, xmm15
    vpaddq xmm9, xmm\i, [rdi + 16*\i]
    vmovdqa [rsp + 16*\i], xmm9
    .endr
    mov rdx, r9
    xor rdx, r10
    mov esi, 4
2:
    add rdi, 128
    SPINLANE_SHA512_SIXTEEN 1
    dec esi
    jnz 2b
    SPINLANE_SHA512_SIXTEEN 0
    mov rdi, [rsp + 128]
    add r8, [rdi + 0]
    mov [rdi + 0], r8
    add r9, [rdi + 8]
    mov [rdi + 8], r9
    add r10, [rdi + 16]
    mov [rdi + 16], r10
    add r11, [rdi + 24]
    mov [rdi + 24], r11
    add r12, [rdi + 32]
    mov [rdi + 32], r12
    add r13, [rdi + 40]
    mov [rdi + 40], r13
    add r14, [rdi + 48]
    mov [rdi + 48], r14
    add r15, [rdi + 56]
    mov [rdi + 56], r15
    mov rsi, [rsp + 136]
    add rsi, 128
    mov [rsp + 136], rsi
    dec qword ptr [rsp + 144]
    jnz 3b
    vpxor xmm8, xmm8, xmm8
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vmovdqa [rsp + 16*\i], xmm8
    .endr
    add rsp, 152
    .cfi_adjust_cfa_offset -152
    .irp register, r15, r14, r13, r12, rbp, rbx
    pop \register
    .cfi_adjust_cfa_offset -8
    .cfi_restore \register
    .endr
    ret
    .cfi_endproc
    .size spinlane_sha512_blocks, . - spinlane_sha512_blocks
