package main

import (
	"syscall"
	"time"
)

// scale multiplies a time.
func scale(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// timed measures what build runs in processes of its own, by the account that
// the kernel keeps of this program's children.
func (b *bench) timed(build func() (string, error)) (string, usage, error) {
	before, start := childTime(), time.Now()
	out, err := build()
	return out, usage{cpu: childTime() - before, wall: time.Since(start)}, err
}

func childTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
