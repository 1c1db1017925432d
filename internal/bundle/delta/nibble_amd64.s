#include "textflag.h"
#include "go_asm.h"

// What nibble_decode.go does with four words, two registers of eight numbers do
// with the instructions that every amd64 has: most of the time of a decoder goes
// by here.

// Eight numbers but the 0th.
DATA above<>+0(SB)/8, $0xffffffffffff0000
DATA above<>+8(SB)/8, $0xffffffffffffffff
GLOBL above<>(SB), RODATA|NOPTR, $16

// LEARN is nibbles.learn for the context at p, which is in lo and hi and has
// seen so many updates. R12 is paceOf, R13 the row of toward for the nibble.
#define LEARN(p, lo, hi, seen) \
	MOVBLZX (R12)(seen*1), seen     \
	LEAL    const_firstShift(seen), R11 \
	MOVL    R11, X7                 \
	SHLL    $9, seen                \
	MOVO    lo, X8                  \
	MOVO    hi, X9                  \
	PSRLW   X7, X8                  \
	PSRLW   X7, X9                  \
	PAND    above<>(SB), X8         \
	PSUBW   X8, lo                  \
	PSUBW   X9, hi                  \
	MOVOU   0(R13)(seen*1), X8      \
	MOVOU   16(R13)(seen*1), X9     \
	PADDW   X8, lo                  \
	PADDW   X9, hi                  \
	MOVOU   lo, 0(p)                \
	MOVOU   hi, 16(p)

// STEP decodes a nibble and makes its contexts learn it.
//
//	DI      in: the coder
//	SI, DX  in: the contexts
//	R8      the coder's state, before and after
//	CX      out: the nibble + 1
//	sums    stack: 16 numbers, where each nibble begins, and the end of the last
//
// It uses R9 to R13 and X0 to X9, not BX. The labels' second parts are in RARE.
//
// In its order: both contexts; their sum, or one of them alone if the other has
// seen nothing (onlya, onlyb); which numbers are above the state, of which the
// first is the end of the nibble; coder.pass; nibbles.learn, twice. The second
// context is read again for that, because it may be the first.
#define STEP(sums, mix, onlya, onlyb, more, refill) \
	MOVOU   0(SI), X0               \
	MOVOU   16(SI), X1              \
	MOVOU   0(DX), X2               \
	MOVOU   16(DX), X3              \
	MOVBLZX 0(SI), R9               \
	MOVBLZX 0(DX), R10              \
	MOVL    R8, R11                 \
	ANDL    $const_lowMask, R11     \
	MOVL    R11, X6                 \
	PSHUFLW $0, X6, X6              \
	PSHUFL  $0, X6, X6              \
	MOVO    X0, X4                  \
	MOVO    X1, X5                  \
	TESTL   R10, R10                \
	JZ      onlya                   \
	TESTL   R9, R9                  \
	JZ      onlyb                   \
	PADDW   X2, X4                  \
	PADDW   X3, X5                  \
mix:                                \
	PAND    above<>(SB), X4         \
	MOVOU   ·floor+0(SB), X7        \
	MOVOU   ·floor+16(SB), X8       \
	PADDW   X7, X4                  \
	PADDW   X8, X5                  \
	MOVOU   X4, sums-40(SP)         \
	MOVOU   X5, sums-24(SP)         \
	PCMPGTW X6, X4                  \
	PCMPGTW X6, X5                  \
	PACKSSWB X5, X4                 \
	PMOVMSKB X4, CX                 \
	ORL     $0x10000, CX            \
	BSFL    CX, CX                  \
	MOVWLZX sums-42(SP)(CX*2), R12  \
	MOVWLZX sums-40(SP)(CX*2), R13  \
	SUBL    R12, R13                \
	SHRQ    $const_totalBits, R8    \
	IMULQ   R13, R8                 \
	SUBL    R12, R11                \
	ADDQ    R11, R8                 \
	MOVQ    $const_lowest, R12      \
	CMPQ    R8, R12                 \
	JCS     refill                  \
more:                               \
	LEAQ    ·paceOf(SB), R12        \
	LEAQ    ·toward-32(SB), R13     \
	MOVQ    CX, R11                 \
	SHLQ    $5, R11                 \
	ADDQ    R11, R13                \
	LEARN(SI, X0, X1, R9)           \
	MOVOU   0(DX), X2               \
	MOVOU   16(DX), X3              \
	MOVBLZX 0(DX), R10              \
	LEARN(DX, X2, X3, R10)

// RARE is what a STEP with the same labels seldom needs. Beyond the end of the
// code there are zeros.
#define RARE(mix, onlya, onlyb, more, refill) \
onlya:                              \
	PADDW   X0, X4                  \
	PADDW   X1, X5                  \
	JMP     mix                     \
onlyb:                              \
	MOVO    X2, X4                  \
	MOVO    X3, X5                  \
	PADDW   X2, X4                  \
	PADDW   X3, X5                  \
	JMP     mix                     \
refill:                             \
	SHLQ    $32, R8                 \
	MOVQ    coder_at(DI), R11       \
	ADDQ    $4, R11                 \
	MOVQ    R11, coder_at(DI)       \
	CMPQ    R11, (coder_in+8)(DI)   \
	JGT     more                    \
	MOVQ    coder_in(DI), R12       \
	MOVL    -4(R12)(R11*1), R12     \
	ORQ     R12, R8                 \
	JMP     more

// func decodeNibble(c *coder, a, b *nibbles) int
TEXT ·decodeNibble(SB), NOSPLIT, $48-32
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ coder_x(DI), R8
	MOVW $0x8000, sums-8(SP)
	STEP(sums, mix, onlya, onlyb, more, refill)
	MOVQ R8, coder_x(DI)
	DECQ CX
	MOVQ CX, ret+24(FP)
	RET
	RARE(mix, onlya, onlyb, more, refill)

// func decodePair(c *coder, a, b *[17]nibbles) int
TEXT ·decodePair(SB), NOSPLIT, $48-32
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ coder_x(DI), R8
	MOVW $0x8000, sums-8(SP)
	STEP(sums, mix, onlya, onlyb, more, refill)
	MOVQ CX, BX
	SHLQ $5, CX                      // the context 1 + nibble
	ADDQ CX, SI
	ADDQ CX, DX
	STEP(sums, mix2, onlya2, onlyb2, more2, refill2)
	MOVQ R8, coder_x(DI)
	DECQ BX
	SHLQ $4, BX
	LEAQ -1(BX)(CX*1), CX
	MOVQ CX, ret+24(FP)
	RET
	RARE(mix, onlya, onlyb, more, refill)
	RARE(mix2, onlya2, onlyb2, more2, refill2)
