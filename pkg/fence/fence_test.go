package fence

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/netdev"
	"github.com/kvip/kvip/test/testutil"
)

func TestNew(t *testing.T) {
	valid := func() Config {
		return Config{VIPs: bothVIPs, Longest: time.Second, Clock: boottime.Now}
	}
	for want, change := range map[string]func(*Config){
		"VIPs":      func(c *Config) { c.VIPs = nil },
		"127.0.0.1": func(c *Config) { c.VIPs = []netip.Addr{netip.MustParseAddr("127.0.0.1")} },
		"Clock":     func(c *Config) { c.Clock = nil },
		"10ms":      func(c *Config) { c.Longest = 10 * ms },
		"2h0m0s":    func(c *Config) { c.Longest = 2 * time.Hour },
	} {
		cfg := valid()
		change(&cfg)
		if _, _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestF9Fence: an address on the link answers only while it has been extended. The answer ends at
// the deadline without the process.
func TestF9Fence(t *testing.T) {
	l := newLab(t)
	l.expect("no table", true)
	f := l.fence()
	l.expect("attached", false)
	l.open(f, in(2*time.Second))
	l.expect("opened", true)
	l.shut(f)
	l.expect("shut", false)
	l.open(f, in(2*time.Second))
	l.expect("opened again", true)
	testutil.Eventually(t, "the end of the lifetime", func() bool {
		conn, err := l.dialKnown(vip4)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	l.expect("expired", false)
	l.must(f.Extend(in(-time.Second)))
	l.must(f.Extend(in(step - 5*ms)))
	l.expect("deadline in the past", false)
}

// TestF9Packets: an address that is not alive neither takes packets of a client that knows the
// hardware address, nor sends any of a connection that exists.
func TestF9Packets(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(9*time.Second))
	for _, vip := range bothVIPs {
		conn, err := l.dial(vip)
		l.must(err)
		defer conn.Close()
		echo := func() error {
			_ = conn.SetDeadline(time.Now().Add(300 * ms))
			if _, err := conn.Write([]byte{1}); err != nil {
				return err
			}
			_, err := conn.Read(make([]byte, 1))
			return err
		}
		l.must(echo())
		l.shut(f)
		if err := echo(); err == nil {
			t.Errorf("%s: an open connection was served after Shut", vip)
		}
		if _, err := l.dialKnown(vip); err == nil {
			t.Errorf("%s: a connection was accepted after Shut", vip)
		}
		l.open(f, in(9*time.Second))
	}
}

// TestF9Ticket: without a ticket, or after it has ended, a renewal changes nothing.
func TestF9Ticket(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	for _, m := range f.members {
		left := func() time.Duration {
			left, err := m.table.Remaining(setAlive, m.layout.vip)
			l.must(err)
			return left
		}
		renew := codeRenew + uint16(len(m.layout.lifetimes)-1)
		l.must(m.frames.send(renew))
		if left() != 0 {
			t.Error("renewed without a ticket")
		}
		l.must(m.frames.send(codeTicket))
		time.Sleep(Lag)
		l.must(m.frames.send(renew))
		if left() != 0 {
			t.Error("renewed after the end of the ticket")
		}
		testutil.Eventually(t, "a renewal with a ticket", func() bool {
			l.must(m.frames.send(codeTicket))
			l.must(m.frames.send(renew))
			return left() > 0
		})
	}
}

// TestF9TicketReturns: a ticket that has not come back, and one of another goroutine, are for no
// renewal: the frame could be accepted later than its lifetime allows.
func TestF9TicketReturns(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	for _, m := range f.members {
		l.shut(f)
		open := func() bool {
			if err := f.Extend(in(9 * time.Second)); !errors.Is(err, ErrDeferred) {
				l.must(err)
			}
			left, err := m.table.Remaining(setAlive, m.layout.vip)
			l.must(err)
			return left > 0
		}
		l.must(unix.SetsockoptSockFprog(m.frames.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(none)), Filter: &none[0]}))
		for range 3 {
			if open() {
				t.Errorf("%s: renewed by a ticket that did not come back", m.layout.vip)
			}
		}
		l.must(unix.SetsockoptInt(m.frames.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
		m.frames.ticketing.Lock()
		if open() {
			t.Errorf("%s: renewed beside another ticket", m.layout.vip)
		}
		m.frames.ticketing.Unlock()
		testutil.Eventually(t, "a renewal", open)
	}
}

// TestF9TicketsOfOthers: another kvip on the host renews its own address all the time. Its tickets
// do not wait in front of those of an agent that reads none.
func TestF9TicketsOfOthers(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.must(f.members[0].frames.send(codeTicket))
	l.must(f.members[1].frames.send(codeTicket))
	for i, m := range f.members {
		testutil.Eventually(t, "the own ticket", func() bool {
			var b [maxFrame]byte
			n, err := unix.Read(m.frames.fd, b[:])
			if err == nil && !bytes.HasPrefix(b[:n], m.layout.vip.AsSlice()) {
				t.Fatalf("%s: received %x of another address", m.layout.vip, b[:n])
			}
			return err == nil
		})
		if i == 0 {
			continue
		}
		if _, err := unix.Read(m.frames.fd, make([]byte, maxFrame)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: received another frame: %v", m.layout.vip, err)
		}
	}
}

// TestF9Deadline: the element never lasts longer than the deadline and Lag, whatever the deadline.
func TestF9Deadline(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	for d := 10 * ms; d < 12*time.Second; d += d / 3 {
		deadline := in(d)
		l.must(f.Extend(deadline))
		for _, m := range f.members {
			before := boottime.Now()
			left, err := m.table.Remaining(setAlive, m.layout.vip)
			l.must(err)
			if end := before + left; left > 0 && end > deadline+Lag {
				t.Errorf("%v: lasts %v too long", d, end-deadline)
			}
			if want := min(d, f.cfg.Longest)*31/32 - 3*step; left < want {
				t.Logf("%v: lasts %v, want at least %v", d, left, want) // the machine may be slow
			}
		}
		l.shut(f)
	}
}

// TestF9Flushed: another program cannot remove the table while its owner lives. Where it can, the
// next Attach says so and builds nothing, and the one after it builds a table that is closed.
func TestF9Flushed(t *testing.T) {
	for _, variant := range []Variant{Full, Flushable} {
		l := newLab(t)
		f := l.fence()
		f.Close()
		f.device = ""
		f.variant = variant
		for _, vip := range bothVIPs {
			m, err := newMember(tableName(vip), vip, f.cfg.Longest)
			l.must(err)
			m.table.Conn.DelTable(m.table.Ref())
			l.must(m.table.Flush("delete"))
			f.members = append(f.members, m)
		}
		l.must(f.Attach("eth0", time.Second))
		l.open(f, in(9*time.Second))
		other, err := nftables.New()
		l.must(err)
		other.FlushRuleset()
		l.must(other.Flush())
		err = f.Attach("eth0", time.Second)
		if variant == Full {
			l.must(err)
			l.expect("flushed, with an owner", true)
			continue
		}
		if !errors.Is(err, ErrMissing) {
			t.Fatalf("Attach after a flush: %v", err)
		}
		l.expect("flushed", true) // nothing fences it: the caller deletes the address
		l.must(f.Attach("eth0", time.Second))
		l.expect("built again", false)
		l.open(f, in(time.Second))
		l.expect("opened", true)
	}
}

// TestF9NextProcess: a table outlives its process, and what it gave. The next process takes it over
// as it is.
func TestF9NextProcess(t *testing.T) {
	l := newLab(t)
	first := l.fence()
	l.open(first, in(9*time.Second))
	second, _, err := New(first.cfg)
	l.must(err)
	defer second.Close()
	if err := second.Attach("eth0", time.Second); !errors.Is(err, unix.EPERM) {
		t.Errorf("Attach to a table of a live process: %v", err)
	}
	first.Close()
	l.expect("without a process", true)
	l.must(second.Attach("eth0", time.Second))
	l.expect("taken over", true)
	if n := l.log.Count("table built"); n != len(bothVIPs) {
		t.Errorf("%d tables built", n)
	}
	l.shut(second)
	l.expect("shut by the next process", false)
	second.Close()
	third, _, err := New(Config{VIPs: bothVIPs, Longest: time.Second, Clock: boottime.Now})
	l.must(err)
	defer third.Close()
	l.must(third.Attach("eth0", time.Second))
	l.expect("another layout", false)
	l.open(third, in(9*time.Second)) // at most Longest
	l.expect("another layout, opened", true)
}

// TestF9Guard: without the guard element the table drops nothing.
func TestF9Guard(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.expect("guarded", false)
	for _, m := range f.members {
		set := &nftables.Set{
			Table: m.table.Ref(), Name: setGuard, KeyType: netdev.KeyType(m.layout.vip), HasTimeout: true,
		}
		l.must(m.table.Conn.SetDeleteElements(set, []nftables.SetElement{{Key: m.layout.vip.AsSlice()}}))
		l.must(m.table.Flush("delete guard"))
	}
	l.expect("no guard", true)
	l.must(f.Attach("eth0", time.Second))
	l.expect("guarded again", false)
	for _, m := range f.members {
		left, err := m.table.Remaining(setGuard, m.layout.vip)
		l.must(err)
		if left < guardOutlives {
			t.Errorf("the guard lasts %v", left)
		}
	}
}

// TestF9OtherLink: tables follow the addresses to another link, and to a link that is made again.
func TestF9OtherLink(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	testutil.IP(t, "link del eth0")
	l.connect("eth1")
	l.must(f.Attach("eth1", time.Second))
	l.expect("another link", false)
	for range 2 {
		l.open(f, in(9*time.Second))
		l.expect("opened", true)
		testutil.IP(t, "link del eth1")
		l.connect("eth1")
		if err := f.Attach("eth1", time.Second); errors.Is(err, ErrMissing) { // before Linux 6.16
			l.must(f.Attach("eth1", time.Second))
		} else {
			l.must(err)
			l.shut(f)
		}
		l.expect("made again", false)
	}
}

// TestF9WithoutTheCapability: the reason names what is missing.
func TestF9WithoutTheCapability(t *testing.T) {
	ns := testutil.NewNetns(t)
	err := ns.Do(func() error { // on a thread that ends with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		_, variant, err := New(Config{VIPs: bothVIPs, Longest: time.Second, Clock: boottime.Now})
		if variant != Lifetimes || !errors.Is(err, unix.EPERM) {
			t.Errorf("%s, %v", variant, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestF9Cut: what was given before ends by the new deadline, and a process of another table's owner
// shuts it as well.
func TestF9Cut(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(9*time.Second))
	end := in(200 * ms)
	l.must(f.Cut(end))
	for _, m := range f.members {
		left, err := m.table.Remaining(setAlive, m.layout.vip)
		l.must(err)
		if boottime.Now()+left > end+Lag+5*ms {
			t.Errorf("%v remain", left)
		}
	}
	l.open(f, in(9*time.Second))
	other, _, err := New(f.cfg)
	l.must(err)
	defer other.Close()
	l.must(other.VerifyShut())
	l.expect("shut by another process", false)
	other.Close()
	l.must(f.VerifyShut())
}

// TestF9Cleanup removes by hand the tables of a process that is gone, of the named addresses or of
// all, and those of a live process never.
func TestF9Cleanup(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	if removed, err := Cleanup(nil); err == nil || len(removed) != 0 {
		t.Errorf("of a live process: removed %v, %v", removed, err)
	}
	f.Close()
	l.cleansUp()
	f, _, err := New(Config{VIPs: bothVIPs, Longest: time.Second, Clock: boottime.Now})
	l.must(err)
	f.variant = Flushable
	l.must(f.Attach("eth0", time.Second))
	f.Close()
	l.cleansUp()
}

// cleansUp requires that Cleanup removes the tables of both VIPs.
func (l *lab) cleansUp() {
	l.t.Helper()
	for _, c := range []struct{ vips, removed []netip.Addr }{
		{[]netip.Addr{netip.MustParseAddr("10.9.0.101")}, nil},
		{[]netip.Addr{vip6}, []netip.Addr{vip6}},
		{nil, []netip.Addr{vip4}},
		{nil, nil},
	} {
		var want []string
		for _, a := range c.removed {
			want = append(want, tableName(a))
		}
		removed, err := Cleanup(c.vips)
		if err != nil || !slices.Equal(removed, want) {
			l.t.Errorf("of %v: removed %v, %v; want %v", c.vips, removed, err, want)
		}
	}
}

// TestF9WithoutTables: nothing fences an address whose table is gone, so that neither a cut nor a
// closed fence is verified.
func TestF9WithoutTables(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	for _, m := range f.members {
		m.table.Conn.DelTable(m.table.Ref())
		l.must(m.table.Flush("delete"))
	}
	if err := f.Cut(in(time.Second)); err == nil {
		t.Error("a cut is verified without tables")
	}
	if err := f.VerifyShut(); err == nil {
		t.Error("a closed fence is verified without tables")
	}
}
