package blockdevtest

import (
	"os"
	"strconv"
)

// Scale is how much is tried: 1 for a quick look in every test run, 2 and more
// for every sector of every write and more seeds. It is set by the variable
// CRASH_SIZE in the environment.
func Scale() int {
	n, err := strconv.Atoi(os.Getenv("CRASH_SIZE"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Variants is how many different contents a campaign goes through, which is
// more than one in a long run only.
func Variants() int { return max(1, Scale()/4) }

// seeds is the number of random subsets of unsynced writes that are tried.
func seeds() uint64 { return uint64(4 * Scale()) }

// subsetsUpTo is the number of unsynced writes up to which each subset of them
// is tried, and not only random ones.
const subsetsUpTo = 4

// maxTears bounds the tears of one large write in a quick look; smaller ones
// are torn at every sector.
const maxTears = 16

// longRun is the Scale from which on also writes of zeros are torn at every
// sector.
const longRun = 10

// tearStep returns every how many sectors a write of some sectors is torn.
func tearStep(sectors int64, zeroed bool) int64 {
	if Scale() >= longRun || Scale() > 1 && !zeroed {
		return 1
	}
	return max(1, (sectors-1)/maxTears)
}
