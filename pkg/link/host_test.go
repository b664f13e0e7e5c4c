package link

import (
	"net"
	"os"
	"slices"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

func TestHostMACsAndLinkLocal(t *testing.T) {
	err := testutil.NewNetns(t).Do(func() error {
		testutil.IP(t, "link add eth0 index 7 address 02:00:00:00:00:07 type veth peer name peer0 "+
			"address 02:00:00:00:00:08")
		testutil.IP(t, "link set eth0 addrgenmode none")
		macs, err := HostMACs()
		if err != nil {
			return err
		}
		for _, want := range []string{"02:00:00:00:00:07", "02:00:00:00:00:08"} {
			if !slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return m.String() == want }) {
				t.Errorf("%s is not among %v", want, macs)
			}
		}
		if slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return len(m) != 6 }) {
			t.Errorf("not all are Ethernet addresses: %v", macs)
		}
		testutil.IP(t, "addr add 2001:db8::7/64 dev eth0 nodad")
		if a := LinkLocal(7); a.IsValid() {
			t.Errorf("link-local address %v of a link without one", a)
		}
		testutil.IP(t, "addr add fe80::77/64 dev eth0 nodad")
		if a := LinkLocal(7); a.String() != "fe80::77" {
			t.Errorf("link-local address %v, want fe80::77", a)
		}
		if a := LinkLocal(99); a.IsValid() {
			t.Errorf("link-local address %v of a link that does not exist", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Both families' settings, in a new network namespace.
func TestForwards(t *testing.T) {
	testutil.NewNetns(t)
	for family4, path := range map[bool]string{
		true: "/proc/sys/net/ipv4/ip_forward", false: "/proc/sys/net/ipv6/conf/all/forwarding",
	} {
		for value, want := range map[string]bool{"0": false, "1": true} {
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			if got, err := Forwards(family4); err != nil || got != want {
				t.Errorf("%s is %s: got %v, %v", path, value, got, err)
			}
		}
	}
}

// E8: nodes that share one kernel differ in the namespace and share the boot id.
func TestIdentity(t *testing.T) {
	outside, err := NetnsInode()
	if err != nil || outside == 0 {
		t.Fatalf("NetnsInode = %d, %v", outside, err)
	}
	if again, _ := NetnsInode(); again != outside {
		t.Errorf("the inode changed from %d to %d", outside, again)
	}
	boot, err := BootID()
	if err != nil || len(boot) != 36 {
		t.Fatalf("BootID = %q, %v; want a UUID", boot, err)
	}
	if os.Geteuid() != 0 {
		return // the rest needs a second namespace; the lab's tests cover it as root
	}
	testutil.NewNetns(t)
	if inside, err := NetnsInode(); err != nil || inside == outside {
		t.Errorf("NetnsInode = %d, %v in a new namespace; want another than %d", inside, err, outside)
	}
	if again, err := BootID(); err != nil || again != boot {
		t.Errorf("BootID = %q, %v in a new namespace; want %q", again, err, boot)
	}
}
