package ipam

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// What the ledger may have of one address, whatever users write: an entry of it has to fit into one Lease.
const (
	// MaxHolders is how many Services may have one address together.
	MaxHolders = 256
	// MaxPorts is how many ports these may have in all, with those of the control plane.
	MaxPorts = 1000
	// maxKey is how long a share key is kept as it is, in bytes.
	maxKey = 63
)

// ShareKey is a share key of any length as the ledger has it: a long one, or one of other characters than names
// have, is replaced by its hash. Equal texts give equal keys.
func ShareKey(text string) string {
	plain := !strings.ContainsFunc(text, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.:/", c))
	})
	if plain && len(text) <= maxKey {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// full is what the ledger's bounds have against a new seat at the spot.
func (s *spot) full(new seat) clash {
	ports := len(new.ports)
	for _, one := range s.seats {
		ports += len(one.ports)
	}
	if !new.within && (len(s.seats) >= MaxHolders || ports > MaxPorts) {
		return clash{reason: LimitExceeded, holder: string(s.seats[0].Owner)}
	}
	return clash{}
}
