//go:build crash

package update

const corruptions = 10000
