// Package relay passes on TCP packets for virtual IPs that belong to connections of other hosts:
// of holders that left while they could still serve (F11). A table of nftables for each address
// looks at each packet before the protocols of this host do. It notes new connections, which are
// this host's. Packets of these, and of those that this host had before, stay here. Packets of a
// connection that another host has named get that host's hardware address and go back to the link;
// all others go to the last holder. Answers come from there directly: the client sees the same
// address. A packet that comes from one of these hosts stays here, whatever it belongs to: no
// packet goes round.
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/netdev"
)

// Link is the link of the addresses.
type Link struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
}

// Host is another host that serves connections for the addresses.
type Host struct {
	MAC   net.HardwareAddr
	Flows []Flow // in order, without repetitions
}

func (h Host) equal(o Host) bool {
	return slices.Equal(h.MAC, o.MAC) && slices.Equal(h.Flows, o.Flows)
}

// Config of a Relay.
type Config struct {
	// VIPs are the addresses. At least one. Required.
	VIPs []netip.Addr
	// Own lists the connections of this host. Required.
	Own func() ([]Flow, error)
	// Log receives a message when relaying begins and ends; nil discards it.
	Log *slog.Logger
}

// Relay has one table for each address while it relays. It is not safe for concurrent use. Make it
// with New.
type Relay struct {
	cfg    Config
	on     Link
	hosts  []Host
	tables []*table // none while nothing is relayed
}

// New validates the configuration. It changes nothing on this host.
func New(cfg Config) (*Relay, error) {
	switch {
	case len(cfg.VIPs) == 0:
		return nil, errors.New("configure relay: VIPs are required")
	case cfg.Own == nil:
		return nil, errors.New("configure relay: Own is required")
	}
	for _, a := range cfg.VIPs {
		if err := netaddr.Check(a); err != nil {
			return nil, fmt.Errorf("configure relay: %w", err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Relay{cfg: cfg}, nil
}

// Active reports whether packets are relayed.
func (r *Relay) Active() bool { return len(r.tables) > 0 }

// To relays packets that come in on a link to the hosts that have their connections, and to the
// first host those of connections that none has named. Without hosts it stops. After an error
// nothing is relayed.
func (r *Relay) To(on Link, hosts []Host) error {
	if len(hosts) == 0 {
		if r.Active() {
			return r.End()
		}
		return nil
	}
	for _, mac := range append([]net.HardwareAddr{on.MAC}, macs(hosts)...) {
		if len(mac) != 6 {
			return fmt.Errorf("relay on %s: %q is not a hardware address of Ethernet", on.Name, mac)
		}
	}
	same := r.on.Index == on.Index && r.on.Name == on.Name && slices.Equal(r.on.MAC, on.MAC)
	built := r.Active() && same && r.complete()
	if built && slices.EqualFunc(r.hosts, hosts, Host.equal) {
		return nil
	}
	if err := r.relay(on, hosts, built); err != nil {
		return errors.Join(err, r.End())
	}
	return nil
}

// complete reports whether no other program has removed a table.
func (r *Relay) complete() bool {
	return !slices.ContainsFunc(r.tables, func(t *table) bool {
		there, err := t.Has(chainIn)
		return err != nil || !there
	})
}

// relay writes the hosts to the tables, which it builds if there are none yet. Between the building
// and the list of this host's connections new ones are noted already, so that none is missed.
func (r *Relay) relay(on Link, hosts []Host, built bool) error {
	if !built {
		if err := r.build(on); err != nil {
			return err
		}
	}
	for _, t := range r.tables {
		if err := t.setHosts(hosts); err != nil {
			return err
		}
	}
	if !slices.EqualFunc(macs(r.hosts), macs(hosts), slices.Equal) {
		r.cfg.Log.Info("relaying packets of connections of other hosts", "link", on.Name,
			"macs", fmt.Sprint(macs(hosts)))
	}
	r.hosts = slices.Clone(hosts)
	return nil
}

func (r *Relay) build(on Link) error {
	if err := r.End(); err != nil {
		return err
	}
	if _, err := cleanup(r.cfg.VIPs); err != nil { // of an earlier process
		return err
	}
	r.on = on
	for _, vip := range r.cfg.VIPs {
		t, err := buildTable(vip.Unmap(), on)
		if err != nil {
			return err
		}
		r.tables = append(r.tables, t)
	}
	own, err := r.cfg.Own()
	for _, t := range r.tables {
		if err == nil {
			err = t.addOwn(own)
		}
	}
	return err
}

// End stops relaying.
func (r *Relay) End() error {
	if !r.Active() {
		return nil
	}
	r.cfg.Log.Info("relaying ends", "link", r.on.Name)
	for _, t := range r.tables {
		t.Close()
	}
	r.tables, r.hosts = nil, nil
	_, err := cleanup(r.cfg.VIPs) // where the kernel has not removed them with the connections
	return err
}

func macs(hosts []Host) (list []net.HardwareAddr) {
	for _, h := range hosts {
		list = append(list, h.MAC)
	}
	return list
}

// tablePrefix begins the names of the tables.
const tablePrefix = "kvip-relay-"

func tableName(vip netip.Addr) string { return netdev.TableName(tablePrefix, vip) }

// cleanup removes the tables of VIPs, or without VIPs all tables of this package. It returns their
// names.
func cleanup(vips []netip.Addr) (removed []string, err error) {
	matching := func(name string) bool { return netdev.IsTableOf(name, tablePrefix, vips) }
	return netdev.Cleanup(matching, 0)
}
