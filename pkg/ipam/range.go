package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/kvip/kvip/pkg/netaddr"
)

// Range is every address from First to Last, both included, of one family. The zero Range is empty.
type Range struct{ First, Last netip.Addr }

// ParseRange reads a prefix ("192.0.2.0/24"), two addresses ("192.0.2.10-192.0.2.20") or one
// address ("192.0.2.7"), of IPv4 or IPv6. It ignores white space around each. The error has the
// remedy.
func ParseRange(text string) (Range, error) {
	r, err := parseRange(strings.TrimSpace(text))
	if err != nil {
		return Range{}, fmt.Errorf("parse range %q: %w", text, err)
	}
	return r, nil
}

func parseRange(text string) (Range, error) {
	if text == "" {
		return Range{}, errors.New("it is empty: write a prefix like 192.0.2.0/24, " +
			"two addresses like 192.0.2.10-192.0.2.20, or one address")
	}
	if strings.Contains(text, "%") {
		return Range{}, errors.New("it has a zone: remove the percent sign and what follows")
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
		return a, fmt.Errorf("%q is a prefix: "+
			"write one prefix, or two addresses with a dash between", text)
	case err != nil:
		return a, fmt.Errorf("%q is not an IP address", text)
	case !netaddr.Canonical(a):
		return a, fmt.Errorf("%q is an IPv4 address in IPv6 form: write %s", text, a.Unmap())
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
	switch {
	case err != nil:
		return Range{}, fmt.Errorf("prefix length %q is invalid: write a number from 0 to %d",
			after, a.BitLen())
	case p != p.Masked():
		return Range{}, fmt.Errorf("%s is an address inside a prefix: "+
			"write %s for the prefix, or %s for the address", p, p.Masked(), a)
	}
	return Range{a, netipx.PrefixLastIP(p)}, nil
}

// check returns what is wrong with a Range that ParseRange did not make.
func (r Range) check() error {
	switch {
	case !r.First.IsValid() || !r.Last.IsValid():
		return errors.New("an end is missing: give a first and a last address")
	case !netaddr.Canonical(r.First) || !netaddr.Canonical(r.Last):
		return fmt.Errorf("%s-%s has an end with a zone, or IPv4 in IPv6 form: give plain addresses",
			r.First, r.Last)
	case r.First.BitLen() != r.Last.BitLen():
		return fmt.Errorf("%s and %s are of different families: write one range for each",
			r.First, r.Last)
	case r.Last.Less(r.First):
		return fmt.Errorf("the first address is above the last: write %s-%s", r.Last, r.First)
	}
	return nil
}

func (r Range) bounds() netipx.IPRange { return netipx.IPRangeFrom(r.First, r.Last) }

// Contains reports whether a is in r. It is false for addresses with a zone.
func (r Range) Contains(a netip.Addr) bool { return a.Zone() == "" && r.bounds().Contains(a) }

// Size returns the number of addresses, at most math.MaxUint64.
func (r Range) Size() uint64 {
	if r.check() != nil {
		return 0
	}
	high, low := r.distance()
	if high > 0 || low == math.MaxUint64 {
		return math.MaxUint64
	}
	return low + 1
}

// size is Size without a limit, exact below 2^53.
func (r Range) size() float64 {
	high, low := r.distance()
	return math.Ldexp(float64(high), 64) + float64(low) + 1
}

// distance returns Last - First, a number of 128 bits.
func (r Range) distance() (high, low uint64) {
	first, last := r.First.As16(), r.Last.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
	high, _ = bits.Sub64(binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(first[:8]), borrow)
	return high, low
}

// TrimEnds returns r without its first and last address, the network and broadcast address of an
// IPv4 prefix. A range of one or two addresses (RFC 3021) or of IPv6 has no such addresses:
// TrimEnds returns it unchanged.
func (r Range) TrimEnds() Range {
	if r.First.Is6() || r.Size() <= 2 {
		return r
	}
	return Range{r.First.Next(), r.Last.Prev()}
}

// String returns text that ParseRange reads: one address, a prefix, or both ends.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	if p, ok := r.bounds().Prefix(); ok {
		return p.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Merge returns the same addresses in ranges that do not overlap, sorted. The ConfigMap of
// kube-vip's cloud provider may have ranges that overlap. Adjacent ranges stay apart.
func Merge(ranges []Range) []Range {
	var merged []Range
	for _, r := range slices.SortedFunc(slices.Values(ranges), compareFirst) {
		if n := len(merged) - 1; n >= 0 && merged[n].Contains(r.First) {
			if merged[n].Last.Less(r.Last) {
				merged[n].Last = r.Last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func compareFirst(a, b Range) int { return a.First.Compare(b.First) }
