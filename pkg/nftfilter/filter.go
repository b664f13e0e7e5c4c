// Package nftfilter keeps what is not the Service away from a Service's address: an nftables
// table of kvip's own that refuses, before kube-proxy can redirect it, everything that comes
// to a protected address from outside and is not for an allowed port.
//
// It decides neither which addresses are protected nor which ports are allowed, and puts no
// address on a link; it never touches a table that is not kvip's. The rule S5 named in
// comments is stated in docs/design/services.md.
package nftfilter

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Table is the name of the table, of family inet: nft list table inet kvip.
const Table = "kvip"

// DefaultTimeout is how long the table protects after an Apply: the shortest lifetime of a
// Service's address (S8), so that the two end together when kvip is killed.
const DefaultTimeout = 60 * time.Second

// ErrNotWritten says that the kernel has the table that it had before, or none.
var ErrNotWritten = errors.New("the packet filter was not written")

// Config of a Filter.
type Config struct {
	// Timeout is the lifetime of the table's elements; 0 is DefaultTimeout. At least 1 s.
	Timeout time.Duration
	// Log is told when the table is built anew; nil logs nothing.
	Log *slog.Logger
}

// Filter is the table of this network namespace, as one kvip sees it. It holds no socket and
// needs no closing. One goroutine at a time may use it.
type Filter struct {
	cfg Config
	// built says that the table, if it is there, has the layout of this version.
	built bool
}

// New returns a Filter and touches nothing yet.
func New(cfg Config) (*Filter, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Timeout < time.Second {
		return nil, fmt.Errorf("make filter: a timeout of %v is too short: give at least 1 s", cfg.Timeout)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Filter{cfg: cfg}, nil
}

// Apply makes the table exactly what is wanted, in one transaction: a packet meets the old
// table or the new one, never less. Also where somebody removed the table, or another version
// of kvip left one.
//
// It always writes, whatever was there, which starts every timeout anew: call it on each
// change and at least three times in a Timeout. Connections that are established go on even
// if their port is not wanted any more.
//
// What cannot be protected (no address, an unknown protocol, port 0) is named in the error
// and left out; the rest is applied. After ErrNotWritten the kernel has what it had before.
func (f *Filter) Apply(w Want) error {
	content, wrong := encode(w)
	err := transact(func(b *batch) { b.table(content, f.cfg.Timeout, !f.built) })
	if err != nil {
		f.built = false
		return errors.Join(wrong, fmt.Errorf("apply nftables table %s: %w: %w", Table, ErrNotWritten, err))
	}
	if !f.built {
		f.built = true
		f.cfg.Log.Info("protecting Service addresses: nftables table built",
			"table", Table, "addresses", len(w.Addresses), "ports", len(w.Ports), "timeout", f.cfg.Timeout)
	}
	return wrong
}

// Remove deletes the table. That it is not there is no error.
func (f *Filter) Remove() error {
	f.built = false
	return Cleanup()
}
