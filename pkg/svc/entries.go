package svc

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/ipam"
)

// entry is one Service at an address as the ledger's annotation has it.
type entry struct {
	Service ipam.ServiceKey `json:"service"`
	Pool    string          `json:"pool,omitempty"`
	Key     string          `json:"key,omitempty"`
	Ports   []string        `json:"ports,omitempty"` // as 80/TCP
	Terms   string          `json:"terms,omitempty"`
}

// EncodeLedger writes the ledger's annotation. Equal ledgers give equal texts.
func EncodeLedger(l ipam.Ledger) string {
	raw := make(map[string][]entry, len(l))
	for addr, entries := range l {
		raw[addr.String()] = encode(entries)
	}
	text, err := json.Marshal(raw)
	if err != nil {
		return "{}" // cannot happen: it is made of strings
	}
	return string(text)
}

func encode(entries []ipam.Entry) []entry {
	list := make([]entry, 0, len(entries))
	for _, e := range entries {
		encoded := entry{Service: e.Service, Pool: e.Pool, Key: e.Key, Terms: e.Terms}
		for _, p := range e.Ports {
			encoded.Ports = append(encoded.Ports, strconv.Itoa(int(p.Number))+"/"+p.Protocol)
		}
		list = append(list, encoded)
	}
	return list
}

// DecodeLedger reads the ledger's annotation; what cannot be read is left out, so that a spoilt
// entry takes no address from the other Services.
func DecodeLedger(text string) ipam.Ledger {
	var raw map[string][]entry
	if json.Unmarshal([]byte(text), &raw) != nil {
		return ipam.Ledger{}
	}
	ledger := make(ipam.Ledger, len(raw))
	for key, list := range raw {
		addr, err := netip.ParseAddr(key)
		if err != nil || addr.String() != key || addr.Zone() != "" || addr.Is4In6() {
			continue // no kvip has written it
		}
		for _, e := range list {
			ledger[addr] = append(ledger[addr],
				ipam.Entry{Service: e.Service, Pool: e.Pool, Key: e.Key, Ports: ports(e.Ports), Terms: e.Terms})
		}
	}
	return ledger
}

func ports(texts []string) []ipam.Port {
	var list []ipam.Port
	for _, text := range texts {
		number, protocol, _ := strings.Cut(text, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			list = append(list, ipam.Port{Protocol: protocol, Number: uint16(n)})
		}
	}
	return list
}

// EntrySize is how many bytes an address adds to the ledger's annotation, at the most.
func EntrySize(addr netip.Addr, entries []ipam.Entry) int {
	text, err := json.Marshal(encode(entries))
	if err != nil {
		return 0 // as above
	}
	return len(addr.String()) + len(`"":,`) + len(text)
}
