package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// hostAddresses lists the addresses of this host and marks those that kvip assigned.
func hostAddresses(vips []netip.Addr) ([]kubeadm.Address, error) {
	const hint = "skip this check with --skip-host-checks"
	found, err := link.Addresses()
	if err != nil {
		return nil, fmt.Errorf("read addresses of this host: %w; %s", err, hint)
	}
	marked, err := vip.ControlPlaneAddresses(vip.Netlink(), vips)
	if err != nil {
		return nil, fmt.Errorf("read addresses of this host: %w; %s", err, hint)
	}
	all := make([]kubeadm.Address, 0, len(found))
	for _, a := range found {
		managed := slices.ContainsFunc(
			marked,
			func(m vip.Marked) bool { return m.Addr == a.Prefix.Addr() },
		)
		all = append(all, kubeadm.Address{Prefix: a.Prefix, Link: a.Link, Managed: managed})
	}
	return all, nil
}

// hostResolver looks up names in this host's DNS and /etc/hosts.
func hostResolver(ctx context.Context) func(string) ([]netip.Addr, error) {
	return func(name string) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
}
