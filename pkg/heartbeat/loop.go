package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
)

// loop is what Run has.
type loop struct {
	*Heartbeat
	detector *Detector
	sockets  map[string]*socket // by the key of the link
	heardOn  map[string]string  // the key of the link of each node's last frame
	results  chan result
	group    *sync.WaitGroup
}

// socket is an open packet socket of a link.
type socket struct {
	conn  arp.Conn
	frame []byte
}

// reopenAfter is how long a link that failed is left alone.
const reopenAfter = time.Second

// update opens and closes sockets as Set said, and passes the nodes on.
func (l *loop) update() {
	l.mu.Lock()
	links := l.links
	names := make([]string, 0, len(l.nodes))
	for name := range l.nodes {
		names = append(names, name)
	}
	l.mu.Unlock()
	l.detector.SetNodes(names)
	for key, one := range links {
		if l.sockets[key] == nil {
			l.open(key, one)
		}
	}
	for key, s := range l.sockets {
		if _, wanted := links[key]; !wanted {
			_ = s.conn.Close() // its reader ends
			delete(l.sockets, key)
		}
	}
}

func (l *loop) open(key string, on Link) {
	c, err := l.cfg.listen(on)
	if err != nil {
		l.cfg.Log.Warn("cannot send heartbeats", "link", on.Name, "err", err)
		time.AfterFunc(reopenAfter, l.wake.Notify)
		return
	}
	s := &socket{conn: c, frame: encode(on.MAC, l.cfg.Node)}
	l.sockets[key] = s
	l.group.Go(func() {
		err := l.read(key, c)
		if !errors.Is(err, net.ErrClosed) {
			l.cfg.Log.Warn("cannot receive heartbeats", "link", on.Name, "err", err)
			_ = c.Close() // so that send fails as well and opens another one
		}
	})
}

// read passes frames on until the socket fails.
func (l *loop) read(key string, c arp.Conn) error {
	b := make([]byte, len(magic)+maxName+64)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if node, ok := decode(b[:n]); ok && node != l.cfg.Node {
			select {
			case l.heard <- frame{node, key, l.cfg.Clock()}:
			default:
			}
		}
	}
}

func (l *loop) close() {
	for _, s := range l.sockets {
		_ = s.conn.Close()
	}
}

// drain records all frames that were read.
func (l *loop) drain() {
	for range len(l.heard) {
		l.record(<-l.heard)
	}
}

// record records a frame of a known node, so that what is remembered has a limit.
func (l *loop) record(f frame) {
	l.mu.Lock()
	_, known := l.nodes[f.node]
	l.mu.Unlock()
	if known {
		l.heardOn[f.node] = f.link
		l.detector.Heard(f.node, f.at)
	}
}

func (l *loop) send() {
	for key, s := range l.sockets {
		if _, err := s.conn.WriteTo(s.frame, arp.Address(broadcast)); err != nil {
			l.cfg.Log.Debug("cannot send a heartbeat", "err", err)
			_ = s.conn.Close()
			delete(l.sockets, key)
			time.AfterFunc(reopenAfter, l.wake.Notify)
		}
	}
}

// ask asks for a node's own address where its frames came from, and has the result judged.
func (l *loop) ask(ctx context.Context, name string) {
	l.mu.Lock()
	n := l.nodes[name]
	var all []assignment.Assignment // of open questions as well
	for node, key := range l.heardOn {
		if own, ok := l.nodes[node].own[key]; ok {
			all = append(all, own)
		}
	}
	l.mu.Unlock()
	own, ok := n.own[l.heardOn[name]]
	if !ok {
		l.detector.Abandon(name)
		return
	}
	l.cfg.probe.Set(all)
	l.group.Go(func() {
		began := l.cfg.Clock()
		answers, err := l.cfg.probe.Probe(ctx, []netip.Addr{own.Addr}, answerWithin)
		r := result{node: name, valid: err == nil && l.cfg.Clock()-began < answerWithin+answerLate}
		for _, mac := range answers { // one of a switch that answers for others proves nothing
			r.answered = r.answered || slices.ContainsFunc(n.macs, func(own net.HardwareAddr) bool {
				return slices.Equal(own, mac)
			})
		}
		select {
		case l.results <- r:
		case <-ctx.Done():
		}
	})
}

func (l *loop) judge(r result) {
	l.drain()
	switch {
	case r.answered:
		l.detector.Answered(r.node)
	case !r.valid:
		l.detector.Abandon(r.node)
	case l.detector.Unanswered(r.node, l.cfg.Clock()):
		l.cfg.Silent(r.node)
	}
}

const header = 14 // of Ethernet

// encode returns the frame of a node.
func encode(mac net.HardwareAddr, node string) []byte {
	b := slices.Concat(broadcast, mac, []byte{etherType >> 8, etherType & 0xff})
	return append(append(b, magic...), node+"\n"...)
}

// decode returns the node of a frame, which may have been filled up.
func decode(b []byte) (node string, ok bool) {
	if len(b) < header {
		return "", false
	}
	text, found := bytes.CutPrefix(b[header:], []byte(magic))
	name, _, ended := bytes.Cut(text, []byte{'\n'})
	return string(name), found && ended && len(name) > 0 && len(name) <= maxName
}
