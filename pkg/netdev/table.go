// Package netdev has tables of nftables' family netdev: what a link receives, before any protocol
// of the host does, and what it sends. It has the connection to a table, and the expressions of
// which its rules consist (nft(8), linux/netfilter/nf_tables.h).
package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Flags of a table: only the owner's socket may change it (Linux 5.12), and it outlives that
// socket, after which the next one may take it over (Linux 6.9).
const (
	FlagOwner   = 2
	FlagPersist = 4
)

// answerTimeout limits one request to the kernel. A transaction waits for those of all other
// programs.
const answerTimeout = 2 * time.Second

// Table is a connection to one table. The kernel knows the owner of a table by its socket, so that
// every change goes through the same one. It is not safe for concurrent use. Make it with Open.
type Table struct {
	// Conn collects changes, which Flush sends in one transaction.
	Conn *nftables.Conn

	name   string
	raw    *netlink.Conn // of Conn
	broken bool          // a request failed: connect again
	owned  bool          // this connection created the table, or took it over
}

// Open connects to nftables for the table with the name, which need not exist.
func Open(name string) (*Table, error) {
	t := &Table{name: name}
	return t, t.connect()
}

// Name returns the name of the table.
func (t *Table) Name() string { return t.name }

// Owned reports whether this connection created the table, or took it over.
func (t *Table) Owned() bool { return t.owned }

func (t *Table) connect() (err error) {
	t.broken, t.owned = false, false
	t.Conn, err = nftables.New(nftables.AsLasting(),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			t.raw = c
			return errors.Join(c.SetReadBuffer(1<<20), c.SetWriteBuffer(1<<20))
		}))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	return nil
}

// Reconnect connects again if a request failed. The kernel keeps a table with FlagPersist, which
// has no owner then; without the flag owner it keeps it anyway.
func (t *Table) Reconnect() error {
	if !t.broken {
		return nil
	}
	t.Close()
	return t.connect()
}

// Close ends the connection. The table stays unless it has the flag owner alone.
func (t *Table) Close() { _ = t.Conn.CloseLasting() }

// Ref returns the table for requests of the library.
func (t *Table) Ref() *nftables.Table {
	return &nftables.Table{Name: t.name, Family: nftables.TableFamilyNetdev}
}

// Create creates the table with flags, or takes it over if its flags are the same. The library
// sends no flags.
func (t *Table) Create(flags uint32) error {
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

// Chain is a base chain of a link. Packets that no rule drops go on.
type Chain struct {
	Name     string
	Hook     *nftables.ChainHook
	Device   string
	Priority nftables.ChainPriority
	Rules    [][]expr.Any
}

// AddChain adds a chain and its rules to the next transaction.
func (t *Table) AddChain(chain Chain) {
	accept := nftables.ChainPolicyAccept
	c := t.Conn.AddChain(&nftables.Chain{
		Table: t.Ref(), Name: chain.Name, Type: nftables.ChainTypeFilter, Hooknum: chain.Hook,
		Device: chain.Device, Priority: nftables.ChainPriorityRef(chain.Priority), Policy: &accept,
	})
	for _, r := range chain.Rules {
		t.Conn.AddRule(&nftables.Rule{Table: t.Ref(), Chain: c, Exprs: r})
	}
}

// Flush sends the collected changes in one transaction. what names it in an error.
func (t *Table) Flush(what string) error {
	t.deadline()
	return t.failed(what, t.Conn.Flush())
}

// deadline limits the next request.
func (t *Table) deadline() { _ = t.raw.SetDeadline(time.Now().Add(answerTimeout)) }

// failed explains an error of a request. The answers to a request that failed may be unread, so the
// connection is not used again: it would take them for those of the next request.
func (t *Table) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	t.broken = true
	return fmt.Errorf("%s nftables table %s: %w", what, t.name, err)
}

// Has reports whether the table exists and has a chain with the name. A list that is made while
// another program changes tables may miss one (NLM_F_DUMP_INTR), so that a second one decides.
func (t *Table) Has(chain string) (bool, error) {
	for range 2 {
		t.deadline()
		list, err := t.Conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
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

// Remaining returns the lifetime that is left of the element of an address in a set, 0 if there is
// none.
func (t *Table) Remaining(set string, key netip.Addr) (time.Duration, error) {
	t.deadline()
	list, err := t.Conn.GetSetElements(t.addresses(set, key))
	if err != nil {
		return 0, t.failed("read set "+set+" of", err)
	}
	for _, e := range list {
		if slices.Equal(e.Key, key.AsSlice()) {
			return e.Expires, nil
		}
	}
	return 0, nil
}

// DeleteElement deletes the element of an address in a set whose elements have lifetimes. It adds
// it first, since a missing one makes the transaction fail.
func (t *Table) DeleteElement(set string, key netip.Addr) error {
	list := []nftables.SetElement{{Key: key.AsSlice(), Timeout: time.Second}}
	from := t.addresses(set, key)
	err := errors.Join(t.Conn.SetAddElements(from, list), t.Conn.SetDeleteElements(from, list))
	if err != nil {
		return err
	}
	return t.Flush("delete an element of")
}

// addresses returns a set of addresses of the key's family whose elements have lifetimes.
func (t *Table) addresses(name string, key netip.Addr) *nftables.Set {
	return &nftables.Set{Table: t.Ref(), Name: name, KeyType: KeyType(key), HasTimeout: true}
}

// Remove deletes the table, which exists.
func (t *Table) Remove() error {
	t.Conn.DelTable(t.Ref())
	return t.Flush("delete")
}
