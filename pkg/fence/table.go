package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Flags of a table, linux/netfilter/nf_tables.h: only the owner's socket may change it (Linux
// 5.12), and it outlives that socket, after which the next one may take it over (Linux 6.9).
const (
	flagOwner   = 2
	flagPersist = 4
)

// answerTimeout limits one request to the kernel. A transaction waits for those of all other
// programs.
const answerTimeout = 2 * time.Second

// setSize is the number of elements that a set may have, with those that ended since the kernel
// last collected them, once a second: each ticket is one.
const setSize = 1 << 16

// table is the connection to the table of one address. The kernel knows the owner of a table by its
// socket, so that every change goes through the same one.
type table struct {
	name   string
	conn   *nftables.Conn
	raw    *netlink.Conn // of conn
	broken bool          // a request failed: connect again
	owned  bool          // this connection created the table, or took it over
}

func openTable(name string) (*table, error) {
	t := &table{name: name}
	return t, t.connect()
}

func (t *table) connect() (err error) {
	t.broken, t.owned = false, false
	t.conn, err = nftables.New(nftables.AsLasting(),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			t.raw = c
			return errors.Join(c.SetReadBuffer(1<<20), c.SetWriteBuffer(1<<20))
		}))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	return nil
}

// reconnect connects again if a request failed. The kernel keeps a table with flagPersist, which
// has no owner then; without the flag owner it keeps it anyway.
func (t *table) reconnect() error {
	if !t.broken {
		return nil
	}
	t.close()
	return t.connect()
}

func (t *table) close() { _ = t.conn.CloseLasting() }

func (t *table) ref() *nftables.Table {
	return &nftables.Table{Name: t.name, Family: nftables.TableFamilyNetdev}
}

// create creates the table with flags, or takes it over if its flags are the same. The library
// sends no flags.
func (t *table) create(flags uint32) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.ByteOrder = binary.BigEndian
	attributes.String(unix.NFTA_TABLE_NAME, t.name)
	attributes.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	body, err := attributes.Encode()
	if err != nil {
		return err
	}
	control := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	create := netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create,
		},
		Data: append([]byte{unix.NFPROTO_NETDEV, 0, 0, 0}, body...),
	}
	t.deadline()
	_, err = t.raw.SendMessages([]netlink.Message{
		control(unix.NFNL_MSG_BATCH_BEGIN), create, control(unix.NFNL_MSG_BATCH_END),
	})
	if err == nil {
		_, err = t.raw.Receive()
	}
	t.owned = err == nil
	return t.failed("create", err)
}

// build writes sets, chains and rules of a layout for a link, in one transaction. The address is
// guarded for a short time, and has no element in the set alive.
func (t *table) build(l layout, device string, egress bool) error {
	table := t.ref()
	for i, name := range []string{setAlive, setGuard, setTicket} {
		set := &nftables.Set{
			Table: table, ID: uint32(i + 1), Name: name, KeyType: l.keyType(), HasTimeout: true,
			Dynamic: true, KeyByteOrder: binaryutil.BigEndian, Size: setSize,
		}
		var elements []nftables.SetElement
		if name == setGuard {
			elements = []nftables.SetElement{{Key: l.vip.AsSlice(), Timeout: guardLifetimes[0]}}
		}
		if err := t.conn.AddSet(set, elements); err != nil {
			return fmt.Errorf("build nftables table %s: %w", t.name, err)
		}
	}
	t.chain(l.chainIn(device, egress), nftables.ChainHookIngress, device, l.in())
	if egress {
		t.chain(chainOut, nftables.ChainHookEgress, device, l.out())
	}
	t.chain(chainRenew, nftables.ChainHookIngress, "lo", l.renew())
	return t.flush("build")
}

func (t *table) chain(name string, hook *nftables.ChainHook, device string, rules [][]expr.Any) {
	accept := nftables.ChainPolicyAccept
	c := t.conn.AddChain(&nftables.Chain{
		Table: t.ref(), Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Device: device,
		Priority: nftables.ChainPriorityRef(priority), Policy: &accept,
	})
	for _, r := range rules {
		t.conn.AddRule(&nftables.Rule{Table: t.ref(), Chain: c, Exprs: r})
	}
}

func (t *table) flush(what string) error {
	t.deadline()
	return t.failed(what, t.conn.Flush())
}

// deadline limits the next request.
func (t *table) deadline() { _ = t.raw.SetDeadline(time.Now().Add(answerTimeout)) }

// failed explains an error of a request. The answers to a request that failed may be unread, so the
// connection is not used again: it would take them for those of the next request.
func (t *table) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	t.broken = true
	return fmt.Errorf("%s nftables table %s: %w", what, t.name, err)
}

// has reports whether the table exists and has a chain with the name. A list that is made while
// another program changes tables may miss one (NLM_F_DUMP_INTR), so that a second one decides.
func (t *table) has(chain string) (bool, error) {
	for range 2 {
		t.deadline()
		list, err := t.conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
		if err != nil {
			return false, t.failed("list the chains of", err)
		}
		if slices.ContainsFunc(list, func(c *nftables.Chain) bool {
			return c.Table.Name == t.name && c.Name == chain
		}) {
			return true, nil
		}
	}
	return false, nil
}

// remaining returns the lifetime that is left of the address's element in a set, 0 if there is
// none.
func (t *table) remaining(set string, l layout) (time.Duration, error) {
	t.deadline()
	list, err := t.conn.GetSetElements(&nftables.Set{
		Table: t.ref(), Name: set, KeyType: l.keyType(), HasTimeout: true,
	})
	if err != nil {
		return 0, t.failed("read set "+set+" of", err)
	}
	for _, e := range list {
		if slices.Equal(e.Key, l.vip.AsSlice()) {
			return e.Expires, nil
		}
	}
	return 0, nil
}

// deleteElement deletes the address's element of the set alive. It adds it first, since a missing
// one makes the transaction fail.
func (t *table) deleteElement(l layout) error {
	set := &nftables.Set{Table: t.ref(), Name: setAlive, KeyType: l.keyType(), HasTimeout: true}
	list := []nftables.SetElement{{Key: l.vip.AsSlice(), Timeout: step}}
	err := errors.Join(t.conn.SetAddElements(set, list), t.conn.SetDeleteElements(set, list))
	if err != nil {
		return err
	}
	return t.flush("close")
}

// remove deletes the table, which exists.
func (t *table) remove() error {
	t.conn.DelTable(t.ref())
	return t.flush("delete")
}
