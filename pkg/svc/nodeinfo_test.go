package svc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// S2: what other nodes' Leases say is bounded: any node may write any Lease.
func TestWhatANodesLeaseSaysIsBounded(t *testing.T) {
	var big NodeInfo
	big.Node, big.StatusPort = "n1", 70000
	for i := range 500 {
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		big.Links = append(big.Links, LinkInfo{Name: fmt.Sprintf("eth%d", i), MAC: "no address"})
		big.Links[0].Names = append(big.Links[0].Names, fmt.Sprintf("lan%d", i))
		big.Links[0].Subnets = append(big.Links[0].Subnets, netip.PrefixFrom(addr, 24))
		big.ControlPlane, big.Addresses = append(big.ControlPlane, addr), append(big.Addresses, addr)
	}
	big.Links[1].Name, big.Links[2].Subnets = strings.Repeat("x", 300), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), {}}
	big.Addresses = append(big.Addresses, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fe80::1%eth0"), netip.Addr{})
	big.Unavailable = strings.Repeat("é\x1b[2J", 200)
	big.FailedAddresses = map[netip.Addr]string{}
	for _, addr := range big.Addresses[:400] {
		big.FailedAddresses[addr] = "broken\nby the test"
	}
	text, err := json.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	got := readNodeInfo(string(text))
	if len(got.Links) != maxLinks-1 || len(got.Links[0].Names) != maxNames || len(got.Links[0].Subnets) != maxSubnets || got.Links[0].MAC != "" ||
		got.Links[1].Subnets != nil || len(got.ControlPlane) != maxNodeVIPs || len(got.Addresses) != maxNodeAddrs || len(got.FailedAddresses) != maxFailed || got.StatusPort != 0 {
		t.Errorf("%d links, the first %+v, %d VIPs, %d addresses, %d failed", len(got.Links), got.Links[0], len(got.ControlPlane), len(got.Addresses), len(got.FailedAddresses))
	}
	if len(got.Unavailable) > maxExplanation+3 || strings.ContainsAny(got.Unavailable, "\x1b\n") || !strings.HasPrefix(got.Unavailable, "é [2J") {
		t.Errorf("the reason is %q", got.Unavailable)
	}
	if one := got.FailedAddresses[got.Addresses[0]]; one != "broken by the test" {
		t.Errorf("a reason is %q", one)
	}
	if again := got.Bounded(); !reflect.DeepEqual(again, got) {
		t.Errorf("what is read is cut once more: %+v", again)
	}
	for what, text := range map[string]string{
		"too long": `{"node":"n1","unavailable":"` + strings.Repeat("x", maxNodeInfo) + `"}`, "too long a name": `{"node":"` + strings.Repeat("x", 300) + `"}`,
	} {
		if got := readNodeInfo(text); got.Node != "" {
			t.Errorf("%s: node %q", what, got.Node)
		}
	}
}
