package vip

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// ErrLocked says that another kvip serves the VIP in this network namespace.
var ErrLocked = errors.New("another kvip serves it in this network namespace")

// Lock admits one kvip per VIP in a network namespace (E8). Closing the result unlocks, and so does
// the end of the process. ErrLocked if another kvip has it.
func Lock(vip netip.Addr) (io.Closer, error) {
	socket, err := lock(vipLock(vip))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: stop that one, or give one of them another --vip (see ss -xap | grep kvip)", vip, err)
	}
	return socket, nil
}

// LockServices admits one kvip that serves Services in a network namespace, in the same way
// as Lock: a Roster takes every address with the Services mark for its own. ErrLocked if
// there is one. Who cleans up holds it meanwhile.
func LockServices() (io.Closer, error) {
	socket, err := lock("kvip/services")
	if err != nil {
		return nil, fmt.Errorf("lock Services: %w: stop that one first (see ss -xap | grep kvip)", err)
	}
	return socket, nil
}

func vipLock(vip netip.Addr) string { return "kvip/vip/" + vip.Unmap().String() }

// lock takes a name that only root can take. An abstract Unix socket (unix(7)) belongs to the network
// namespace, needs no file and goes with the process, however that ends; but everybody may bind any
// name. So each kvip binds one of its own below the name, and has the lock if no other socket of root
// is there. Of two that begin at one time both may see each other and fail, and never both succeed.
func lock(name string) (io.Closer, error) {
	own := name + "/" + rand.Text()
	socket, err := bind(own)
	if err != nil {
		return nil, err
	}
	others, err := owners(name)
	if errors.Is(err, link.ErrNoDiag) { // then the name itself is the lock, for every kvip on this host
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

// owners returns the names of root's sockets at the name and below it.
func owners(name string) ([]string, error) {
	sockets, err := link.AbstractSockets(name)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range sockets {
		if (s.Name == name || strings.HasPrefix(s.Name, name+"/")) && (s.UID == 0 || int(s.UID) == os.Geteuid()) {
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

// bind takes an abstract name.
func bind(name string) (io.Closer, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return socket, nil
}

// served reports whether a kvip that runs now has locked the VIP.
func served(vip netip.Addr) bool {
	others, err := owners(vipLock(vip))
	if errors.Is(err, link.ErrNoDiag) {
		alone, err := bindAlone(vipLock(vip))
		if err == nil {
			_ = alone.Close()
		}
		return errors.Is(err, ErrLocked)
	}
	return err != nil || len(others) > 0 // who cannot look takes nothing from anybody
}
