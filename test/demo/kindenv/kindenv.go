// Package kindenv is the environment of demonstrations in kind: it prepares a cluster, replaces
// that of an earlier run, creates it, and cleans up when a demonstration fails or is interrupted.
// What is shown in the cluster is not its job.
package kindenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

const (
	createWithin = 12 * time.Minute // on a busy machine; one to three is usual
	deleteWithin = 2 * time.Minute
	engineFile   = "engine" // in Dir, as kind/down.sh has it: which engine has the cluster
)

// Env is the environment of a demonstration: a screen, and a cluster of its own.
type Env struct {
	Out     *screen.Screen
	Target  string // of make, as kind-demo
	Name    string // of the cluster, as kind/down.sh has it
	Cfg     kindcluster.Config
	Cluster *kindcluster.Cluster // nil until there may be something to remove
	// Remove removes what the demonstration, or an earlier run of it, made besides the cluster. Nil:
	// there is nothing else.
	Remove func(context.Context) error

	created bool
	log     *os.File // what kind says
}

// Dir is where the files of the cluster are, relative to the project's directory.
func (s *Env) Dir() string { return ".cache/kind-" + s.Name }

// Main runs the demonstration until it ends or ctx does, prints what is left, and returns the exit
// code: 0, 1 after a failure and 130 after an interruption.
func (s *Env) Main(ctx context.Context, demonstrate func(context.Context) error) int {
	begin := time.Now()
	s.Out = screen.NewScreen(os.Stdout)
	err := demonstrate(ctx)
	if err != nil {
		err = s.cleanUp(err, ctx.Err() != nil)
	}
	if e := giveBack(s.Dir()); e != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Target, e)
	}
	if err == nil {
		fmt.Printf("\nall of this took %.0f s\n", time.Since(begin).Seconds())
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", s.Target, err)
	if ctx.Err() != nil {
		return 130
	}
	return 1
}

// cleanUp returns err with what is left after a failure. An unfinished cluster of an interrupted
// demonstration is removed.
func (s *Env) cleanUp(err error, interrupted bool) error {
	const remove = "make kind-down removes it"
	switch {
	case s.Cluster == nil && interrupted:
		return errors.New("interrupted before there was a cluster; a Docker engine that was started " +
			"runs on, and make kind-down stops it")
	case s.Cluster == nil:
		return err
	case interrupted && !s.created:
		s.Out.Say("interrupted: removing the unfinished cluster ...")
		ctx, cancel := context.WithTimeout(context.Background(), deleteWithin)
		defer cancel()
		if err := s.Delete(ctx); err != nil {
			return fmt.Errorf("interrupted, and the unfinished cluster %s is still there: %w; %s", s.Name,
				err, remove)
		}
		return errors.New("interrupted; the unfinished cluster is removed; a Docker engine that was " +
			"started runs on, and make kind-down stops it")
	case interrupted:
		return fmt.Errorf("interrupted; the cluster %s stays as it is, perhaps with a node down; %s",
			s.Name, remove)
	}
	return fmt.Errorf("%w\nThe cluster %s stays as it is for inspection (files in %s); %s",
		err, s.Name, s.Dir(), remove)
}

// Delete removes the cluster and what belongs to it.
func (s *Env) Delete(ctx context.Context) error {
	return errors.Join(s.removeOthers(ctx), s.Cluster.Delete(ctx))
}

// removeOthers removes what is not the cluster.
func (s *Env) removeOthers(ctx context.Context) error {
	if s.Remove == nil {
		return nil
	}
	return s.Remove(ctx)
}

// giveBack gives files to the user who called sudo.
func giveBack(dir string) error {
	var uid, gid int
	if n, _ := fmt.Sscan(os.Getenv("SUDO_UID")+" "+os.Getenv("SUDO_GID"), &uid, &gid); n != 2 {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // removed
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// Indent puts text below a line that announces it.
func Indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
