package link

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// NetnsInode returns the inode of the calling thread's network namespace, which in a
// program that never changes it is the program's. With BootID it tells apart nodes that
// share one kernel and stays the same when kvip restarts (E8).
func NetnsInode() (uint64, error) {
	const path = "/proc/thread-self/ns/net"
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, fmt.Errorf("read network namespace %s: %w", path, err)
	}
	return info.Ino, nil
}

// BootID returns the random identity of this boot of the kernel (random(4)), part of a
// node's identity (E8).
func BootID() (string, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}
