package vip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/link"
)

// ErrLocked: another kvip has the lock in this network namespace.
var ErrLocked = errors.New("another kvip serves it in this network namespace")

// The names of locks besides those of VIPs.
const (
	servicesLock = "kvip/services"
	bgpLock      = "kvip/bgp"
)

// lockBackoff is the pause between attempts to lock. The jitter lets two agents that start at one
// time not collide again and again.
var lockBackoff = backoff.Backoff{
	Min: 400 * time.Millisecond, Max: 400 * time.Millisecond, Jitter: 0.5,
}

// Lock admits one kvip per VIP in a network namespace (E8). The lock ends when the result is
// closed and when the process ends. ErrLocked if another kvip has it.
func Lock(vip netip.Addr) (io.Closer, error) {
	return lockFor(vip.String(), lockName(vip), "stop that one, or give one of them another --vip")
}

// LockServices admits one kvip for Services in a network namespace, as Lock does for a VIP: a
// ServiceOwner assumes that it wrote every address with the mark of Services. A cleanup takes
// the lock as well. ErrLocked if another kvip has it.
func LockServices() (io.Closer, error) {
	return lockFor("Services", servicesLock, "stop that one first")
}

// LockBGP admits one kvip that announces the control plane by BGP in a network namespace: a router
// has one session with a node. The sessions of a kvip for Services alone give way, see BGPLocked.
// ErrLocked if another kvip has it.
func LockBGP() (io.Closer, error) { return lockFor("BGP", bgpLock, "stop that one first") }

// lockFor locks a name. Errors name what the lock is for, and advise what to do about another kvip.
func lockFor(what, name, advice string) (io.Closer, error) {
	socket, err := lock(name)
	switch {
	case errors.Is(err, ErrLocked):
		return nil, fmt.Errorf("lock %s: %w: %s (see ss -xap | grep kvip)", what, err, advice)
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", what, err)
	}
	return socket, nil
}

// BGPLocked reports whether a running kvip has LockBGP.
func BGPLocked() (bool, error) { return isLocked(bgpLock) }

// AwaitLock calls lock, which is one of the functions above, until it has the lock, or ctx ends:
// then AwaitLock returns nil. When a wait begins, for another kvip or after another error,
// AwaitLock logs that and calls waiting with the error.
func AwaitLock(
	ctx context.Context, lock func() (io.Closer, error), log *slog.Logger, waiting func(error),
) io.Closer {
	var result io.Closer
	var before error
	lockBackoff.Retry(ctx, func(failures int) error {
		acquired, err := lock()
		locked := errors.Is(err, ErrLocked)
		switch {
		case err == nil:
			result = acquired
			return nil
		case failures > 0 && locked == errors.Is(before, ErrLocked):
			return err // of the same kind
		case locked:
			log.Warn("waiting for another kvip on this host to end", "err", err)
		default:
			log.Warn("cannot take the lock; trying again", "err", err)
		}
		before = err
		waiting(err)
		return err
	})
	return result
}

func lockName(vip netip.Addr) string { return "kvip/vip/" + vip.Unmap().String() }

// lock locks a name so that only root can. An abstract Unix socket (unix(7)) belongs to the
// network namespace, needs no file and ends with the process, but every user may bind every
// name. So each kvip binds a random name below the given one, and has the lock if no other
// socket of root is there. If two try at the same time, both may see each other and fail, but
// they never both succeed.
func lock(name string) (io.Closer, error) {
	own := name + "/" + rand.Text()
	socket, err := bind(own)
	if err != nil {
		return nil, err
	}
	others, err := lockers(name)
	if errors.Is(err, link.ErrNoDiag) { // then the name itself is the lock
		_ = socket.Close()
		return bindAlone(name)
	}
	for _, other := range others {
		if other != own {
			err = ErrLocked
		}
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return socket, nil
}

// lockers returns the names of root's sockets at the name and below it.
func lockers(name string) ([]string, error) {
	sockets, err := link.AbstractSockets(name)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range sockets {
		below := s.Name == name || strings.HasPrefix(s.Name, name+"/")
		if below && (s.UID == 0 || int(s.UID) == os.Geteuid()) {
			all = append(all, s.Name)
		}
	}
	return all, nil
}

func bindAlone(name string) (io.Closer, error) {
	socket, err := bind(name)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, ErrLocked
	}
	return socket, err
}

// bind binds a socket to an abstract name.
func bind(name string) (io.Closer, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return socket, nil
}

// isServed reports whether a running kvip has locked the VIP. If that is unknown, it is true.
func isServed(vip netip.Addr) bool {
	locked, err := isLocked(lockName(vip))
	return locked || err != nil
}

// isLocked reports whether a running kvip has a lock.
func isLocked(name string) (bool, error) {
	others, err := lockers(name)
	if !errors.Is(err, link.ErrNoDiag) {
		return len(others) > 0, err
	}
	alone, err := bindAlone(name)
	if errors.Is(err, ErrLocked) {
		return true, nil
	}
	if err == nil {
		err = alone.Close()
	}
	return false, err
}

// LockAll waits until this is the only kvip for each of the VIPs in this network namespace, or ctx
// ends. During an upgrade the old pod may still be leaving (E8). waiting receives the reason while
// it waits.
func LockAll(ctx context.Context, vips []netip.Addr, log *slog.Logger, waiting func(reason string),
) (unlock func()) {
	var locks []io.Closer
	for _, addr := range vips {
		lock := AwaitLock(ctx, func() (io.Closer, error) { return Lock(addr) }, log.With("vip", addr),
			func(err error) {
				reason := err.Error()
				if errors.Is(err, ErrLocked) {
					reason = "another kvip on this host serves the address: " + reason
				}
				waiting(reason)
			})
		if lock != nil {
			locks = append(locks, lock)
		}
	}
	return func() {
		for _, lock := range locks {
			if err := lock.Close(); err != nil {
				log.Debug("cannot close a lock", "err", err)
			}
		}
	}
}
