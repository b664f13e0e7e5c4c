package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// freezerV1 is where the freezer of cgroups of version 1 is mounted.
const freezerV1 = cgroups + "/freezer"

// ErrNoFreezer means that this machine cannot freeze processes by a cgroup.
var ErrNoFreezer = errors.New("no cgroup here can freeze processes")

// ErrFrozen means that a process is frozen by FreezeGroup already.
var ErrFrozen = errors.New("frozen already")

// freezerPrefix begins the names of the cgroups.
const freezerPrefix = "kvip-lab-freezer-"

// FreezeGroup freezes processes with the freezer of cgroups, as a container runtime does: unlike
// SIGSTOP nothing that the process or its parent does shows it. undo continues them. A process that
// is frozen like this is an error, ErrFrozen.
func FreezeGroup(procs ...*Process) (undo func() error, err error) {
	root, file, frozen, thawed, v2 := freezerV1, "freezer.state", "FROZEN", "THAWED", false
	if _, err := os.Stat(root); err != nil {
		root, file, frozen, thawed, v2 = cgroups, "cgroup.freeze", "1", "0", true
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			return nil, ErrNoFreezer
		}
	}
	dir, err := os.MkdirTemp(root, freezerPrefix)
	if err != nil {
		return nil, fmt.Errorf("freeze processes: %w", err)
	}
	before := map[*Process]string{}
	thaw := func() error { return write(dir, file, thawed) }
	undo = func() error {
		for p := range before {
			p.thaw.Store(nil)
		}
		return errors.Join(thaw(), release(dir, before))
	}
	for _, p := range procs {
		if err == nil {
			before[p], err = cgroupOf(p, root, "freezer", v2)
		}
		if strings.HasPrefix(filepath.Base(before[p]), freezerPrefix) {
			delete(before, p)
			err = ErrFrozen
		}
		if err == nil {
			err = write(dir, "cgroup.procs", strconv.Itoa(p.PID()))
		}
	}
	if err == nil {
		err = write(dir, file, frozen)
	}
	for p := range before {
		p.thaw.Store(&thaw)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("freeze processes: %w", err), undo())
	}
	return undo, nil
}
