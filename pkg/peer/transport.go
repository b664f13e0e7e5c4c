package peer

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/quorum"
)

// maxAgents limits how many agents a Transport talks to.
const maxAgents = 32

// perRead limits how many datagrams of one agent a call of Read takes.
const perRead = 64

// Dropped is why a datagram of an agent was dropped.
type Dropped string

// Reasons for dropping a datagram.
const (
	DroppedForged    Dropped = "forged"
	DroppedMalformed Dropped = "malformed"
	DroppedReplayed  Dropped = "replayed"
)

// Reasons returns the reasons for dropping a datagram.
func Reasons() []Dropped { return []Dropped{DroppedForged, DroppedMalformed, DroppedReplayed} }

// Config of a Transport.
type Config struct {
	// ID is the identity of this agent. Required.
	ID string
	// Dropped is called for each datagram that is dropped. Nil ignores them.
	Dropped func(why Dropped)
	// Log receives errors of sockets. Nil discards them.
	Log *slog.Logger
}

// Transport sends and receives messages. It is not safe for concurrent use, and no method waits.
// Make it with New.
type Transport struct {
	cfg   Config
	key   *ecdh.PrivateKey
	local netip.AddrPort
	peers map[string]*connection
	sent  uint64            // number of the last datagram sent
	seen  map[string]uint64 // numbers of the last datagrams received, by the sender's key
	frame []byte            // of the datagram that is sent
	read  []byte            // of the one that is received
}

// connection is what a Transport has for one other agent.
type connection struct {
	agent    Agent
	to, from direction
	socket   *socket
}

// New makes the key of this process. It opens no socket.
func New(cfg Config) (*Transport, error) {
	if cfg.ID == "" || len(cfg.ID) > maxID {
		return nil, fmt.Errorf("configure peer transport: ID of %d bytes: want 1 to %d", len(cfg.ID),
			maxID)
	}
	if cfg.Dropped == nil {
		cfg.Dropped = func(Dropped) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("configure peer transport: %w", err)
	}
	return &Transport{
		cfg: cfg, key: key, peers: map[string]*connection{}, seen: map[string]uint64{},
		read: make([]byte, maxLength+1),
	}, nil
}

// Self returns what to publish for an address at which the others reach this agent.
func (t *Transport) Self(local netip.AddrPort) Agent {
	return Agent{ID: t.cfg.ID, Address: local, Key: publicText(t.key)}
}

// SetAgents opens and closes sockets so that there is one from local to each other agent of the
// list. It keeps those that have not changed, or of which there is only what is not valid. It
// returns the agents that can be reached, and what is wrong with the others.
func (t *Transport) SetAgents(local netip.AddrPort, list []Agent) (reached []string, err error) {
	if local != t.local {
		t.Close()
		t.local = local
	}
	wanted, keys := map[string]Agent{}, map[string]bool{}
	for _, a := range list[:min(len(list), maxAgents)] {
		if a.ID != t.cfg.ID {
			wanted[a.ID], keys[a.Key] = a, true
		}
	}
	maps.DeleteFunc(t.seen, func(key string, _ uint64) bool { return !keys[key] })
	for id, p := range t.peers {
		if _, published := wanted[id]; !published {
			p.socket.close()
			delete(t.peers, id)
		}
	}
	var errs []error
	for id, a := range wanted {
		if err := t.connect(a); err != nil {
			errs = append(errs, fmt.Errorf("agent %.80q: %w", id, err))
		}
	}
	for id := range t.peers {
		reached = append(reached, id)
	}
	slices.Sort(reached)
	return reached, errors.Join(errs...)
}

// connect replaces the connection to an agent if another than before was published. What is not
// valid replaces nothing.
func (t *Transport) connect(a Agent) error {
	before := t.peers[a.ID]
	if before != nil && before.agent == a {
		return nil
	}
	if err := a.check(); err != nil {
		return err
	}
	if a.Address.Addr().Is4() != t.local.Addr().Is4() {
		return fmt.Errorf("its address %v is of another family than %v", a.Address, t.local)
	}
	p := &connection{agent: a}
	var err error
	if p.to, p.from, err = directions(t.key, t.cfg.ID, a); err != nil {
		return err
	}
	if before != nil {
		before.socket.close()
		delete(t.peers, a.ID)
	}
	if p.socket, err = openSocket(t.local, a.Address, p.from.cookie); err != nil {
		return err
	}
	t.peers[a.ID] = p
	return nil
}

// Send sends a message to an agent, or to all of them if to is empty. What cannot be sent is lost.
// refused is called for each agent whose host has refused an earlier datagram.
func (t *Transport) Send(to string, m quorum.Message, refused func(agent string)) {
	for id, p := range t.peers {
		if to != "" && to != id {
			continue
		}
		t.sent++
		t.frame = p.to.encode(t.frame[:0], t.sent, m)
		err := p.socket.send(t.frame)
		if errors.Is(err, unix.ECONNREFUSED) { // of an earlier datagram; this one was not sent
			refused(id)
			err = p.socket.send(t.frame)
		}
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.cfg.Log.Debug("cannot send to an agent", "agent", id, "kind", m.Kind.String(), "err", err)
		}
	}
}

// Descriptors returns the sockets to wait for.
func (t *Transport) Descriptors() []int {
	list := make([]int, 0, len(t.peers))
	for _, p := range t.peers {
		list = append(list, p.socket.fd)
	}
	return list
}

// Read passes on what has arrived, at most 64 datagrams of each agent, and the agents whose hosts
// have refused a datagram.
func (t *Transport) Read(received func(from string, m quorum.Message), refused func(agent string)) {
	for id, p := range t.peers {
		for range perRead {
			n, ok, err := p.socket.receive(t.read)
			if !ok {
				break
			}
			if errors.Is(err, unix.ECONNREFUSED) {
				refused(id)
			}
			if err != nil {
				continue
			}
			number, m, err := p.from.decode(t.read[:n])
			switch {
			case errors.Is(err, errForged):
				t.cfg.Dropped(DroppedForged)
			case err != nil:
				t.cfg.Dropped(DroppedMalformed)
			case number <= t.seen[p.agent.Key]:
				t.cfg.Dropped(DroppedReplayed)
			default:
				t.seen[p.agent.Key] = number
				received(id, m)
			}
		}
	}
}

// Close closes the sockets. SetAgents opens them again.
func (t *Transport) Close() {
	for id, p := range t.peers {
		p.socket.close()
		delete(t.peers, id)
	}
}
