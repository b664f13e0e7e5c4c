package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Reason says why a request was not granted. Its text is stable: it is the reason of Events and
// conditions, and a label in metrics.
type Reason string

// The reasons.
const (
	PoolExhausted       Reason = "PoolExhausted"
	PortClash           Reason = "PortClash"
	AddressTaken        Reason = "AddressTaken"
	ShareKeyMismatch    Reason = "ShareKeyMismatch"
	NodeAddress         Reason = "NodeAddress"
	OutsidePools        Reason = "OutsidePools"
	UnknownPool         Reason = "UnknownPool"
	NamespaceNotAllowed Reason = "NamespaceNotAllowed"
	NoPool              Reason = "NoPool"
	WrongFamily         Reason = "WrongFamily"
	Malformed           Reason = "Malformed"
	LimitExceeded       Reason = "LimitExceeded"
	PolicyMismatch      Reason = "PolicyMismatch"
	SubnetAddress       Reason = "SubnetAddress"
	AddressNotAllowed   Reason = "AddressNotAllowed"
)

var sentences = map[Reason]string{
	PoolExhausted:       "every address of the pools that it may use is taken",
	PortClash:           "another has the same port at the address",
	AddressTaken:        "the address belongs to another",
	ShareKeyMismatch:    "who has the address gives another share key, or none",
	NodeAddress:         "the address is a node's own",
	OutsidePools:        "the address is in no pool that may give it out",
	UnknownPool:         "there is no pool of this name",
	NamespaceNotAllowed: "the pool is not for this namespace",
	NoPool:              "no pool has addresses of this family for it",
	WrongFamily:         "the address is of a family that the Service does not have",
	Malformed:           "the request contradicts itself or cannot be read",
	SubnetAddress:       "the address is a subnet's own: no host can use it",
	AddressNotAllowed:   "the address is not one that Services may have",
	PolicyMismatch:      "who has the address is announced elsewhere, by its traffic policy or interface",
	LimitExceeded:       "there are too many Services or ports at the address",
}

// Reasons returns every reason.
func Reasons() []Reason { return slices.Sorted(maps.Keys(sentences)) }

// Sentence explains r to a person; it is empty for an unknown reason.
func (r Reason) Sentence() string { return sentences[r] }

// Refusal is the answer to a request, or a part of one, that was not granted.
type Refusal struct {
	Reason Reason
	// Message is the text of an Event: the object, the field, and what to do.
	Message string
}

// refuse says no. what says what is wrong and what to do.
func refuse(reason Reason, what string, args ...any) Refusal {
	return Refusal{reason, fmt.Sprintf(what, args...)}
}

// malformed looks for what makes a request as a whole impossible to grant.
func malformed(r *Request) *Refusal {
	bad := func(reason Reason, what string, args ...any) *Refusal {
		no := refuse(reason, what, args...)
		return &no
	}
	switch families := len(r.Families); {
	case r.Invalid != nil:
		return r.Invalid
	case families == 0 || families > 2 || families == 2 && r.Families[0] == r.Families[1]:
		return bad(Malformed, "the families are %v: give IPv4, IPv6 or both in spec.ipFamilies", r.Families)
	}
	for i, a := range r.Addresses {
		switch {
		case !a.IsValid() || a.Is4In6() || a.Zone() != "":
			return bad(Malformed, "%s: %s is not a plain IPv4 or IPv6 address: write it without a zone, and IPv4 as such", r.Fields.addresses(), a)
		case !slices.Contains(r.Families, FamilyOf(a)):
			return bad(WrongFamily, "%s: %s is %s, which the Service is not: correct it or spec.ipFamilies", r.Fields.addresses(), a, FamilyOf(a))
		case r.asked(FamilyOf(a)) != a || slices.Contains(r.Addresses[:i], a):
			return bad(Malformed, "%s: %s is the second %s address: give at most one of each family", r.Fields.addresses(), a, FamilyOf(a))
		}
	}
	return nil
}

// summary makes one Refusal of all, with the reason of the first, and says what the Service has.
func summary(owner Owner, all []Refusal, has []netip.Addr) Refusal {
	var texts []string
	for _, no := range all {
		if !slices.Contains(texts, no.Message) {
			texts = append(texts, no.Message)
		}
	}
	text := fmt.Sprintf("service %s: %s", owner, strings.Join(texts, "; "))
	if len(has) > 0 {
		text += "; it has " + join(has, " and ") + " now"
	}
	return Refusal{all[0].Reason, text}
}

func join[T fmt.Stringer](items []T, sep string) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.String()
	}
	return strings.Join(texts, sep)
}
