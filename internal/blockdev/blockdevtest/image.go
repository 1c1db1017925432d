package blockdevtest

import (
	"hash/maphash"
	"slices"
)

const pageSize = 4096

type page [pageSize]byte

// image is the content of a disk. It is a value: a write makes a new image
// that shares with the old one whatever did not change. So a crash point
// costs what its writes cost, and not what the disk holds.
//
// Pages that are not there are zeros, and a page of zeros is never there: two
// images with the same content have the same sum.
type image struct {
	root   *node
	levels int    // of the tree above the pages
	sum    uint64 // a fingerprint of the content
	// unreadable are the sectors, of 512 bytes, that fail to be read until
	// they are written. In order, and never changed in place.
	unreadable []int64
}

const fanout = 64

// node is a page, or fanout nodes one level below.
type node struct {
	page *page
	sum  uint64
	kids *[fanout]*node
}

// newImage returns size bytes of zeros.
func newImage(size int64) image {
	m := image{levels: 1}
	for reach := int64(pageSize * fanout); reach < size; reach *= fanout {
		m.levels++
	}
	return m
}

// at returns the node of page number n; nil when it is zeros.
func (m image) at(n int64) *node {
	at := m.root
	for level := m.levels - 1; at != nil && level >= 0; level-- {
		at = at.kids[n>>(6*level)%fanout]
	}
	return at
}

// set puts a page in the place of page number n; nil is zeros.
func (m image) set(n int64, p *page) image {
	leaf := newLeaf(n, p)
	if old := m.at(n); old != nil {
		m.sum -= old.sum
	}
	if leaf != nil {
		m.sum += leaf.sum
	}
	m.root = m.root.with(n, m.levels-1, leaf)
	return m
}

func (n *node) with(number int64, level int, leaf *node) *node {
	if level < 0 {
		return leaf
	}
	kids := new([fanout]*node)
	if n != nil {
		*kids = *n.kids
	}
	i := number >> (6 * level) % fanout
	kids[i] = kids[i].with(number, level-1, leaf)
	return &node{kids: kids}
}

var (
	sumSeed  = maphash.MakeSeed()
	zeroPage page
)

func newLeaf(n int64, p *page) *node {
	if p == nil || *p == zeroPage {
		return nil
	}
	return &node{page: p, sum: mix(maphash.Bytes(sumSeed, p[:]) ^ uint64(n)*0x9E3779B97F4A7C15)}
}

// mix keeps pages that trade places from giving the same sum (the finaliser
// of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// fingerprint tells images with different content or unreadable sectors apart.
func (m image) fingerprint() uint64 {
	sum := m.sum
	for _, s := range m.unreadable {
		sum += mix(uint64(s) ^ 0xBAD5EC708)
	}
	return sum
}

func (m image) read(p []byte, off int64) {
	for len(p) > 0 {
		in := off % pageSize
		n := min(int64(len(p)), pageSize-in)
		if at := m.at(off / pageSize); at != nil {
			copy(p[:n], at.page[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

// write returns the image with data at byte off.
func (m image) write(data []byte, off int64) image {
	m = m.readable(off, int64(len(data)))
	for len(data) > 0 {
		in := off % pageSize
		n := min(int64(len(data)), pageSize-in)
		p := new(page)
		if at := m.at(off / pageSize); at != nil && n < pageSize {
			*p = *at.page
		}
		copy(p[in:], data[:n])
		m = m.set(off/pageSize, p)
		data, off = data[n:], off+n
	}
	return m
}

// zero returns the image with zeros in [off, off+length).
func (m image) zero(off, length int64) image {
	m = m.readable(off, length)
	for length > 0 {
		in := off % pageSize
		n := min(length, pageSize-in)
		if at := m.at(off / pageSize); at != nil {
			p := new(page)
			if n < pageSize {
				*p = *at.page
				clear(p[in : in+n])
			}
			m = m.set(off/pageSize, p)
		}
		off, length = off+n, length-n
	}
	return m
}

// spoil returns the image with [off, off+length), whole sectors, unreadable.
func (m image) spoil(off, length int64) image {
	m = m.readable(off, length)
	m.unreadable = slices.Clone(m.unreadable)
	for s := off / 512; s < (off+length)/512; s++ {
		m.unreadable = append(m.unreadable, s)
	}
	slices.Sort(m.unreadable)
	return m
}

// readable returns the image with no unreadable sector in [off, off+length).
func (m image) readable(off, length int64) image {
	if m.fails(off, length) {
		m.unreadable = slices.DeleteFunc(slices.Clone(m.unreadable), func(s int64) bool {
			return s*512 >= off && (s+1)*512 <= off+length
		})
	}
	return m
}

// fails reports whether reading [off, off+length) meets an unreadable sector.
func (m image) fails(off, length int64) bool {
	for _, s := range m.unreadable {
		if s*512 < off+length && off < (s+1)*512 {
			return true
		}
	}
	return false
}
