package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Reason is why a request was refused. Its text is stable: it is the reason of Events and
// conditions, and a label of metrics.
type Reason string

// The reasons.
const (
	PoolExhausted       Reason = "PoolExhausted"
	PortConflict        Reason = "PortConflict"
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
	PoolExhausted:       "no address is free in the pools that the Service may use",
	PortConflict:        "the port is in use at the address",
	AddressTaken:        "the address belongs to another Service, or to the control plane",
	ShareKeyMismatch:    "the sharers of the address have another share key, or none",
	NodeAddress:         "the address belongs to a node",
	OutsidePools:        "the address is in no pool that the Service may use",
	UnknownPool:         "the requested pool does not exist",
	NamespaceNotAllowed: "the pool does not allow this namespace",
	NoPool:              "no pool has addresses of this family for the Service",
	WrongFamily:         "the address is not of a family of the Service",
	Malformed:           "the request contradicts itself or cannot be read",
	SubnetAddress:       "the address is a network, broadcast or anycast address of a subnet",
	AddressNotAllowed:   "the address is not usable, or belongs to the cluster",
	PolicyMismatch:      "traffic policy or interface differ from those of the sharers",
	LimitExceeded:       "too many Services or ports share the address",
}

// Reasons returns every reason, sorted.
func Reasons() []Reason { return slices.Sorted(maps.Keys(sentences)) }

// Sentence explains r to a person. It is empty for an unknown reason.
func (r Reason) Sentence() string { return sentences[r] }

// Refusal is the answer to a request, or to a part of one, that was not granted.
type Refusal struct {
	Reason Reason
	// Message is the text of an Event: the object, the field and the remedy.
	Message string
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// rejection is a Refusal about an address. The zero Addr stands for none in particular.
type rejection struct {
	addr netip.Addr
	*Refusal
}

// summarize makes one Refusal of all, with the reason of the first, and adds the Service's
// addresses.
func summarize(service ServiceKey, all []*Refusal, addresses []netip.Addr) Refusal {
	var texts []string
	for _, no := range all {
		if !slices.Contains(texts, no.Message) {
			texts = append(texts, no.Message)
		}
	}
	text := fmt.Sprintf("service %s: %s", service, strings.Join(texts, "; "))
	if len(addresses) > 0 {
		text += "; it has " + join(addresses, " and ") + " now"
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
