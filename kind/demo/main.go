// Command demo shows kvip below a real Kubernetes cluster in kind: kubeadm, kubelet and containerd
// of three control planes and two workers, whose endpoint is kvip's address from before kubeadm
// init on. It kills the node that has the address, shows what a client sees, and mends the node.
//
// It is no test: it proves what it shows once. `make kind-demo` prepares what it needs, and
// `make kind-down` removes the cluster, which stays.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kvip/kvip/test/kindlab"
	"github.com/kvip/kvip/test/show"
)

const (
	clusterName  = "ha" // as kind/ha.yaml and kind/down.sh have it
	workers      = 2
	filesDir     = ".cache/kind-ha" // as kind/down.sh has it
	engineFile   = "engine"         // in filesDir: which engine has the cluster
	deleteWithin = 2 * time.Minute
)

func main() {
	begin := time.Now()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	d := &demo{out: show.NewScreen(os.Stdout)}
	err := d.run(ctx)
	interrupted := ctx.Err() != nil
	stop() // another signal ends it the usual way
	if err != nil {
		err = d.tidy(err, interrupted)
	}
	if e := giveBack(filesDir); e != nil {
		fmt.Fprintln(os.Stderr, "kind-demo:", e)
	}
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "kind-demo:", err)
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "kind-demo:", err)
		os.Exit(1)
	}
	fmt.Printf("\nall of this took %.0f s\n", time.Since(begin).Seconds())
}

// tidy says what is left after a failure. What was interrupted before it was a cluster is removed.
func (d *demo) tidy(err error, interrupted bool) error {
	const remove = "make kind-down removes it"
	switch {
	case d.cluster == nil && interrupted:
		return errors.New("interrupted before there was a cluster; a Docker engine that was started runs on, and make kind-down stops it")
	case d.cluster == nil:
		return err
	case interrupted && !d.created:
		d.out.Say("interrupted: removing the unfinished cluster ...")
		ctx, cancel := context.WithTimeout(context.Background(), deleteWithin)
		defer cancel()
		if err := d.cluster.Delete(ctx); err != nil {
			return fmt.Errorf("interrupted, and the unfinished cluster %s is still there: %w; %s", clusterName, err, remove)
		}
		return errors.New("interrupted; the unfinished cluster is removed; a Docker engine that was started runs on, and make kind-down stops it")
	case interrupted:
		return fmt.Errorf("interrupted; the cluster %s stays as it is, perhaps with a node down; %s", clusterName, remove)
	}
	return fmt.Errorf("%w\nThe cluster %s stays as it is, so that you can look at it (files in %s); %s", err, clusterName, filesDir, remove)
}

// prepare reads what kind/prepare.sh prepared.
func (d *demo) prepare(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if d.cfg, err = kindlab.FromEnv(ctx, root); err != nil {
		return err
	}
	d.cfg.Name, d.cfg.Workers, d.cfg.Dir = clusterName, workers, filesDir
	return os.MkdirAll(filesDir, 0o755)
}

// replaceOld removes the cluster of an earlier demonstration, and no cluster of anybody else.
func (d *demo) replaceOld(ctx context.Context) error {
	note, engine := filepath.Join(filesDir, engineFile), d.engineName()
	old, err := kindlab.Old(ctx, d.cfg)
	if err != nil {
		return fmt.Errorf("look for an earlier cluster: %w", err)
	}
	if old {
		if was, _ := os.ReadFile(note); !d.cfg.Engine.Own() && string(was) != engine {
			return fmt.Errorf("this Docker has a cluster %s that is not known to be of an earlier make kind-demo: remove it if it may go, with: kind delete cluster --name %s",
				clusterName, clusterName)
		}
		d.out.Say("removing the cluster %s of an earlier run ...", clusterName)
		if err := kindlab.DeleteOld(ctx, d.cfg); err != nil {
			return fmt.Errorf("remove the earlier cluster: %w", err)
		}
	}
	return os.WriteFile(note, []byte(engine), 0o644)
}

// engineName is how kind/down.sh knows the engine that has the cluster.
func (d *demo) engineName() string {
	if d.cfg.Engine.Own() {
		return os.Getenv("KVIP_DOCKER_DIR")
	}
	return "machine"
}

// giveBack gives files to the user who called sudo.
func giveBack(dir string) error {
	var uid, gid int
	if n, _ := fmt.Sscan(os.Getenv("SUDO_UID")+" "+os.Getenv("SUDO_GID"), &uid, &gid); n != 2 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// indent puts text below a line that announces it.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
