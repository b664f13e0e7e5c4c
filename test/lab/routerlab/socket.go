package routerlab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// dialSocket connects to a unix socket below the directory that the router sees as /run. It names
// the directory by a descriptor, because the path of a socket has at most 107 bytes (unix(7)).
func (r *Router) dialSocket(name string) (net.Conn, error) {
	path := filepath.Join(r.Host.Dir, "run", name)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // it was only read
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(commandTimeout))
}
