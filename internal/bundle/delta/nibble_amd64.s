#include "textflag.h"
#include "go_asm.h"

// What nibble_decode.go does with four words, one register of sixteen numbers
// does with AVX2: most of the time of a decoder goes by here.

// Sixteen numbers but the 0th.
DATA above<>+0(SB)/8, $0xffffffffffff0000
DATA above<>+8(SB)/8, $0xffffffffffffffff
DATA above<>+16(SB)/8, $0xffffffffffffffff
DATA above<>+24(SB)/8, $0xffffffffffffffff
GLOBL above<>(SB), RODATA|NOPTR, $32

// LEARN is nibbles.learn for the context at p, which is in n and has seen so
// many updates. R12 is paceOf, R13 the row of toward for the nibble, Y14 above.
#define LEARN(p, n, seen) \
	MOVBLZX (R12)(seen*1), seen     \
	LEAL    const_firstShift(seen), R11 \
	VMOVD   R11, X7                 \
	SHLL    $9, seen                \
	VPSRLW  X7, n, Y8               \
	VPAND   Y14, Y8, Y8             \
	VPSUBW  Y8, n, n                \
	VPADDW  (R13)(seen*1), n, n     \
	VMOVDQU n, (p)

// BEGIN sets up the registers of STEP.
#define BEGIN \
	MOVQ    c+0(FP), DI             \
	MOVQ    a+8(FP), SI             \
	MOVQ    b+16(FP), DX            \
	MOVQ    coder_x(DI), R8         \
	MOVW    $0x8000, sums-8(SP)     \
	VMOVDQU above<>(SB), Y14        \
	VMOVDQU ·floor+0(SB), Y15

// STEP decodes a nibble and makes its contexts learn it.
//
//	DI      in: the coder
//	SI, DX  in: the contexts
//	R8      the coder's state, before and after
//	CX      out: twice the nibble, + 2
//	sums    stack: 16 numbers, where each nibble begins, and the end of the last
//
// It uses R9 to R13 and Y0 to Y8, not AX and BX. The labels' second parts are in
// RARE.
//
// In its order: both contexts; their sum, or one of them alone if the other has
// seen nothing (onlya, onlyb); which numbers are above the state, of which the
// first is the end of the nibble; coder.pass; nibbles.learn, twice. The second
// context is read again for that, because it may be the first.
#define STEP(mix, onlya, onlyb, more, refill) \
	VMOVDQU (SI), Y0                \
	VMOVDQU (DX), Y1                \
	MOVBLZX (SI), R9                \
	MOVBLZX (DX), R10               \
	MOVL    R8, R11                 \
	ANDL    $const_lowMask, R11     \
	VMOVD   R11, X6                 \
	VPBROADCASTW X6, Y6             \
	TESTL   R10, R10                \
	JZ      onlya                   \
	TESTL   R9, R9                  \
	JZ      onlyb                   \
	VPADDW  Y1, Y0, Y4              \
mix:                                \
	VPAND   Y14, Y4, Y4             \
	VPADDW  Y15, Y4, Y4             \
	VMOVDQU Y4, sums-40(SP)         \
	VPCMPGTW Y6, Y4, Y4             \
	VPMOVMSKB Y4, CX                \
	TZCNTL  CX, CX                  \
	MOVWLZX sums-42(SP)(CX*1), R12  \
	MOVWLZX sums-40(SP)(CX*1), R13  \
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
	SHLQ    $4, R11                 \
	ADDQ    R11, R13                \
	LEARN(SI, Y0, R9)               \
	VMOVDQU (DX), Y1                \
	MOVBLZX (DX), R10               \
	LEARN(DX, Y1, R10)

// RARE is what a STEP with the same labels seldom needs. Beyond the end of the
// code there are zeros.
#define RARE(mix, onlya, onlyb, more, refill) \
onlya:                              \
	VPADDW  Y0, Y0, Y4              \
	JMP     mix                     \
onlyb:                              \
	VPADDW  Y1, Y1, Y4              \
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

// func wideNibble(c *coder, a, b *nibbles) int
TEXT ·wideNibble(SB), NOSPLIT, $48-32
	BEGIN
	STEP(mix, onlya, onlyb, more, refill)
	VZEROUPPER
	MOVQ R8, coder_x(DI)
	SHRQ $1, CX
	DECQ CX
	MOVQ CX, ret+24(FP)
	RET
	RARE(mix, onlya, onlyb, more, refill)

// func wideSymbol(c *coder, a, b *nibbles, p, o *[17]nibbles) int
TEXT ·wideSymbol(SB), NOSPLIT, $48-48
	MOVQ p+24(FP), AX
	MOVQ o+32(FP), BX
	PREFETCHT0 (AX)
	PREFETCHT0 (BX)
	BEGIN
	STEP(mix, onlya, onlyb, more, refill)
	CMPQ CX, $(2*const_tokenLiteral+2)
	JNE  token
	MOVQ AX, SI
	MOVQ BX, DX
	STEP(mix2, onlya2, onlyb2, more2, refill2)
	MOVQ CX, AX
	SHLQ $4, CX                      // the context 1 + nibble
	ADDQ CX, SI
	ADDQ CX, DX
	STEP(mix3, onlya3, onlyb3, more3, refill3)
	VZEROUPPER
	MOVQ R8, coder_x(DI)
	SHLQ $7, AX                      // both are twice the nibble, + 2
	SHLQ $3, CX
	LEAQ -(16+256)(AX)(CX*1), CX     // byte<<4, and tokenLiteral, which is 0
	MOVQ CX, ret+40(FP)
	RET
token:
	VZEROUPPER
	MOVQ R8, coder_x(DI)
	SHRQ $1, CX
	DECQ CX
	MOVQ CX, ret+40(FP)
	RET
	RARE(mix, onlya, onlyb, more, refill)
	RARE(mix2, onlya2, onlyb2, more2, refill2)
	RARE(mix3, onlya3, onlyb3, more3, refill3)
