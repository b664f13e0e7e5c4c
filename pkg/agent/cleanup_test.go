package agent

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

// leaveBehind puts on this host what a killed agent leaves: addresses with kvip's mark and the
// packet filter.
func leaveBehind(t *testing.T, addresses ...string) {
	t.Helper()
	for _, text := range addresses {
		change := vip.Change{
			Address: vip.Address{Addr: netip.MustParseAddr(text), LinkIndex: 7, LinkName: "eth0"},
			Valid:   time.Minute, Proto: vip.ControlPlaneProto,
		}
		if err := vip.Netlink().Apply([]vip.Change{change})[0]; err != nil {
			t.Fatal(err)
		}
	}
	filter := testutil.Must(nftfilter.New(nftfilter.Config{Timeout: time.Minute, Log: discard}))
	if err := filter.Apply(nil); err != nil {
		testutil.Unavailable(t, "needs nftables: "+err.Error())
	}
}

// ownFilterTable makes the table of the filter the property of a socket of this test: the kernel
// lets no other socket change it (NFT_TABLE_F_OWNER, nf_tables_api.c).
func ownFilterTable(t *testing.T) {
	t.Helper()
	const tableOwner = 2
	message := func(kind, flags uint16, family byte, attributes ...byte) []byte {
		text := binary.NativeEndian.AppendUint32(nil, uint32(20+len(attributes)))
		text = binary.NativeEndian.AppendUint16(text, kind)
		text = binary.NativeEndian.AppendUint16(text, unix.NLM_F_REQUEST|flags)
		text = append(text, make([]byte, 8)...) // sequence number and port
		text = append(text, family, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
		return append(text, attributes...)
	}
	attribute := func(kind uint16, value ...byte) []byte {
		text := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		text = append(binary.NativeEndian.AppendUint16(text, kind), value...)
		return append(text, make([]byte, (4-len(value)%4)%4)...)
	}
	socket := testutil.Must(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER))
	t.Cleanup(func() { _ = unix.Close(socket) })
	table := append(attribute(unix.NFTA_TABLE_NAME, append([]byte(nftfilter.Table), 0)...),
		attribute(unix.NFTA_TABLE_FLAGS, 0, 0, 0, tableOwner)...)
	batch := slices.Concat(message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE,
			unix.NFPROTO_INET, table...),
		message(unix.NFNL_MSG_BATCH_END, 0, 0))
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(socket, batch, 0, to); err != nil {
		testutil.Unavailable(t, "needs nftables: "+err.Error())
	}
}

const filterTable = "nftables table inet kvip"

func TestCleanup(t *testing.T) {
	for _, row := range []struct {
		name    string
		list    []netip.Addr
		removed []string
		filter  bool // remains
	}{
		{"everything", nil, []string{"10.0.0.100 from eth0", "10.0.0.101 from eth0", filterTable}, false},
		{"a list spares the filter", []netip.Addr{vip4}, []string{"10.0.0.100 from eth0"}, true},
		{"an address that is not there", []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil, true},
	} {
		testutil.NewHost(t)
		leaveBehind(t, "10.0.0.100", "10.0.0.101")
		removed, err := Cleanup(row.list)
		if slices.Sort(removed); err != nil || !slices.Equal(removed, row.removed) {
			t.Errorf("%s: removed %q, %v; want %q", row.name, removed, err, row.removed)
		}
		if got, err := nftfilter.Installed(); err != nil || got != row.filter {
			t.Errorf("%s: the filter remains: %v, %v", row.name, got, err)
		}
	}
}

// TestCleanupIsIdempotent: nothing is left for a second call, and nothing is its error.
func TestCleanupIsIdempotent(t *testing.T) {
	testutil.NewHost(t)
	leaveBehind(t, "10.0.0.100")
	for i, want := range []int{2, 0, 0} {
		if removed, err := Cleanup(nil); err != nil || len(removed) != want {
			t.Errorf("call %d: %q, %v", i, removed, err)
		}
	}
}

// TestCleanupReturnsOnlyWhatIsGone: a filter that could not be deleted is not among it.
func TestCleanupReturnsOnlyWhatIsGone(t *testing.T) {
	testutil.NewHost(t)
	ownFilterTable(t)
	if installed, err := nftfilter.Installed(); err != nil || !installed {
		t.Fatalf("installed: %v, %v", installed, err)
	}
	if removed, err := Cleanup(nil); err == nil || len(removed) != 0 {
		t.Errorf("removed %q, %v; want an error", removed, err)
	}
}

// TestCleanupSparesTheFilterOfARunningAgent, which would be without protection until its next
// reconcile.
func TestCleanupSparesTheFilterOfARunningAgent(t *testing.T) {
	testutil.NewHost(t)
	leaveBehind(t)
	lock := testutil.Must(vip.LockServices())
	if removed, err := Cleanup(nil); err != nil || len(removed) != 0 {
		t.Errorf("removed %q, %v", removed, err)
	}
	if installed, err := nftfilter.Installed(); err != nil || !installed {
		t.Errorf("installed: %v, %v", installed, err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if removed, err := Cleanup(nil); err != nil || !slices.Equal(removed, []string{filterTable}) {
		t.Errorf("after the agent ended: removed %q, %v", removed, err)
	}
}
