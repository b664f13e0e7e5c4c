package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// addrList is the pflag.Value of --vip: addresses separated by commas, or the flag repeated. The
// first occurrence replaces what was there as the default.
type addrList struct {
	list *[]netip.Addr
	set  bool
}

// Set parses one occurrence of the flag.
func (l *addrList) Set(text string) error {
	var parsed []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		addr, err := parseAddr(part)
		if err != nil {
			return err
		}
		parsed = append(parsed, addr)
	}
	if l.set {
		parsed = append(*l.list, parsed...)
	}
	*l.list, l.set = parsed, true
	return nil
}

// String returns the addresses as the flag takes them.
func (l *addrList) String() string {
	if l.list == nil {
		return ""
	}
	return joinAddrs(*l.list)
}

// Type names the value in help texts.
func (l *addrList) Type() string { return "addresses" }

func parseAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, errors.New("no address given")
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return netip.Addr{}, fmt.Errorf("%q is a prefix, give the address alone: %s", text, prefix.Addr())
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	return addr, nil
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}
