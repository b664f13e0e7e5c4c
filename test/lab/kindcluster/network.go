package kindcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// NetworkName is the Docker network in which kind puts its nodes.
const NetworkName = "kind"

// networkLabel marks a network that this package made.
const networkLabel = "dev.kvip.made"

// addressTries bounds the search for a free address.
const addressTries = 64

// ensureNetwork makes kind's network unless it is there, and reports whether the existing one was
// made by this function, now or earlier. Docker pins addresses only in a network whose subnet was
// asked for, so the one that it would choose is.
func (e *Engine) ensureNetwork(ctx context.Context) (made bool, err error) {
	if out, err := e.Docker(ctx, "network", "inspect", "-f", "{{json .Labels}}",
		NetworkName); err == nil {
		return strings.Contains(out, networkLabel), nil
	}
	if _, err := e.Docker(ctx, "network", "create", NetworkName); err != nil {
		return false, err
	}
	subnet, _, err := e.addresses(ctx)
	if err != nil {
		return true, err
	}
	if _, err := e.Docker(ctx, "network", "rm", NetworkName); err != nil {
		return true, err
	}
	_, err = e.Docker(ctx, "network", "create", "--label", networkLabel, "--subnet", subnet.String(),
		NetworkName)
	return err == nil, err
}

// removeNetwork removes kind's network unless another cluster is in it.
func (e *Engine) removeNetwork(ctx context.Context) error {
	out, err := e.Docker(ctx, "ps", "-aq", "--filter", "network="+NetworkName)
	if err != nil || strings.TrimSpace(out) != "" {
		return err
	}
	_, err = e.Docker(ctx, "network", "rm", NetworkName)
	return err
}

// FreeAddress returns an IPv4 address of kind's network that Docker has not allocated and from
// which no host answers.
func (e *Engine) FreeAddress(ctx context.Context) (netip.Addr, error) {
	first, _, err := e.FreeRange(ctx, 1)
	return first, err
}

// FreeRange returns the ends of a range of such addresses. It looks from the end: Docker gives
// addresses from the beginning.
func (e *Engine) FreeRange(ctx context.Context, size int) (first, last netip.Addr, err error) {
	subnet, used, err := e.addresses(ctx)
	if err != nil {
		return first, last, err
	}
	free := 0
	first = lastOf(subnet).Prev() // the last one is the broadcast address
	for range addressTries {
		if first = first.Prev(); !subnet.Contains(first) {
			break
		}
		if slices.Contains(used, first) || e.answers(ctx, first) {
			free = 0
			continue
		}
		if free++; free == 1 {
			last = first
		}
		if free == size {
			return first, last, nil
		}
	}
	return first, last, fmt.Errorf(
		"find %d free addresses: none among the last %d of %s, the Docker network %s", size, addressTries,
		subnet, NetworkName)
}

// Subnet returns the IPv4 prefix of kind's network.
func (e *Engine) Subnet(ctx context.Context) (netip.Prefix, error) {
	subnet, _, err := e.addresses(ctx)
	return subnet, err
}

// addresses returns the IPv4 prefix of kind's network and the addresses in use there.
func (e *Engine) addresses(ctx context.Context) (subnet netip.Prefix, used []netip.Addr,
	err error) {
	out, err := e.Docker(ctx, "network", "inspect", NetworkName)
	if err != nil {
		return subnet, nil, err
	}
	var networks []struct {
		IPAM struct {
			Config []struct{ Subnet, Gateway string }
		}
		Containers map[string]struct{ IPv4Address string }
	}
	if err := json.Unmarshal([]byte(out), &networks); err != nil || len(networks) == 0 {
		return subnet, nil, fmt.Errorf("read Docker network %s: %w", NetworkName, err)
	}
	for _, c := range networks[0].IPAM.Config {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			subnet = p.Masked()
		}
		if a, err := netip.ParseAddr(c.Gateway); err == nil {
			used = append(used, a)
		}
	}
	for _, c := range networks[0].Containers {
		if p, err := netip.ParsePrefix(c.IPv4Address); err == nil {
			used = append(used, p.Addr())
		}
	}
	if !subnet.IsValid() {
		return subnet, nil, fmt.Errorf("read Docker network %s: it has no IPv4 subnet", NetworkName)
	}
	return subnet, used, nil
}

// answers reports whether a host has the address: a connection is accepted or refused, where
// silence or an unreachable neighbour means none.
func (e *Engine) answers(ctx context.Context, addr netip.Addr) bool {
	host, err := e.Host()
	if err != nil {
		return false
	}
	defer host.Close()
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	conn, err := host.Dial(ctx, "tcp", net.JoinHostPort(addr.String(), "6443"))
	if err == nil {
		return conn.Close() == nil
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// lastOf returns the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
