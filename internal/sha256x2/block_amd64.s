#include "textflag.h"

// The round constants: FIPS 180-4, section 4.2.2.
DATA k<>+0x00(SB)/8, $0x71374491428a2f98
DATA k<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA k<>+0x10(SB)/8, $0x59f111f13956c25b
DATA k<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA k<>+0x20(SB)/8, $0x12835b01d807aa98
DATA k<>+0x28(SB)/8, $0x550c7dc3243185be
DATA k<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA k<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA k<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA k<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA k<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA k<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA k<>+0x60(SB)/8, $0xa831c66d983e5152
DATA k<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA k<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA k<>+0x78(SB)/8, $0x1429296706ca6351
DATA k<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA k<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA k<>+0x90(SB)/8, $0x766a0abb650a7354
DATA k<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA k<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA k<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA k<>+0xb0(SB)/8, $0xd6990624d192e819
DATA k<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA k<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA k<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA k<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA k<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA k<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA k<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA k<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA k<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL k<>(SB), RODATA|NOPTR, $256

// Four big-endian words to four of this machine.
DATA swap<>+0(SB)/8, $0x0405060700010203
DATA swap<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $16

// Registers: a's state is in X1 (the words ABEF) and X2 (CDGH), its last 16 words
// of message in X3 to X6; b's in X7, X8 and X9 to X12. X15 is swap. The loop is
// bound by the four or more cycles that SHA256RNDS2 takes to give its result: with
// two messages a second one runs in that time.

// LOAD reads the i'th four words of both blocks.
#define LOAD(i, a, b) \
	MOVOU  (i*16)(SI), a; \
	MOVOU  (i*16)(DI), b; \
	PSHUFB X15, a; \
	PSHUFB X15, b

// ROUNDS does rounds 4i to 4i+3 with the words a and b. The instruction takes two
// words of X0 at a time.
#define ROUNDS(i, a, b) \
	MOVOU       (i*16)(DX), X13; \
	MOVO        X13, X14; \
	PADDD       a, X13; \
	PADDD       b, X14; \
	MOVO        X13, X0; \
	SHA256RNDS2 X0, X1, X2; \
	MOVO        X14, X0; \
	SHA256RNDS2 X0, X7, X8; \
	PSHUFD      $0x0e, X13, X0; \
	SHA256RNDS2 X0, X2, X1; \
	PSHUFD      $0x0e, X14, X0; \
	SHA256RNDS2 X0, X8, X7

// NEXT makes the four words after this, which is after last: into next, to which
// BEGIN was applied when these were the second of four.
#define NEXT(last, this, next) \
	MOVO       this, X0; \
	PALIGNR    $4, last, X0; \
	PADDD      X0, next; \
	SHA256MSG2 this, next

// BEGIN prepares words, which are used up, to become those twelve further on.
#define BEGIN(words, after) \
	SHA256MSG1 after, words

// SCHEDULE does rounds 4i to 4i+3 and makes the words of the next four.
#define SCHEDULE(i, la, ta, na, lb, tb, nb) \
	ROUNDS(i, ta, tb); \
	NEXT(la, ta, na); \
	NEXT(lb, tb, nb); \
	BEGIN(la, ta); \
	BEGIN(lb, tb)

// func blocks2(states *[2][8]uint32, a, b *byte, n int)
TEXT ·blocks2(SB), NOSPLIT, $64-32
	MOVQ states+0(FP), AX
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DI
	MOVQ n+24(FP), CX
	LEAQ k<>(SB), DX
	MOVOU swap<>(SB), X15

	// ABCD and EFGH become ABEF and CDGH, highest word first.
	MOVOU   0(AX), X1
	MOVOU   16(AX), X2
	PSHUFD  $0xb1, X1, X1
	PSHUFD  $0x1b, X2, X2
	MOVO    X1, X0
	PALIGNR $8, X2, X1
	PBLENDW $0xf0, X0, X2
	MOVOU   32(AX), X7
	MOVOU   48(AX), X8
	PSHUFD  $0xb1, X7, X7
	PSHUFD  $0x1b, X8, X8
	MOVO    X7, X0
	PALIGNR $8, X8, X7
	PBLENDW $0xf0, X0, X8

block:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	LOAD(0, X3, X9)
	ROUNDS(0, X3, X9)
	LOAD(1, X4, X10)
	ROUNDS(1, X4, X10)
	BEGIN(X3, X4)
	BEGIN(X9, X10)
	LOAD(2, X5, X11)
	ROUNDS(2, X5, X11)
	BEGIN(X4, X5)
	BEGIN(X10, X11)
	LOAD(3, X6, X12)
	SCHEDULE(3, X5, X6, X3, X11, X12, X9)
	SCHEDULE(4, X6, X3, X4, X12, X9, X10)
	SCHEDULE(5, X3, X4, X5, X9, X10, X11)
	SCHEDULE(6, X4, X5, X6, X10, X11, X12)
	SCHEDULE(7, X5, X6, X3, X11, X12, X9)
	SCHEDULE(8, X6, X3, X4, X12, X9, X10)
	SCHEDULE(9, X3, X4, X5, X9, X10, X11)
	SCHEDULE(10, X4, X5, X6, X10, X11, X12)
	SCHEDULE(11, X5, X6, X3, X11, X12, X9)
	SCHEDULE(12, X6, X3, X4, X12, X9, X10)
	ROUNDS(13, X4, X10)
	NEXT(X3, X4, X5)
	NEXT(X9, X10, X11)
	ROUNDS(14, X5, X11)
	NEXT(X4, X5, X6)
	NEXT(X10, X11, X12)
	ROUNDS(15, X6, X12)

	MOVOU 0(SP), X0
	PADDD X0, X1
	MOVOU 16(SP), X0
	PADDD X0, X2
	MOVOU 32(SP), X0
	PADDD X0, X7
	MOVOU 48(SP), X0
	PADDD X0, X8
	ADDQ  $64, SI
	ADDQ  $64, DI
	DECQ  CX
	JNZ   block

	// And back.
	PSHUFD  $0x1b, X1, X1
	PSHUFD  $0xb1, X2, X2
	MOVO    X1, X0
	PBLENDW $0xf0, X2, X1
	PALIGNR $8, X0, X2
	MOVOU   X1, 0(AX)
	MOVOU   X2, 16(AX)
	PSHUFD  $0x1b, X7, X7
	PSHUFD  $0xb1, X8, X8
	MOVO    X7, X0
	PBLENDW $0xf0, X8, X7
	PALIGNR $8, X0, X8
	MOVOU   X7, 32(AX)
	MOVOU   X8, 48(AX)
	RET
