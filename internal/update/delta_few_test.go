//go:build !crash

package update

const corruptions = 300 // all of them with the tag crash
