// SHA-512's compression function (FIPS 180-4, section 6.4.2), eight or four blocks at a time.
//
//   rdi  states   8 rows of n lanes: a of every lane, b of every lane, …; read and written
//   rsi  blocks  16 rows of n lanes: word 0 of every lane's block, …; read
//
//   v0-7    a to h; the rounds rename them instead of moving them
//   v8-15   temporaries
//   v16-31  the last 16 words of the message schedule, word t in v(16 + t % 16)
//
// v is zmm for eight lanes and ymm for four, which take less time where the vector units are 256 bits wide.
//
// No address and no jump depends on data. Nothing is written to the stack.

// One round: T1 = h + S1(e) + Ch(e,f,g) + K + W; d += T1; h = T1 + S0(a) + Maj(a,b,c).
.macro SPINLANE_SHA512_ROUND v, n, a, b, c, d, e, f, g, h, w, t
    vpaddq \v\h, \v\h, \v\w
    vpaddq \v\h, \v\h, qword ptr [rdx + 8*(\t)]{{1to\n}}
    vprorq \v\()8, \v\e, 14
    vprorq \v\()9, \v\e, 18
    vprorq \v\()10, \v\e, 41
    vmovdqa64 \v\()11, \v\e
    vpternlogq \v\()11, \v\f, \v\g, 0xca // e ? f : g
    vpternlogq \v\()8, \v\()9, \v\()10, 0x96 // exclusive or of all three
    vpaddq \v\h, \v\h, \v\()11
    vprorq \v\()12, \v\a, 28
    vprorq \v\()13, \v\a, 34
    vprorq \v\()14, \v\a, 39
    vmovdqa64 \v\()15, \v\a
    vpternlogq \v\()15, \v\b, \v\c, 0xe8 // majority
    vpternlogq \v\()12, \v\()13, \v\()14, 0x96
    vpaddq \v\d, \v\d, \v\h
    vpaddq \v\()15, \v\()15, \v\h
    vpaddq \v\d, \v\d, \v\()8
    vpaddq \v\()15, \v\()15, \v\()8
    vpaddq \v\h, \v\()15, \v\()12
.endm

// The next word: W(t) = W(t-16) + s0(W(t-15)) + W(t-7) + s1(W(t-2)).
.macro SPINLANE_SHA512_WORD v, w16, w15, w7, w2
    vpaddq \v\w16, \v\w16, \v\w7
    vprorq \v\()8, \v\w15, 1
    vprorq \v\()9, \v\w15, 8
    vpsrlq \v\()10, \v\w15, 7
    vprorq \v\()11, \v\w2, 19
    vprorq \v\()12, \v\w2, 61
    vpsrlq \v\()13, \v\w2, 6
    vpternlogq \v\()8, \v\()9, \v\()10, 0x96
    vpternlogq \v\()11, \v\()12, \v\()13, 0x96
    vpaddq \v\w16, \v\w16, \v\()8
    vpaddq \v\w16, \v\w16, \v\()11
.endm

// The function, over rows of n words in registers of kind v.
.macro SPINLANE_SHA512_LANES name, v, n
    .balign 64
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    .cfi_startproc
    lea rdx, [rip + spinlane_sha512_k]
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vmovdqa64 \v\i, [rdi + 8*\n*\i]
    .endr
    .irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqa64 \v\i, [rsi + 8*\n*(\i - 16)]
    .endr
    SPINLANE_SHA512_ROUND \v, \n, 0, 1, 2, 3, 4, 5, 6, 7, 16, 0
    SPINLANE_SHA512_ROUND \v, \n, 7, 0, 1, 2, 3, 4, 5, 6, 17, 1
    SPINLANE_SHA512_ROUND \v, \n, 6, 7, 0, 1, 2, 3, 4, 5, 18, 2
    SPINLANE_SHA512_ROUND \v, \n, 5, 6, 7, 0, 1, 2, 3, 4, 19, 3
    SPINLANE_SHA512_ROUND \v, \n, 4, 5, 6, 7, 0, 1, 2, 3, 20, 4
    SPINLANE_SHA512_ROUND \v, \n, 3, 4, 5, 6, 7, 0, 1, 2, 21, 5
    SPINLANE_SHA512_ROUND \v, \n, 2, 3, 4, 5, 6, 7, 0, 1, 22, 6
    SPINLANE_SHA512_ROUND \v, \n, 1, 2, 3, 4, 5, 6, 7, 0, 23, 7
    SPINLANE_SHA512_ROUND \v, \n, 0, 1, 2, 3, 4, 5, 6, 7, 24, 8
    SPINLANE_SHA512_ROUND \v, \n, 7, 0, 1, 2, 3, 4, 5, 6, 25, 9
    SPINLANE_SHA512_ROUND \v, \n, 6, 7, 0, 1, 2, 3, 4, 5, 26, 10
    SPINLANE_SHA512_ROUND \v, \n, 5, 6, 7, 0, 1, 2, 3, 4, 27, 11
    SPINLANE_SHA512_ROUND \v, \n, 4, 5, 6, 7, 0, 1, 2, 3, 28, 12
    SPINLANE_SHA512_ROUND \v, \n, 3, 4, 5, 6, 7, 0, 1, 2, 29, 13
    SPINLANE_SHA512_ROUND \v, \n, 2, 3, 4, 5, 6, 7, 0, 1, 30, 14
    SPINLANE_SHA512_ROUND \v, \n, 1, 2, 3, 4, 5, 6, 7, 0, 31, 15
    mov eax, 4
2:
    add rdx, 128
    SPINLANE_SHA512_WORD \v, 16, 17, 25, 30
    SPINLANE_SHA512_ROUND \v, \n, 0, 1, 2, 3, 4, 5, 6, 7, 16, 0
    SPINLANE_SHA512_WORD \v, 17, 18, 26, 31
    SPINLANE_SHA512_ROUND \v, \n, 7, 0, 1, 2, 3, 4, 5, 6, 17, 1
    SPINLANE_SHA512_WORD \v, 18, 19, 27, 16
    SPINLANE_SHA512_ROUND \v, \n, 6, 7, 0, 1, 2, 3, 4, 5, 18, 2
    SPINLANE_SHA512_WORD \v, 19, 20, 28, 17
    SPINLANE_SHA512_ROUND \v, \n, 5, 6, 7, 0, 1, 2, 3, 4, 19, 3
    SPINLANE_SHA512_WORD \v, 20, 21, 29, 18
    SPINLANE_SHA512_ROUND \v, \n, 4, 5, 6, 7, 0, 1, 2, 3, 20, 4
    SPINLANE_SHA512_WORD \v, 21, 22, 30, 19
    SPINLANE_SHA512_ROUND \v, \n, 3, 4, 5, 6, 7, 0, 1, 2, 21, 5
    SPINLANE_SHA512_WORD \v, 22, 23, 31, 20
    SPINLANE_SHA512_ROUND \v, \n, 2, 3, 4, 5, 6, 7, 0, 1, 22, 6
    SPINLANE_SHA512_WORD \v, 23, 24, 16, 21
    SPINLANE_SHA512_ROUND \v, \n, 1, 2, 3, 4, 5, 6, 7, 0, 23, 7
    SPINLANE_SHA512_WORD \v, 24, 25, 17, 22
    SPINLANE_SHA512_ROUND \v, \n, 0, 1, 2, 3, 4, 5, 6, 7, 24, 8
    SPINLANE_SHA512_WORD \v, 25, 26, 18, 23
    SPINLANE_SHA512_ROUND \v, \n, 7, 0, 1, 2, 3, 4, 5, 6, 25, 9
    SPINLANE_SHA512_WORD \v, 26, 27, 19, 24
    SPINLANE_SHA512_ROUND \v, \n, 6, 7, 0, 1, 2, 3, 4, 5, 26, 10
    SPINLANE_SHA512_WORD \v, 27, 28, 20, 25
    SPINLANE_SHA512_ROUND \v, \n, 5, 6, 7, 0, 1, 2, 3, 4, 27, 11
    SPINLANE_SHA512_WORD \v, 28, 29, 21, 26
    SPINLANE_SHA512_ROUND \v, \n, 4, 5, 6, 7, 0, 1, 2, 3, 28, 12
    SPINLANE_SHA512_WORD \v, 29, 30, 22, 27
    SPINLANE_SHA512_ROUND \v, \n, 3, 4, 5, 6, 7, 0, 1, 2, 29, 13
    SPINLANE_SHA512_WORD \v, 30, 31, 23, 28
    SPINLANE_SHA512_ROUND \v, \n, 2, 3, 4, 5, 6, 7, 0, 1, 30, 14
    SPINLANE_SHA512_WORD \v, 31, 16, 24, 29
    SPINLANE_SHA512_ROUND \v, \n, 1, 2, 3, 4, 5, 6, 7, 0, 31, 15
    dec eax
    jnz 2b
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vpaddq \v\i, \v\i, [rdi + 8*\n*\i]
    vmovdqa64 [rdi + 8*\n*\i], \v\i
    .endr
    vzeroupper
    ret
    .cfi_endproc
    .size \name, . - \name
.endm

    .text
    SPINLANE_SHA512_LANES spinlane_sha512_eight, zmm, 8
    SPINLANE_SHA512_LANES spinlane_sha512_four, ymm, 4
