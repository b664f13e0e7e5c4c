package ipam

import (
	"strconv"
	"strings"
	"testing"
)

// S4: at the control plane's address no Service gets a TCP port that the hosts use; elsewhere, and with UDP, it does.
func TestPortsOfTheControlPlanesHosts(t *testing.T) {
	for _, port := range hostPorts {
		result := tell(t, newWorld(), strings.ReplaceAll(`
			pool p 192.0.2.8-192.0.2.9 manual
			vip 192.0.2.9 6443
			service a/a PORT ask=192.0.2.9 key=k
			service a/b PORT ask=192.0.2.8 key=k
			want a/b 192.0.2.8
			want a/a PortClash`, "PORT", strconv.Itoa(int(port))))
		want := "belongs to the hosts of the control plane: change the port, or use another address"
		if got := result.Refused["a/a"]; !strings.HasSuffix(got.Message, want) {
			t.Errorf("port %d: %v", port, got)
		}
	}
	if isHostPort(Port{Protocol: "UDP", Number: 22}) {
		t.Error("UDP 22 is no port of the hosts")
	}
}

// Who has such a port there from before keeps it; another that it wants now is refused.
func TestAPortOfTheHostsIsNotTakenAway(t *testing.T) {
	ssh, kubelet := Port{Protocol: "TCP", Number: 22}, Port{Protocol: "TCP", Number: 10250}
	vip := Reservation{Owner: ControlPlane, Ports: []Port{{Protocol: "TCP", Number: 6443}}}
	holder := Holder{Owner: "a/a", Key: "k", Ports: []Port{ssh}}
	for port, want := range map[Port]Reason{ssh: "", kubelet: PortClash} {
		one := settledSeat(&tenant{key: "k", ports: []Port{port}}, holder, false)
		if got := vip.objection(one).reason; got != want {
			t.Errorf("%v: %q, want %q", port, got, want)
		}
	}
}
