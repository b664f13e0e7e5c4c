package nftfilter

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/kvip/kvip/test/testutil"

	"github.com/kvip/kvip/pkg/assignment"
)

var seed = flag.Uint64("filter.seed", 0, "play the random updates of this seed; 0 takes a new one")

// S5: whatever was wanted before, afterwards the kernel has exactly what is wanted now, with
// lifetimes that have just begun and ports that outlive their address.
func TestS5KernelHasExactlyWhatIsWanted(t *testing.T) {
	testutil.NewNetns(t)
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: go test -filter.seed=%d", s, s)
	r := rand.New(rand.NewPCG(s, 0))
	f := newFilter(t, time.Minute)
	for step := range 60 {
		w := randomAssignments(r)
		switch r.IntN(8) {
		case 0:
			f = newFilter(t, time.Minute) // kvip restarts
		case 1:
			removeTables(t) // as a firewall does that loads its rules
		}
		apply(t, f, w)
		if got, want := inKernel(t), wanted(w); !slices.Equal(got, want) {
			t.Fatalf("step %d:\n got %q\nwant %q", step, got, want)
		}
	}
}

func randomAssignments(r *rand.Rand) (list []assignment.Assignment) {
	for range r.IntN(40) {
		n := byte(r.IntN(30))
		a := assignment.Assignment{Addr: netip.AddrFrom4([4]byte{10, 10, 0, n})}
		if r.IntN(2) == 0 {
			a.Addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n})
		}
		for range r.IntN(4) {
			protocol := []string{"TCP", "UDP", "SCTP"}[r.IntN(3)]
			a.Ports = append(a.Ports, assignment.Port{Protocol: protocol, Port: uint16(1 + r.IntN(4))})
		}
		list = append(list, a)
	}
	return list
}

// wanted formats assignments as inKernel formats the sets, in another way than encode.
func wanted(list []assignment.Assignment) []string {
	var all []string
	for _, a := range list {
		all = append(all, fmt.Sprintf("addresses%d %x", version(a.Addr), a.Addr.AsSlice()))
		for _, p := range a.Ports {
			number := map[string]int{"TCP": 6, "UDP": 17, "SCTP": 132}[p.Protocol]
			all = append(all, fmt.Sprintf("ports%d %x%02x000000%04x0000",
				version(a.Addr), a.Addr.AsSlice(), number, p.Port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// inKernel returns the elements of all sets of the table, and checks that they have just begun.
func inKernel(t testing.TB) []string {
	t.Helper()
	conn := connect(t)
	sets, err := conn.GetSets(kvipTable())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			t.Fatal(err)
		}
		lifetime := time.Minute
		if strings.HasPrefix(s.Name, "ports") {
			lifetime += portsOutlive
		}
		for _, e := range elements {
			all = append(all, fmt.Sprintf("%s %x", s.Name, e.Key))
			if left := lifetime - e.Expires; s.Timeout != lifetime || left < 0 || left > patience {
				t.Errorf("%s: an element expires in %v of %v; want %v", s.Name, e.Expires, s.Timeout, lifetime)
			}
		}
	}
	slices.Sort(all)
	return all
}

func connect(t testing.TB) *nftables.Conn {
	t.Helper()
	conn, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// removeTables deletes everything in nftables, as nft flush ruleset does.
func removeTables(t testing.TB) {
	t.Helper()
	conn := connect(t)
	conn.FlushRuleset()
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// tables returns the names of all tables, and of the chains in them with their priority.
func tables(t testing.TB) string {
	t.Helper()
	conn := connect(t)
	all, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, table := range all {
		names = append(names, fmt.Sprintf("%d/%s", table.Family, table.Name))
	}
	chains, err := conn.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		names = append(names, fmt.Sprintf("%s/%s@%d", c.Table.Name, c.Name, *c.Priority))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// what the tables are with kvip's alone.
const ownTable = "1/kvip kvip/prerouting@-120"

// S5, S6: what another version of kvip left, of any shape, gives way to this version's table.
func TestS5ReplacesTheTableOfAnotherVersion(t *testing.T) {
	testutil.NewNetns(t)
	w := both(assignment.Port{Protocol: "TCP", Port: 80})
	f := newFilter(t, time.Minute)
	for _, running := range []bool{false, true} {
		foreign(t, Table)
		if running { // a second kvip of another version works against us: noticed, and then overwritten
			if err := f.Apply(w); err == nil || !strings.Contains(err.Error(), "apply nftables table kvip") {
				t.Errorf("Apply over another's chain: %v; want an error that says what failed", err)
			}
			if got := tables(t); got != "1/kvip kvip/other@5 kvip/prerouting@10" {
				t.Errorf("after a failed Apply: %s; want what was there", got)
			}
		}
		apply(t, f, w)
		if got := tables(t); got != ownTable {
			t.Errorf("tables %s; want %s", got, ownTable)
		}
		if got := inKernel(t); !slices.Equal(got, wanted(w)) {
			t.Errorf("elements %q; want %q", got, wanted(w))
		}
	}
}

// foreign makes a table that has kvip's names for other things.
func foreign(t testing.TB, name string) {
	t.Helper()
	conn := connect(t)
	table := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	conn.DelTable(table)
	conn.AddTable(table)
	set := &nftables.Set{Table: table, ID: 9, Name: family4.addresses, KeyType: nftables.TypeIP6Addr}
	if err := conn.AddSet(set, []nftables.SetElement{{Key: make([]byte, 16)}}); err != nil {
		t.Fatal(err)
	}
	for chain, priority := range map[string]nftables.ChainPriority{"prerouting": 10, "other": 5} {
		c := conn.AddChain(&nftables.Chain{Name: chain, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: &priority})
		conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule(accept(), isFamily(family6),
			[]expr.Any{family6.destination(), &expr.Lookup{SourceRegister: key, SetName: set.Name}})})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// S6: Remove and Cleanup leave nothing of kvip's, nothing of anybody else's is touched, and
// both may be called again.
func TestS6RemoveLeavesNothing(t *testing.T) {
	testutil.NewNetns(t)
	foreign(t, "firewall")
	before := tables(t)
	f := newFilter(t, time.Minute)
	for name, remove := range map[string]func() error{"Remove": f.Remove, "Cleanup": Cleanup} {
		for _, leave := range []func(){func() { apply(t, f, both()) }, func() { foreign(t, Table) },
			func() {}} {
			leave()
			if there, err := Installed(); err != nil || there != (tables(t) != before) {
				t.Errorf("Installed = %v, %v; tables %s", there, err, tables(t))
			}
			if err := remove(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := tables(t); got != before {
				t.Errorf("after %s: %s; want %s", name, got, before)
			}
		}
	}
	apply(t, f, both())
	if got := tables(t); !strings.Contains(got, "kvip/prerouting") {
		t.Errorf("Apply after Remove: %s", got)
	}
}

// S5: what the largest cluster needs: 5000 addresses with two ports each.
func TestS5FiveThousandAddresses(t *testing.T) {
	l := newLab(t)
	l.serve("service", 8080)
	l.serve("sshd", 22)
	w := append(many(4998), both(assignment.Port{Protocol: "TCP", Port: 8080},
		assignment.Port{Protocol: "UDP", Port: 8080})...)
	f := newFilter(t, time.Minute)
	for range 3 {
		apply(t, f, w)
	}
	if got := inKernel(t); len(got) != 15000 || !slices.Equal(got, wanted(w)) {
		t.Errorf("the kernel has %d elements; want 15000", len(got))
	}
	for _, vip := range bothVIPs {
		l.expect("among many", expected{"tcp", vip, 8080, "service"}, expected{"tcp", vip, 22, "refused"})
	}
}

// many is n addresses, half of them IPv6, with two ports each.
func many(n int) (list []assignment.Assignment) {
	ports := []assignment.Port{{Protocol: "TCP", Port: 80}, {Protocol: "UDP", Port: 443}}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 100, byte(i >> 8), byte(i)})
		if i%2 == 1 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		}
		list = append(list, assignment.Assignment{Addr: a, Ports: ports})
	}
	return list
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 5000} {
		b.Run(fmt.Sprintf("%d_addresses", n), func(b *testing.B) {
			testutil.NewNetns(b)
			f, w := newFilter(b, time.Minute), many(n)
			for b.Loop() {
				apply(b, f, w)
			}
		})
	}
}
