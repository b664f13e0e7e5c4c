package link

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
	"github.com/vishvananda/netlink"
)

// networks is what Networks says, by the links' names.
func networks(t *testing.T) map[string][]string {
	t.Helper()
	all, err := Networks()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for i, n := range all {
		if i > 0 && all[i-1].Name >= n.Name {
			t.Errorf("%s comes before %s", all[i-1].Name, n.Name)
		}
		if n.Index == 0 || len(n.MAC) != 6 {
			t.Errorf("link %+v", n.Link)
		}
		for _, s := range n.Subnets {
			found[n.Name] = append(found[n.Name], s.String())
		}
	}
	return found
}

func TestNetworks(t *testing.T) {
	lab(t)
	want := map[string][]string{"eth0": {"10.9.0.0/24", "2001:db8:9::/64"}, "eth1": {"10.0.0.0/8"}}
	if got := networks(t); !reflect.DeepEqual(got, want) {
		t.Fatalf("networks %v, want %v", got, want)
	}
	for _, step := range []struct {
		args string
		eth0 []string
		why  string
	}{
		{"addr add 10.9.0.100/32 dev eth0", []string{"10.9.0.0/24", "2001:db8:9::/64"},
			"a host route is no network"},
		{"addr add 2001:db8:9::100/128 dev eth0 nodad", []string{"10.9.0.0/24", "2001:db8:9::/64"},
			"in either family"},
		{"addr add 10.9.0.3/24 dev eth0", []string{"10.9.0.0/24", "2001:db8:9::/64"},
			"two addresses of one network"},
		{"addr add 10.9.0.4/16 dev eth0", []string{"10.9.0.0/16", "10.9.0.0/24", "2001:db8:9::/64"},
			"a wider one"},
		{"link set eth0 down", nil, "a link that is down"},
	} {
		testutil.IP(t, step.args)
		if got := networks(t)["eth0"]; !reflect.DeepEqual(got, step.eth0) {
			t.Errorf("%s: %v, want %v", step.why, got, step.eth0)
		}
	}
}

// TestDefaultRoutes of both families are found, wherever they lead.
func TestDefaultRoutes(t *testing.T) {
	lab(t)
	for _, step := range []struct {
		args string
		want []string
	}{
		{"route add default via 10.0.0.9 dev eth1", []string{"eth1"}},
		{"-6 route add default via 2001:db8:9::9 dev eth0", []string{"eth0", "eth1"}},
		{"route replace default via 10.9.0.9 dev eth0", []string{"eth0"}},
	} {
		testutil.IP(t, step.args)
		all, err := Networks()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range all {
			if n.Default {
				got = append(got, n.Name)
			}
		}
		if !reflect.DeepEqual(got, step.want) {
			t.Errorf("%s: %v, want %v", step.args, got, step.want)
		}
	}
}

// A link whose master cannot be read does not count as removed. The kernel refuses to look for the
// index -1, and has no link with the index of the other master.
func TestALinkThatCannotBeRead(t *testing.T) {
	lab(t)
	of := func(master int) netlink.Link {
		return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "port0", MasterIndex: master}}
	}
	if l, err := describeUnlessRemoved(of(-1)); err == nil {
		t.Errorf("the master cannot be read: %+v without an error", l)
	}
	if l, err := describeUnlessRemoved(of(1 << 20)); err != nil || l.Usable {
		t.Errorf("the master was removed: %+v, %v", l, err)
	}
}

func TestComparePrefix(t *testing.T) {
	of := netip.MustParsePrefix
	for _, row := range []struct {
		a, b netip.Prefix
		want int
	}{{of("10.0.0.0/8"), of("10.0.0.0/8"), 0}, {of("10.0.0.0/8"), of("10.0.0.0/16"), -1},
		{of("10.1.0.0/16"), of("10.0.0.0/8"), 1}, {of("10.0.0.0/8"), of("fd00::/8"), -1}} {
		if got := comparePrefix(row.a, row.b); got < 0 != (row.want < 0) || got > 0 != (row.want > 0) {
			t.Errorf("%v and %v: %d", row.a, row.b, got)
		}
	}
}

// A link without an address of its own is listed, with its other names; a veth without one leads to
// a pod.
func TestNetworksWithoutAnAddress(t *testing.T) {
	lab(t)
	for _, args := range []string{
		"link add br7 type bridge", "link property add dev br7 altname lan0",
		"link add port0 type veth peer name port1",
		"link set port0 master br7", "link set port0 up", "link set port1 up", "link set br7 up",
		"link add pod0 type veth peer name pod1", "link set pod0 up", "link set pod1 up",
		"addr add 10.9.0.9/32 dev br7",
	} {
		testutil.IP(t, args)
	}
	found := map[string]Network{}
	for end := time.Now().Add(10 * time.Second); (found["br7"].Index == 0 ||
		found["pod0"].Index == 0) && time.Now().Before(end); {
		all, err := Networks() // the kernel reports a carrier with a delay
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			found[n.Name] = n
		}
	}
	if n := found["br7"]; n.Index == 0 || len(n.Subnets) != 0 || n.Pod ||
		!reflect.DeepEqual(n.Names, []string{"lan0"}) || len(n.Addresses) != 0 {
		t.Errorf("the bridge: %+v", n)
	}
	if n := found["pod0"]; n.Index == 0 || !n.Pod {
		t.Errorf("the pod's: %+v", n)
	}
	if n := found["eth0"]; n.Pod || len(n.Addresses) == 0 {
		t.Errorf("eth0: %+v", n)
	}
}
