package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// Preflight refuses, before anything is touched, a configuration that this host shows to
// be wrong: the error is a *config.UsageError. What may become right by waiting is no error.
func Preflight(cfg config.Config) error {
	if err := apiclient.CheckKubeconfigs(cfg.Kubeconfigs); err != nil {
		return &config.UsageError{Flag: "kubeconfig", Reason: err.Error(), Hint: "give files in directories that exist; a file that kubeadm has yet to write may be missing"}
	}
	addresses, err := link.Addresses()
	if err != nil {
		return fmt.Errorf("read addresses of this host: %w", err)
	}
	marked, err := vip.Netlink(cfg.VIPs).List()
	if err != nil {
		return fmt.Errorf("read addresses of this host: %w", err)
	}
	for _, v := range cfg.VIPs {
		if err := checkVIP(v, addresses, marked); err != nil {
			return err
		}
	}
	return checkLink(cfg)
}

// checkVIP compares one VIP with what the host has.
func checkVIP(v netip.Addr, addresses []link.HostAddr, marked []vip.Marked) error {
	own := slices.ContainsFunc(marked, func(m vip.Marked) bool { return m.VIP == v })
	for _, a := range addresses {
		on := a.Prefix
		switch {
		case on.Addr() == v && !own:
			return &config.UsageError{Flag: "vip", Reason: fmt.Sprintf("%s is an address of this host, on %s", v, a.Link), Hint: "choose an address that no machine has, or remove it there"}
		case on.Addr() == v || on.Bits() >= v.BitLen()-1 || !on.Contains(v):
		case on.Masked().Addr() == v:
			return &config.UsageError{Flag: "vip", Reason: fmt.Sprintf("%s is the network address of %s on %s", v, on.Masked(), a.Link), Hint: "choose a host address in that network"}
		case v.Is4() && broadcast(on) == v:
			return &config.UsageError{Flag: "vip", Reason: fmt.Sprintf("%s is the broadcast address of %s on %s", v, on.Masked(), a.Link), Hint: "choose a host address in that network"}
		}
	}
	return nil
}

// broadcast returns the last address of an IPv4 prefix (RFC 919 section 7).
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

// checkLink refuses a missing link only where the user said not to wait for it.
func checkLink(cfg config.Config) error {
	if cfg.InterfaceWait != 0 {
		return nil
	}
	if _, err := link.Select(cfg.Interface, cfg.VIPs); err != nil {
		return &config.UsageError{Flag: "interface", Reason: err.Error(), Hint: "name an existing interface, or let kvip wait for it with --interface-wait"}
	}
	return nil
}
