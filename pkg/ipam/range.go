package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
)

// Range is every address from First to Last, both included, of one family. The zero Range is empty.
type Range struct{ First, Last netip.Addr }

// ParseRange reads a prefix ("192.0.2.0/24"), two addresses ("192.0.2.10-192.0.2.20") or one
// ("192.0.2.7"), IPv6 alike; white space around each is ignored. The error says what to write instead.
func ParseRange(text string) (Range, error) {
	r, err := parseRange(strings.TrimSpace(text))
	if err != nil {
		return Range{}, fmt.Errorf("parse range %q: %w", text, err)
	}
	return r, nil
}

func parseRange(text string) (Range, error) {
	if text == "" {
		return Range{}, errors.New("it is empty: write a prefix like 192.0.2.0/24, two addresses like 192.0.2.10-192.0.2.20, or one")
	}
	if strings.Contains(text, "%") {
		return Range{}, errors.New("an address that other hosts use has no zone: leave out the percent sign and what follows")
	}
	from, to, two := strings.Cut(text, "-")
	if strings.Contains(text, "/") && !two {
		return parsePrefix(text)
	}
	first, err := parseAddr(strings.TrimSpace(from))
	if err != nil || !two {
		return Range{first, first}, err
	}
	last, err := parseAddr(strings.TrimSpace(to))
	if err != nil {
		return Range{}, err
	}
	r := Range{first, last}
	return r, r.check()
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil && strings.Contains(text, "/"):
		return a, fmt.Errorf("%q is a prefix: write either one prefix, or two addresses with a dash between them", text)
	case err != nil:
		return a, fmt.Errorf("%q is not an IP address", text)
	case a.Is4In6():
		return a, fmt.Errorf("%q is an IPv4 address written as IPv6: write %s", text, a.Unmap())
	}
	return a, nil
}

func parsePrefix(text string) (Range, error) {
	before, after, _ := strings.Cut(text, "/")
	a, err := parseAddr(strings.TrimSpace(before))
	if err != nil {
		return Range{}, err
	}
	p, err := netip.ParsePrefix(a.String() + "/" + strings.TrimSpace(after))
	if err != nil {
		return Range{}, fmt.Errorf("after the slash stands %q: write a number from 0 to %d", after, a.BitLen())
	}
	if p != p.Masked() {
		return Range{}, fmt.Errorf("%s is an address inside a prefix: write %s for all of the prefix, or %s alone", p, p.Masked(), a)
	}
	return Range{a, lastOf(p)}, nil
}

// check says what is wrong with a Range that was not made by ParseRange.
func (r Range) check() error {
	switch {
	case !r.First.IsValid() || !r.Last.IsValid():
		return errors.New("an end is missing: give a first and a last address")
	case r.First.Is4In6() || r.Last.Is4In6() || r.First.Zone() != "" || r.Last.Zone() != "":
		return fmt.Errorf("%s-%s has an end with a zone, or IPv4 written as IPv6: give plain addresses", r.First, r.Last)
	case r.First.BitLen() != r.Last.BitLen():
		return fmt.Errorf("%s and %s are of different families: write one range for each", r.First, r.Last)
	case r.Last.Less(r.First):
		return fmt.Errorf("it runs backwards: write %s-%s", r.Last, r.First)
	}
	return nil
}

// Contains says whether a lies in r. Addresses with a zone never do.
func (r Range) Contains(a netip.Addr) bool {
	return a.IsValid() && a.BitLen() == r.First.BitLen() && a.Zone() == "" && !a.Less(r.First) && !r.Last.Less(a)
}

// Size is the number of addresses, or math.MaxUint64 where there are more.
func (r Range) Size() uint64 {
	if r.check() != nil {
		return 0
	}
	firstHigh, firstLow := halves(r.First)
	lastHigh, lastLow := halves(r.Last)
	low, borrow := bits.Sub64(lastLow, firstLow, 0)
	if high, _ := bits.Sub64(lastHigh, firstHigh, borrow); high > 0 || low == math.MaxUint64 {
		return math.MaxUint64
	}
	return low + 1
}

// WithoutEnds leaves out the first and the last address, which in an IPv4 prefix are the network's and
// the broadcast address. One or two addresses have none of these (RFC 3021), nor has IPv6: such a range
// stays as it is.
func (r Range) WithoutEnds() Range {
	if r.First.Is6() || r.Size() <= 2 {
		return r
	}
	return Range{r.First.Next(), r.Last.Prev()}
}

// String is what ParseRange reads: one address, a prefix where r is one, or both ends.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	if p := r.prefix(); p.IsValid() && p.Addr() == r.First && lastOf(p) == r.Last {
		return p.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// prefix is the longest prefix that contains both ends; invalid where they are of different families.
func (r Range) prefix() netip.Prefix {
	if r.check() != nil {
		return netip.Prefix{}
	}
	firstHigh, firstLow := halves(r.First)
	lastHigh, lastLow := halves(r.Last)
	common := bits.LeadingZeros64(firstHigh ^ lastHigh)
	if common == 64 {
		common += bits.LeadingZeros64(firstLow ^ lastLow)
	}
	p, _ := r.First.Prefix(common - 128 + r.First.BitLen())
	return p
}

// lastOf is the highest address of p.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// halves is a as a number of 128 bits.
func halves(a netip.Addr) (high, low uint64) {
	bytes := a.As16()
	return binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])
}
