package bgp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/kvip/kvip/test/lab/wait"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// fakePeer is a router that listens on a loopback address.
type fakePeer struct{ listener *net.TCPListener }

// listen starts a fake peer. options set what the test needs on its listening socket.
func listen(t *testing.T, address string, options ...func(fd int) error) *fakePeer {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errs []error
		err := raw.Control(func(fd uintptr) {
			for _, set := range options {
				errs = append(errs, set(int(fd)))
			}
		})
		return errors.Join(append(errs, err)...)
	}}
	config.SetMultipathTCP(false) // it knows no MD5
	l, err := config.Listen(context.Background(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &fakePeer{l.(*net.TCPListener)}
}

// config returns a configuration that leads to the fake peer.
func (f *fakePeer) config(name string, change func(*PeerConfig)) PeerConfig {
	at := f.listener.Addr().(*net.TCPAddr).AddrPort()
	cfg := testPeer()
	cfg.Name, cfg.Address, cfg.Port = name, at.Addr(), at.Port()
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// accept returns the next connection.
func (f *fakePeer) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	_ = f.listener.SetDeadline(time.Now().Add(patience))
	c, err := f.listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// session accepts a connection and establishes a session, in which the peer answers each KEEPALIVE.
func (f *fakePeer) session(t *testing.T) *fakeSession {
	t.Helper()
	s := f.handshake(t)
	go s.read()
	return s
}

// handshake accepts a connection and establishes a session. Nothing is read after that.
func (f *fakePeer) handshake(t *testing.T) *fakeSession {
	t.Helper()
	s := &fakeSession{conn: f.accept(t), routes: received{}}
	_ = s.conn.SetDeadline(time.Now().Add(patience))
	data, err := s.message()
	if err != nil || data[headerSize-1] != codec.BGP_MSG_OPEN {
		t.Fatalf("%x: %v, want an OPEN", data, err)
	}
	s.open = decode(data).(Open)
	s.restarting = restarts(t, data)
	s.write(t, fakeOpen(s.open))
	s.write(t, wire(codec.BGP_MSG_KEEPALIVE))
	if data, err = s.message(); err != nil || data[headerSize-1] != codec.BGP_MSG_KEEPALIVE {
		t.Fatalf("%x: %v, want a KEEPALIVE", data, err)
	}
	_ = s.conn.SetDeadline(time.Time{})
	return s
}

// restarts reports whether an OPEN has the R bit of RFC 4724 section 3.
func restarts(t *testing.T, open []byte) bool {
	t.Helper()
	m, err := codec.ParseBGPMessage(open)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Body.(*codec.BGPOpen).OptParams {
		for _, c := range p.(*codec.OptionParameterCapability).Capability {
			if g, ok := c.(*codec.CapGracefulRestart); ok {
				return g.Flags&0x8 != 0
			}
		}
	}
	return false
}

// fakeOpen returns the OPEN of a router with the families of another OPEN.
func fakeOpen(o Open) []byte {
	cfg := testPeer()
	cfg.LocalAS, cfg.RouterID, cfg.HoldTime = 65000, netip.MustParseAddr("10.0.0.254"), 90*time.Second
	cfg.GracefulRestart = time.Second
	var list []Family
	for f, has := range o.Families {
		if has {
			list = append(list, Family(f))
		}
	}
	m, err := cfg.open(list, false)
	if err != nil {
		panic(err)
	}
	data, err := encode(m)
	if err != nil {
		panic(err)
	}
	return data
}

// fakeSession is the peer's side of a session.
type fakeSession struct {
	conn       *net.TCPConn
	open       Open // of the speaker
	restarting bool // its R bit

	mu            sync.Mutex
	routes        received
	updates       int // UPDATEs with routes
	ends          int // End-of-RIB
	keepalives    int
	notifications []Notification
	closed        error // why nothing more comes
}

// message reads one message.
func (s *fakeSession) message() ([]byte, error) {
	data := make([]byte, headerSize, maxSize)
	if _, err := io.ReadFull(s.conn, data); err != nil {
		return nil, err
	}
	data = data[:binary.BigEndian.Uint16(data[16:])]
	_, err := io.ReadFull(s.conn, data[headerSize:])
	return data, err
}

// write sends bytes.
func (s *fakeSession) write(t *testing.T, data []byte) {
	t.Helper()
	if _, err := s.conn.Write(data); err != nil {
		t.Fatal(err)
	}
}

// read reads until the connection ends, and closes this side.
func (s *fakeSession) read() {
	s.readOnly()
	_ = s.conn.Close()
}

// readOnly reads until the connection ends.
func (s *fakeSession) readOnly() {
	for {
		data, err := s.message()
		s.mu.Lock()
		if err == nil {
			err = s.take(data)
		}
		s.closed = err
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take takes one message. The caller holds the lock.
func (s *fakeSession) take(data []byte) error {
	switch data[headerSize-1] {
	case codec.BGP_MSG_UPDATE:
		announced, withdrawn, err := s.routes.apply(data)
		if len(announced)+len(withdrawn) == 0 {
			s.ends++
		} else {
			s.updates++
		}
		return err
	case codec.BGP_MSG_KEEPALIVE:
		s.keepalives++
		_, _ = s.conn.Write(wire(codec.BGP_MSG_KEEPALIVE)) // read sees the end
	case codec.BGP_MSG_NOTIFICATION:
		s.notifications = append(s.notifications, decode(data).(Notification))
	}
	return nil
}

// look returns the present state, without the connection.
func (s *fakeSession) look() fakeSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fakeSession{routes: maps.Clone(s.routes), updates: s.updates, ends: s.ends,
		keepalives: s.keepalives, notifications: s.notifications, closed: s.closed}
}

// has waits until the peer has exactly the routes of these prefixes, in sessions whose first table
// is complete.
func (s *fakeSession) has(t *testing.T, prefixes ...string) {
	t.Helper()
	wait.Eventually(t, patience, fmt.Sprintf("the routes %v", prefixes), func() bool {
		now := s.look()
		for _, p := range prefixes {
			if _, ok := now.routes[netip.MustParsePrefix(p)]; !ok {
				return false
			}
		}
		return len(now.routes) == len(prefixes) && now.ends > 0
	})
}

// over waits until the connection has ended, in order, after the notification want; empty means
// none.
func (s *fakeSession) over(t *testing.T, want string) {
	t.Helper()
	wait.Eventually(t, patience, "the end of the connection", func() bool {
		return s.look().closed != nil
	})
	now := s.look()
	if !errors.Is(now.closed, io.EOF) {
		t.Errorf("the connection ended with: %v", now.closed)
	}
	got := ""
	for _, n := range now.notifications {
		got += n.String()
	}
	if got != want {
		t.Errorf("notification %q, want %q", got, want)
	}
}

// runSpeaker runs a Speaker with peers, and returns what ends it. The end of the test ends it, too.
func runSpeaker(t *testing.T, cfg Config, peers ...PeerConfig) (s *Speaker, stop func()) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("Run does not return")
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

// statusOf returns the status of a peer.
func statusOf(t *testing.T, s *Speaker, name string) Status {
	t.Helper()
	for _, p := range s.Status() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no peer %s", name)
	return Status{}
}

// reason waits until a peer has no session for a reason that contains text.
func reason(t *testing.T, s *Speaker, name, text string) {
	t.Helper()
	wait.Eventually(t, patience, name+" without a session because of "+text, func() bool {
		return strings.Contains(statusOf(t, s, name).Reason, text)
	})
}
