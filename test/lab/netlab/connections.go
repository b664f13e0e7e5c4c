package netlab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// ConnectionsConfig describes long connections. Host, Target, TLS and Count are required.
type ConnectionsConfig struct {
	Host   *Host          // has the connections
	Target netip.AddrPort // of the connections
	TLS    *tls.Config    // verifies the server
	Count  int            // how many there are
	Path   string         // of the requests; empty: /livez/ping
	Every  time.Duration  // between two requests on one connection; 0: 50 ms
	// Slow is how long each request on every second connection takes at least: its end is sent so
	// long after its beginning.
	Slow time.Duration
}

// Broken is a connection that ended with an error while it was used.
type Broken struct {
	At     time.Time
	Opened time.Time
	Result string // one of the Failed words
}

// Connections are long connections with one request after the other. One that breaks is opened
// again.
type Connections struct {
	cfg    ConnectionsConfig
	head   string // of a request, without the empty line at its end
	cancel context.CancelFunc
	open   sync.WaitGroup

	mu      sync.Mutex
	broken  []Broken
	slowest time.Duration
	answers int
}

// answerLimit is how long an answer may take until the connection counts as broken.
const answerLimit = 5 * time.Second

// StartConnections opens the connections, and returns when each has been answered. Stop ends them.
func StartConnections(cfg ConnectionsConfig) (*Connections, error) {
	if cfg.Host == nil || !cfg.Target.IsValid() || cfg.TLS == nil || cfg.Count < 1 {
		return nil, errors.New("start connections: Host, Target, TLS and Count are required")
	}
	if cfg.Path == "" {
		cfg.Path = "/livez/ping"
	}
	if cfg.Every == 0 {
		cfg.Every = 50 * time.Millisecond
	}
	cfg.TLS = cfg.TLS.Clone()
	cfg.TLS.ServerName = cfg.Target.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Connections{cfg: cfg, cancel: cancel}
	c.head = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: netlab\r\n", cfg.Path,
		cfg.Target)
	ready := make(chan error, cfg.Count)
	for i := range cfg.Count {
		slow := time.Duration(i%2) * cfg.Slow
		c.open.Go(func() { c.keep(ctx, slow, ready) })
	}
	for range cfg.Count {
		if err := <-ready; err != nil {
			c.Stop()
			return nil, fmt.Errorf("open a connection to %s: %w", cfg.Target, err)
		}
	}
	return c, nil
}

// keep has one connection after the other until ctx ends. It reports the first answer, or why there
// is none.
func (c *Connections) keep(ctx context.Context, slow time.Duration, ready chan<- error) {
	var once sync.Once
	report := func(err error) { once.Do(func() { ready <- err }) }
	for ctx.Err() == nil {
		opened := time.Now()
		err := c.use(ctx, slow, report)
		report(err)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.broken = append(c.broken, Broken{At: time.Now(), Opened: opened, Result: classify(err)})
		c.mu.Unlock()
		time.Sleep(c.cfg.Every)
	}
}

// use sends one request after the other on one connection, until it breaks or ctx ends.
func (c *Connections) use(ctx context.Context, slow time.Duration, report func(error)) error {
	var file *os.File
	err := c.cfg.Host.Do(func() (err error) {
		file, err = dial(c.cfg.Target)
		return err
	})
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if err := connected(file); err != nil {
		return err
	}
	conn := tls.Client(socket{file}, c.cfg.TLS)
	answers := bufio.NewReader(conn)
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		began := time.Now()
		if err := conn.SetDeadline(began.Add(answerLimit)); err != nil {
			return err
		}
		if err := c.request(conn, slow); err != nil {
			return err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		if err != nil {
			return err
		}
		report(nil)
		c.answered(time.Since(began))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// request sends one request, its end slow after its beginning.
func (c *Connections) request(conn io.Writer, slow time.Duration) error {
	const end = "\r\n"
	if slow == 0 {
		_, err := io.WriteString(conn, c.head+end)
		return err
	}
	if _, err := io.WriteString(conn, c.head); err != nil {
		return err
	}
	time.Sleep(slow)
	_, err := io.WriteString(conn, end)
	return err
}

func (c *Connections) answered(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers++
	c.slowest = max(c.slowest, took)
}

// Result returns which connections broke, how many requests were answered and how long the slowest
// answer took.
func (c *Connections) Result() (broken []Broken, answers int, slowest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Broken{}, c.broken...), c.answers, c.slowest
}

// Stop closes the connections.
func (c *Connections) Stop() {
	c.cancel()
	c.open.Wait()
}
