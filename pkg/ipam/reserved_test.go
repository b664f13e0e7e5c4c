package ipam

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// S4: at the VIP no Service gets a TCP port that control-plane hosts use. Elsewhere it does.
func TestPortsOfTheControlPlanesHosts(t *testing.T) {
	for _, port := range hostPorts {
		result := replay(t, newWorld(), strings.ReplaceAll(`
			pool p 192.0.2.8-192.0.2.9 manual
			vip 192.0.2.9 6443
			service a/a PORT ask=192.0.2.9 key=k
			service a/b PORT ask=192.0.2.8 key=k
			want a/b 192.0.2.8
			want a/a PortConflict`, "PORT", strconv.Itoa(int(port))))
		want := "belongs to the hosts of the control plane: change the port, or request another address"
		if got := result.Refused["a/a"]; !strings.HasSuffix(got.Message, want) {
			t.Errorf("port %d: %v", port, got)
		}
	}
	if isHostPort(Port{Protocol: "UDP", Number: 22}) {
		t.Error("UDP 22 counts as a port of the hosts")
	}
}

// A Service that has such a port already keeps it. Another one is refused.
func TestAHostPortOnRecordStays(t *testing.T) {
	ssh, kubelet := Port{Protocol: "TCP", Number: 22}, Port{Protocol: "TCP", Number: 10250}
	vip := Reservation{Service: ControlPlane, Ports: []Port{{Protocol: "TCP", Number: 6443}}}
	entry := Entry{Service: "a/a", Key: "k", Ports: []Port{ssh}}
	for port, want := range map[Port]Reason{ssh: "", kubelet: PortConflict} {
		r := newPendingRequest(&Request{Families: []Family{IPv4}, ShareKey: "k", Ports: []Port{port}})
		if got := vip.check(r.retained(entry, false)).reason; got != want {
			t.Errorf("%v: %q, want %q", port, got, want)
		}
	}
}

func TestReservationCheck(t *testing.T) {
	vip := Reservation{Service: ControlPlane, Ports: []Port{{"TCP", 6443}}}
	web, api := []Port{{"TCP", 443}}, []Port{{"TCP", 6443}}
	for name, c := range map[string]struct {
		reservation Reservation
		sharer      sharer
		want        conflict
	}{
		"a node's address": {
			Reservation{UsedBy: "node w1"}, sharer{key: "k"},
			conflict{reason: NodeAddress, usedBy: "node w1"},
		},
		"a subnet's address": {
			Reservation{UsedBy: "subnet s", Reason: SubnetAddress}, sharer{key: "k"},
			conflict{reason: SubnetAddress, usedBy: "subnet s"},
		},
		"the VIP without a key": {
			vip, sharer{ports: web},
			conflict{reason: AddressTaken, usedBy: "control-plane", anyKey: true},
		},
		"the VIP with a key": {vip, sharer{key: "k", ports: web}, conflict{}},
		"a port of the VIP": {
			vip, sharer{key: "k", ports: api},
			conflict{reason: PortConflict, usedBy: "control-plane", port: api[0]},
		},
		"too many ports": {
			vip, sharer{key: "k", ports: make([]Port, MaxPorts)},
			conflict{reason: LimitExceeded, usedBy: "control-plane"},
		},
		"too many ports on record": {
			vip, sharer{key: "k", ports: make([]Port, MaxPorts), unchanged: true}, conflict{},
		},
	} {
		if got := c.reservation.check(c.sharer); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A Service at a reserved address gets a warning, a Service at the VIP does not.
func TestReservedWarning(t *testing.T) {
	node, vip := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	reserved := Reserved{Addresses: map[netip.Addr]Reservation{
		node: {UsedBy: "node w1"}, vip: {Service: ControlPlane},
	}}
	for addr, want := range map[netip.Addr]bool{node: true, vip: false, vip.Next(): false} {
		if _, got := reserved.warning(addr); got != want {
			t.Errorf("%s: warning %v, want %v", addr, got, want)
		}
	}
}
