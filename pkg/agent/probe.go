package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// The kubelet asks for /healthz by `kvip healthz`, over an abstract Unix socket (unix(7)): anybody on the
// node may bind the port of --health-address while kvip is away, or keep its connections to himself, and
// would have the kubelet end the container. Here each side looks who the other is.

// probeTimeout bounds `kvip healthz`.
const probeTimeout = 4 * time.Second

// probeLimits bounds what root's programs can make this process keep.
var probeLimits = limits{connections: 16, request: requestTimeout, answer: answerTimeout}

// probeName is what the names of the sockets begin with, for the agents with that --health-address.
func probeName(healthAddress string) string { return "kvip/healthz/" + healthAddress + "/" }

// serveProbes serves the local pages to root until ctx ends. The name has an end of its own, so that
// nobody can have taken it.
func (p *pages) serveProbes(ctx context.Context, pages http.Handler) {
	address := &net.UnixAddr{Name: "@" + probeName(p.cfg.HealthAddress) + rand.Text(), Net: "unix"}
	for {
		listener, err := net.ListenUnix("unix", address)
		if err == nil {
			err = p.serveOn(ctx, &rootListener{UnixListener: listener, places: make(chan struct{}, probeLimits.connections)}, pages, probeLimits)
		}
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("cannot serve the probes; trying again", "address", address.Name, "reason", err)
		if !pause(ctx, bindAgain) {
			return
		}
	}
}

// rootListener accepts connections of root alone, and a limited number of them.
type rootListener struct {
	*net.UnixListener
	places chan struct{}
}

// Accept returns the next connection of root.
func (l *rootListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if peer, err := credentials(conn); err == nil && isRoot(peer.Uid) {
			select {
			case l.places <- struct{}{}:
				return &limitedConn{Conn: conn, done: func() { <-l.places }}, nil
			default:
			}
		}
		_ = conn.Close()
	}
}

// credentials returns who is at the other end; its Pid is 0 in another process namespace.
func credentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	err = control(raw, func(fd int) (err error) {
		peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return peer, err
}

// isRoot reports whether the user is root, or the one that this program runs as.
func isRoot(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// Healthz asks the agent with that --health-address in this container, or on this host, for /healthz
// and returns what it says; an error if that is not 200, or there is no such agent.
func Healthz(ctx context.Context, healthAddress string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	sockets, err := link.AbstractSockets(probeName(healthAddress))
	if err != nil {
		return "", fmt.Errorf("look for the agent: %w", err)
	}
	err = fmt.Errorf("no agent with --health-address %s is here", healthAddress)
	for _, s := range sockets {
		if !isRoot(s.UID) {
			continue
		}
		text, failed := ask(ctx, s.Name)
		if failed == nil {
			return text, nil
		}
		if !errors.Is(failed, errNotHere) {
			err = failed
		}
	}
	return "", err
}

// errNotHere says that a socket is another container's, or not root's.
var errNotHere = errors.New("the socket is not of an agent in this container")

func ask(ctx context.Context, name string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", "@"+name)
		if err != nil {
			return nil, err
		}
		peer, err := credentials(conn.(*net.UnixConn))
		if err == nil && (!isRoot(peer.Uid) || peer.Pid == 0) {
			err = errNotHere
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kvip/healthz", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, headerLimit))
	if err != nil {
		return "", fmt.Errorf("read what the agent says: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the agent is not healthy: %s", text)
	}
	return text, nil
}
