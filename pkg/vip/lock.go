package vip

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another kvip serves the VIP in this network namespace.
var ErrLocked = errors.New("another kvip serves it in this network namespace")

// Lock admits one kvip per VIP in a network namespace (E8): it binds an abstract Unix
// socket (unix(7)), which belongs to the namespace, needs no file and goes with the
// process, however that ends. Closing the result unlocks. ErrLocked if it is taken.
func Lock(vip netip.Addr) (io.Closer, error) {
	socket, err := bind("vip/" + vip.Unmap().String())
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("lock %s: %w: stop that one, or give one of them another --vip (see ss -xlp | grep kvip)", vip, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", vip, err)
	}
	return socket, nil
}

// LockServices admits one kvip that serves Services in a network namespace, in the same way
// as Lock: a Roster takes every address with the Services mark for its own. ErrLocked if
// there is one. Who cleans up holds it meanwhile.
func LockServices() (io.Closer, error) {
	socket, err := bind("services")
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("lock Services: %w: stop that one first (see ss -xlp | grep kvip)", ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("lock Services: %w", err)
	}
	return socket, nil
}

// bind takes one of kvip's abstract names.
func bind(name string) (io.Closer, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@kvip/" + name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return socket, nil
}

// served says whether a kvip that runs now has locked the VIP.
func served(vip netip.Addr) bool {
	lock, err := Lock(vip)
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, ErrLocked)
}
