package config

import (
	"fmt"
	"maps"
	"slices"
)

// suggest names the key that was probably meant, or what there is.
func suggest[V any](name string, known map[string]V) string {
	keys := slices.Sorted(maps.Keys(known))
	best, least := "", 3 // up to two typing errors
	for _, k := range keys {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return fmt.Sprintf(": there are %q", keys)
}

// distance is the number of bytes to insert, delete or replace that lead from
// a to b (Levenshtein). Long names are far from anything.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
