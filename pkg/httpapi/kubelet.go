package httpapi

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

// The kubelet requests /healthz through `kvip healthz`, over an abstract Unix socket (unix(7)). Any
// user of the node could bind the port of --health-address while kvip does not run, or use up its
// connections, and make the kubelet restart the container. Here each side checks the other's user.

// probeTimeout limits `kvip healthz`.
const probeTimeout = 4 * time.Second

// probeLimits are for programs of root.
var probeLimits = limits{connections: 16, request: requestTimeout, answer: answerTimeout}

// probeName is the prefix of socket names of agents with that --health-address.
func probeName(healthAddress string) string { return "kvip/healthz/" + healthAddress + "/" }

// serveKubelet serves the local pages to root until ctx ends. The socket's name ends at random, so
// that no other program can have taken it.
func (s *Server) serveKubelet(ctx context.Context, pages http.Handler) {
	name := "@" + probeName(s.cfg.HealthAddress) + rand.Text()
	s.serveAddress(ctx, name, pages, probeLimits, func() (net.Listener, error) {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			return nil, err
		}
		return &rootListener{listener, make(chan struct{}, probeLimits.connections)}, nil
	})
}

// rootListener accepts a limited number of connections, of root alone.
type rootListener struct {
	*net.UnixListener
	slots chan struct{}
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
			case l.slots <- struct{}{}:
				return &limitedConn{Conn: conn, done: func() { <-l.slots }}, nil
			default:
			}
		}
		_ = conn.Close()
	}
}

// credentials returns the process at the other end. Its Pid is 0 in another process namespace.
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

// isRoot reports whether the user is root or the user of this process.
func isRoot(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// Healthz requests /healthz from the agent with that --health-address in this container, or on this
// host, and returns its text. It returns an error if the status is not 200, or if there is no such
// agent.
func Healthz(ctx context.Context, healthAddress string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	sockets, err := link.AbstractSockets(probeName(healthAddress))
	if err != nil {
		return "", fmt.Errorf("find the agent: %w", err)
	}
	err = fmt.Errorf("no agent with --health-address %s runs here", healthAddress)
	for _, s := range sockets {
		if !isRoot(s.UID) {
			continue
		}
		text, failed := requestHealthz(ctx, s.Name)
		if failed == nil {
			return text, nil
		}
		if !errors.Is(failed, errOtherProcess) {
			err = failed
		}
	}
	return "", err
}

// errOtherProcess marks a socket of another container, or of another user.
var errOtherProcess = errors.New("the socket is not of an agent in this container")

func requestHealthz(ctx context.Context, name string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", "@"+name)
		if err != nil {
			return nil, err
		}
		peer, err := credentials(conn.(*net.UnixConn))
		if err == nil && (!isRoot(peer.Uid) || peer.Pid == 0) {
			err = errOtherProcess
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
		return "", fmt.Errorf("request /healthz of the agent: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, headerLimit))
	if err != nil {
		return "", fmt.Errorf("read the agent's answer: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the agent is not healthy: %s", text)
	}
	return text, nil
}
