// SHA-512's compression function (FIPS 180-4, section 6.4.2), eight blocks at a time.
//
//   rdi  states   8 rows of 8 lanes: a of every lane, b of every lane, …; read and written
//   rsi  blocks  16 rows of 8 lanes: word 0 of every lane's block, …; read
//
//   zmm0-7    a to h; the rounds rename them instead of moving them
//   zmm8-15   temporaries
//   zmm16-31  the last 16 words of the message schedule, word t in zmm(16 + t % 16)
//
// No address and no jump depends on data. Nothing is written to the stack.

// One round: T1 = h + S1(e) + Ch(e,f,g) + K + W; d += T1; h = T1 + S0(a) + Maj(a,b,c).
.macro SPINLANE_SHA512_ROUND a, b, c, d, e, f, g, h, w, t
    vpaddq zmm\h, zmm\h, zmm\w
    vpaddq zmm\h, zmm\h, qword ptr [rdx + 8*(\t)]{{1to8}}
    vprorq zmm8, zmm\e, 14
    vprorq zmm9, zmm\e, 18
    vprorq zmm10, zmm\e, 41
    vmovdqa64 zmm11, zmm\e
    vpternlogq zmm11, zmm\f, zmm\g, 0xca // e ? f : g
    vpternlogq zmm8, zmm9, zmm10, 0x96 // exclusive or of all three
    vpaddq zmm\h, zmm\h, zmm11
    vprorq zmm12, zmm\a, 28
    vprorq zmm13, zmm\a, 34
    vprorq zmm14, zmm\a, 39
    vmovdqa64 zmm15, zmm\a
    vpternlogq zmm15, zmm\b, zmm\c, 0xe8 // majority
    vpternlogq zmm12, zmm13, zmm14, 0x96
    vpaddq zmm\d, zmm\d, zmm\h
    vpaddq zmm15, zmm15, zmm\h
    vpaddq zmm\d, zmm\d, zmm8
    vpaddq zmm15, zmm15, zmm8
    vpaddq zmm\h, zmm15, zmm12
.endm

// The next word: W(t) = W(t-16) + s0(W(t-15)) + W(t-7) + s1(W(t-2)).
.macro SPINLANE_SHA512_WORD w16, w15, w7, w2
    vpaddq zmm\w16, zmm\w16, zmm\w7
    vprorq zmm8, zmm\w15, 1
    vprorq zmm9, zmm\w15, 8
    vpsrlq zmm10, zmm\w15, 7
    vprorq zmm11, zmm\w2, 19
    vprorq zmm12, zmm\w2, 61
    vpsrlq zmm13, zmm\w2, 6
    vpternlogq zmm8, zmm9, zmm10, 0x96
    vpternlogq zmm11, zmm12, zmm13, 0x96
    vpaddq zmm\w16, zmm\w16, zmm8
    vpaddq zmm\w16, zmm\w16, zmm11
.endm

    .text
    .balign 64
    .globl spinlane_sha512_lanes
    .hidden spinlane_sha512_lanes
    .type spinlane_sha512_lanes, @function
spinlane_sha512_lanes:
    .cfi_startproc
    lea rdx, [rip + spinlane_sha512_k]
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vmovdqa64 zmm\i, [rdi + 64*\i]
    .endr
    .irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqa64 zmm\i, [rsi + 64*(\i - 16)]
    .endr
    SPINLANE_SHA512_ROUND 0, 1, 2, 3, 4, 5, 6, 7, 16, 0
    SPINLANE_SHA512_ROUND 7, 0, 1, 2, 3, 4, 5, 6, 17, 1
    SPINLANE_SHA512_ROUND 6, 7, 0, 1, 2, 3, 4, 5, 18, 2
    SPINLANE_SHA512_ROUND 5, 6, 7, 0, 1, 2, 3, 4, 19, 3
    SPINLANE_SHA512_ROUND 4, 5, 6, 7, 0, 1, 2, 3, 20, 4
    SPINLANE_SHA512_ROUND 3, 4, 5, 6, 7, 0, 1, 2, 21, 5
    SPINLANE_SHA512_ROUND 2, 3, 4, 5, 6, 7, 0, 1, 22, 6
    SPINLANE_SHA512_ROUND 1, 2, 3, 4, 5, 6, 7, 0, 23, 7
    SPINLANE_SHA512_ROUND 0, 1, 2, 3, 4, 5, 6, 7, 24, 8
    SPINLANE_SHA512_ROUND 7, 0, 1, 2, 3, 4, 5, 6, 25, 9
    SPINLANE_SHA512_ROUND 6, 7, 0, 1, 2, 3, 4, 5, 26, 10
    SPINLANE_SHA512_ROUND 5, 6, 7, 0, 1, 2, 3, 4, 27, 11
    SPINLANE_SHA512_ROUND 4, 5, 6, 7, 0, 1, 2, 3, 28, 12
    SPINLANE_SHA512_ROUND 3, 4, 5, 6, 7, 0, 1, 2, 29, 13
    SPINLANE_SHA512_ROUND 2, 3, 4, 5, 6, 7, 0, 1, 30, 14
    SPINLANE_SHA512_ROUND 1, 2, 3, 4, 5, 6, 7, 0, 31, 15
    mov eax, 4
2:
    add rdx, 128
    SPINLANE_SHA512_WORD 16, 17, 25, 30
    SPINLANE_SHA512_ROUND 0, 1, 2, 3, 4, 5, 6, 7, 16, 0
    SPINLANE_SHA512_WORD 17, 18, 26, 31
    SPINLANE_SHA512_ROUND 7, 0, 1, 2, 3, 4, 5, 6, 17, 1
    SPINLANE_SHA512_WORD 18, 19, 27, 16
    SPINLANE_SHA512_ROUND 6, 7, 0, 1, 2, 3, 4, 5, 18, 2
    SPINLANE_SHA512_WORD 19, 20, 28, 17
    SPINLANE_SHA512_ROUND 5, 6, 7, 0, 1, 2, 3, 4, 19, 3
    SPINLANE_SHA512_WORD 20, 21, 29, 18
    SPINLANE_SHA512_ROUND 4, 5, 6, 7, 0, 1, 2, 3, 20, 4
    SPINLANE_SHA512_WORD 21, 22, 30, 19
    SPINLANE_SHA512_ROUND 3, 4, 5, 6, 7, 0, 1, 2, 21, 5
    SPINLANE_SHA512_WORD 22, 23, 31, 20
    SPINLANE_SHA512_ROUND 2, 3, 4, 5, 6, 7, 0, 1, 22, 6
    SPINLANE_SHA512_WORD 23, 24, 16, 21
    SPINLANE_SHA512_ROUND 1, 2, 3, 4, 5, 6, 7, 0, 23, 7
    SPINLANE_SHA512_WORD 24, 25, 17, 22
    SPINLANE_SHA512_ROUND 0, 1, 2, 3, 4, 5, 6, 7, 24, 8
    SPINLANE_SHA512_WORD 25, 26, 18, 23
    SPINLANE_SHA512_ROUND 7, 0, 1, 2, 3, 4, 5, 6, 25, 9
    SPINLANE_SHA512_WORD 26, 27, 19, 24
    SPINLANE_SHA512_ROUND 6, 7, 0, 1, 2, 3, 4, 5, 26, 10
    SPINLANE_SHA512_WORD 27, 28, 20, 25
    SPINLANE_SHA512_ROUND 5, 6, 7, 0, 1, 2, 3, 4, 27, 11
    SPINLANE_SHA512_WORD 28, 29, 21, 26
    SPINLANE_SHA512_ROUND 4, 5, 6, 7, 0, 1, 2, 3, 28, 12
    SPINLANE_SHA512_WORD 29, 30, 22, 27
    SPINLANE_SHA512_ROUND 3, 4, 5, 6, 7, 0, 1, 2, 29, 13
    SPINLANE_SHA512_WORD 30, 31, 23, 28
    SPINLANE_SHA512_ROUND 2, 3, 4, 5, 6, 7, 0, 1, 30, 14
    SPINLANE_SHA512_WORD 31, 16, 24, 29
    SPINLANE_SHA512_ROUND 1, 2, 3, 4, 5, 6, 7, 0, 31, 15
    dec eax
    jnz 2b
    .irp i, 0, 1, 2, 3, 4, 5, 6, 7
    vpaddq zmm\i, zmm\i, [rdi + 64*\i]
    vmovdqa64 [rdi + 64*\i], zmm\i
    .endr
    vzeroupper
    ret
    .cfi_endproc
    .size spinlane_sha512_lanes, . - spinlane_sha512_lanes
