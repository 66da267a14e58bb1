// SHA-512's compression function (FIPS 180-4, section 6.4.2), eight blocks at a time.
//
//   rdi  states   8 rows of 8 lanes: a of every lane, b of every lane, …; read and written
//   rsi  blocks  16 rows of 8 lanes: word 0 of every lane's block, …; read, then zeroed
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
    vpxorq zmm8, zmm8, zmm8
    .irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqa64 zmm\i, [rsi + 64*(\i - 16)]
    vmovdqa64 [rsi + 64*(\i - 16)], zmm8
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

// The first 64 bits of the fractional parts of the cube roots of the first 80 primes
// (section 4.2.3).
    .section .rodata
    .balign 64
    .type spinlane_sha512_k, @object
spinlane_sha512_k:
    .quad 0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc
    .quad 0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118
    .quad 0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2
    .quad 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694
    .quad 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65
    .quad 0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5
    .quad 0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4
    .quad 0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70
    .quad 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df
    .quad 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b
    .quad 0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30
    .quad 0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8
    .quad 0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8
    .quad 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3
    .quad 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec
    .quad 0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b
    .quad 0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178
    .quad 0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b
    .quad 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c
    .quad 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817
    .size spinlane_sha512_k, . - spinlane_sha512_k
    .text
