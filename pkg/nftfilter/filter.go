// Package nftfilter restricts the addresses of Services to the ports of the Services: an
// nftables table of kvip rejects, before kube-proxy can redirect it, all traffic from outside to
// a protected address except for the allowed ports.
//
// It does not decide which addresses are protected and which ports are allowed, it adds no
// address to a link, and it never changes other tables. docs/design/services.md states the rule
// S5 that comments name.
package nftfilter

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/assignment"
)

// Table is the name of the table, of family inet: nft list table inet kvip.
const Table = "kvip"

// ErrNotWritten: the kernel keeps the table that it had before, or none.
var ErrNotWritten = errors.New("the packet filter was not written")

// Config configures a Filter.
type Config struct {
	// Timeout is the lifetime of the table's elements: at least 1 s, and longer than that of an
	// address, so that an address is protected as long as it exists (S5).
	Timeout time.Duration
	// Log receives a message when the whole table is written; nil discards it.
	Log *slog.Logger
}

// Filter writes kvip's table of this network namespace. It holds no socket and needs no Close.
// It must not be used by several goroutines at once.
type Filter struct {
	cfg Config
	// built means that the table, if it exists, has the layout of this version.
	built bool
}

// New returns a Filter. It does not access the kernel.
func New(cfg Config) (*Filter, error) {
	if cfg.Timeout < time.Second {
		return nil, fmt.Errorf("configure packet filter: Timeout is required, at least 1s, not %v",
			cfg.Timeout)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Filter{cfg: cfg}, nil
}

// Apply makes the table protect exactly the addresses of the assignments, in any State, and
// allow their Ports, in one transaction: a packet meets the old table or the new one. It also
// corrects the table if another program removed it or another version of kvip wrote it.
//
// It always writes, which restarts all timeouts: call it on each change and at least three
// times in a Timeout. Established connections continue even if their port is not allowed any
// more.
//
// Entries that cannot be protected (an unusable address, an unknown protocol, port 0) are named
// in the error and left out; the others are applied. After ErrNotWritten the kernel keeps the
// old table.
func (f *Filter) Apply(list []assignment.Assignment) error {
	e, invalid := encode(list)
	err := transact(func(b *batch) { b.table(e, f.cfg.Timeout, !f.built) })
	if err != nil {
		f.built = false
		err = fmt.Errorf("apply nftables table %s: %w: %w", Table, ErrNotWritten, err)
		return errors.Join(invalid, err)
	}
	if !f.built {
		f.built = true
		f.cfg.Log.Info("protecting Service addresses: nftables table built",
			"table", Table, "addresses", len(e[family4.addresses])+len(e[family6.addresses]),
			"ports", len(e[family4.ports])+len(e[family6.ports]), "timeout", f.cfg.Timeout)
	}
	return invalid
}

// Remove deletes the table. It is idempotent: a missing table is not an error.
func (f *Filter) Remove() error {
	f.built = false
	return Cleanup()
}

// Installed reports whether a table of kvip is in this network namespace. It is false on a
// kernel without nftables.
func Installed() (bool, error) {
	conn, err := open()
	if err != nil {
		return false, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if lacksNftables(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", explain(err))
	}
	isKvip := func(t *nftables.Table) bool { return t.Name == Table }
	return slices.ContainsFunc(tables, isKvip), nil
}

// Cleanup deletes a table that a killed kvip of any version left in this network namespace. It
// is idempotent. A running kvip writes the table again at its next Apply.
func Cleanup() error {
	installed, err := Installed()
	if err != nil || !installed {
		return err
	}
	if err := transact((*batch).remove); err != nil {
		return fmt.Errorf("delete nftables table %s: %w", Table, err)
	}
	return nil
}

// lacksNftables reports whether err means a kernel without netfilter's netlink (protocol not
// supported) or without nftables in it, which is an invalid request (nfnetlink.c).
func lacksNftables(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}
