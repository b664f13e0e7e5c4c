package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/bgp/static"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// Preflight checks a configuration against this host, before anything is changed. A setting that
// this host contradicts is a *config.UsageError; other errors mean that the host could not be read.
// What waiting may correct is not an error.
func Preflight(cfg config.Config) error {
	if err := checkKubeconfigs(cfg); err != nil {
		return err
	}
	addresses, err := link.Addresses()
	if err != nil {
		return fmt.Errorf("read addresses of this host: %w", err)
	}
	marked, err := vip.ControlPlaneAddresses(vip.Netlink(), cfg.VIPs)
	if err != nil {
		return fmt.Errorf("read addresses of this host: %w", err)
	}
	for _, v := range cfg.VIPs {
		if err := checkVIP(v, addresses, marked); err != nil {
			return err
		}
		if cfg.ByBGP() {
			if err := checkRouted(v, addresses); err != nil {
				return err
			}
		}
	}
	if cfg.ByBGP() {
		return checkBGPPeers(cfg, addresses)
	}
	return checkLink(cfg)
}

// checkKubeconfigs rejects files that can never work, and files in a missing directory. With
// kube-vip's settings the directory is a default, not a choice.
func checkKubeconfigs(cfg config.Config) error {
	if err := apiclient.CheckUsers(cfg.Kubeconfigs); err != nil {
		return &config.UsageError{Flag: "kubeconfig", Reason: err.Error(),
			Hint: "give a kubeconfig whose user has a client certificate or a token"}
	}
	if cfg.KubeVIP {
		return nil
	}
	for _, path := range cfg.Kubeconfigs {
		if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
			return &config.UsageError{Flag: "kubeconfig", Reason: err.Error(),
				Hint: "give files in existing directories; kubeadm may still write the file itself"}
		}
	}
	return nil
}

// checkVIP compares one virtual IP with the addresses of this host.
func checkVIP(v netip.Addr, addresses []link.HostAddr, marked []vip.Marked) error {
	own := slices.ContainsFunc(marked, func(m vip.Marked) bool { return m.Addr == v })
	for _, a := range addresses {
		if a.Prefix.Addr() == v && !own {
			return &config.UsageError{Flag: "vip",
				Reason: fmt.Sprintf("%s is an address of this host, on %s", v, a.Link),
				Hint:   "choose an address that no machine has, or remove it there"}
		}
		if err := config.CheckInSubnet(v, a.Prefix); err != nil {
			return err
		}
	}
	return nil
}

// checkRouted rejects a VIP in a network of this host: every node with it would answer for it there
// by ARP or neighbour discovery, beside the routes (B7).
func checkRouted(v netip.Addr, addresses []link.HostAddr) error {
	for _, a := range addresses {
		if !a.Isolated && !a.Prefix.IsSingleIP() && a.Prefix.Masked().Contains(v) {
			return &config.UsageError{Flag: "vip",
				Reason: fmt.Sprintf("%s is in the network %s of %s, and --announce=bgp needs an address "+
					"that is reached by routes alone", v, a.Prefix.Masked(), a.Link),
				Hint: "choose one outside of the nodes' networks, or --announce=arp"}
		}
	}
	return nil
}

// checkBGPPeers rejects peers that this host contradicts, and password files that cannot be used:
// there is no session without its password (B12).
func checkBGPPeers(cfg config.Config, addresses []link.HostAddr) error {
	invalid := func(p config.BGPPeer, reason, hint string) error {
		return &config.UsageError{Flag: "bgp-peer", Reason: p.Target() + ": " + reason, Hint: hint}
	}
	for _, p := range cfg.BGPPeers {
		for _, a := range addresses {
			if a.Prefix.Addr() == p.Address.WithZone("") && !p.Address.IsLoopback() {
				return invalid(p, "it is an address of this host, on "+a.Link, "give that of a router")
			}
		}
		for _, name := range []string{p.Interface, p.SourceInterface} {
			if name == "" {
				continue
			}
			if _, err := net.InterfaceByName(name); err != nil {
				return invalid(p, "there is no interface "+name, "name an existing one")
			}
		}
		if p.PasswordFile == "" {
			continue
		}
		if _, err := static.ReadPassword(p.PasswordFile); err != nil {
			return invalid(p, err.Error(), "write the password into a file that only root can read")
		}
	}
	return nil
}

// checkLink rejects a missing link only if the user does not want to wait for it.
func checkLink(cfg config.Config) error {
	if cfg.InterfaceWait != 0 {
		return nil
	}
	if _, err := link.Select(cfg.Interface, cfg.VIPs); err != nil {
		return &config.UsageError{Flag: "interface", Reason: err.Error(),
			Hint: "name an existing interface, or let kvip wait for it with --interface-wait"}
	}
	return nil
}
