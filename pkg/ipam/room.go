package ipam

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Room is how many addresses of one family a pool has, and how many of them are given out.
type Room struct {
	Used int
	// Size is exact below 2^53.
	Size float64
}

// Room counts the pool's addresses of the family, without those that nobody gets because they belong to nodes or
// subnets.
func (p Pool) Room(f Family, l Ledger, reserved Reserved) Room {
	var room Room
	for _, r := range p.Ranges {
		if r.check() != nil || FamilyOf(r.First) != f {
			continue
		}
		room.Size += r.size()
		if p.AvoidBuggyIPs && f == IPv4 {
			room.Size -= float64(buggy(r))
		}
	}
	for a := range l {
		if FamilyOf(a) == f && p.Contains(a) {
			room.Used++
		}
	}
	for a, r := range reserved.Addresses {
		if _, held := l[a]; !held && r.Owner != ControlPlane && FamilyOf(a) == f && p.Contains(a) {
			room.Size--
		}
	}
	return room
}

// size is Size without a limit.
func (r Range) size() float64 {
	firstHigh, firstLow := halves(r.First)
	lastHigh, lastLow := halves(r.Last)
	return math.Ldexp(float64(lastHigh-firstHigh), 64) + (float64(lastLow) - float64(firstLow)) + 1
}

// String is "used/size"; a large size is a power of two, "0/2^64".
func (r Room) String() string {
	return strconv.Itoa(r.Used) + "/" + sizeText(r.Size)
}

func sizeText(size float64) string {
	if size < 1<<20 {
		return strconv.FormatFloat(size, 'f', -1, 64)
	}
	return "2^" + strings.TrimSuffix(fmt.Sprintf("%.1f", math.Log2(size)), ".0")
}

// RangesText writes the ranges of a pool as people read them, the first few of many.
func (p Pool) RangesText() string {
	const few = 10
	texts := make([]string, 0, few)
	for _, r := range p.Ranges[:min(few, len(p.Ranges))] {
		texts = append(texts, r.String())
	}
	text := strings.Join(texts, ", ")
	if len(p.Ranges) > few {
		text += fmt.Sprintf(" and %d more", len(p.Ranges)-few)
	}
	return text
}

// Has reports whether the pool has addresses of the family.
func (p Pool) Has(f Family) bool {
	for _, r := range p.Ranges {
		if r.First.IsValid() && FamilyOf(r.First) == f {
			return true
		}
	}
	return false
}
