package kindenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// Prepare reads what kind/prepare.sh prepared, from the project's directory, and removes the
// cluster of an earlier run. Cfg is filled but for what makes the demonstration's cluster a special
// one.
func (s *Env) Prepare(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if s.Cfg, err = kindcluster.FromEnv(ctx, root); err != nil {
		return err
	}
	s.Cfg.Name, s.Cfg.Dir = s.Name, s.Dir()
	if err := os.MkdirAll(s.Dir(), 0o755); err != nil {
		return err
	}
	return s.replaceOld(ctx)
}

// replaceOld removes the cluster of an earlier demonstration, and no cluster of anybody else.
func (s *Env) replaceOld(ctx context.Context) error {
	note, engine := filepath.Join(s.Dir(), engineFile), s.engineName()
	old, err := kindcluster.Exists(ctx, s.Cfg)
	if err != nil {
		return fmt.Errorf("look for an earlier cluster: %w", err)
	}
	if old {
		if was, _ := os.ReadFile(note); !s.Cfg.Engine.Own() && string(was) != engine {
			return fmt.Errorf("this Docker has a cluster %s that is not known to be of an earlier make "+
				"%s: remove it if it may go, with: kind delete cluster --name %s",
				s.Name, s.Target, s.Name)
		}
		s.Out.Say("removing the cluster %s of an earlier run ...", s.Name)
		if err := kindcluster.DeleteExisting(ctx, s.Cfg); err != nil {
			return fmt.Errorf("remove the earlier cluster: %w", err)
		}
	}
	if err := s.removeOthers(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	return os.WriteFile(note, []byte(engine), 0o644)
}

// engineName is how kind/down.sh knows the engine that has the cluster.
func (s *Env) engineName() string {
	if s.Cfg.Engine.Own() {
		return os.Getenv("KVIP_DOCKER_DIR")
	}
	return "machine"
}

// New makes the files of the cluster that Cfg describes, and nothing else yet.
func (s *Env) New(ctx context.Context) (err error) {
	if s.log, err = os.Create(filepath.Join(s.Dir(), "kind.log")); err != nil {
		return err
	}
	s.Cfg.Log = &progress{out: s.Out, log: s.log, began: time.Now()}
	s.Cluster, err = kindcluster.New(ctx, s.Cfg)
	return err
}

// Up creates the cluster that New prepared and returns how long that took. What kind says is shown
// step by step and kept in kind.log.
func (s *Env) Up(ctx context.Context) (time.Duration, error) {
	defer s.log.Close()
	ctx, cancel := context.WithTimeout(ctx, createWithin)
	defer cancel()
	began := time.Now()
	stop := s.Out.Live(ctx,
		func() string { return fmt.Sprintf("  ... %.0f s", time.Since(began).Seconds()) })
	defer stop()
	if err := s.Cluster.Up(ctx); err != nil {
		return 0, fmt.Errorf("create the cluster: %w\nWhat kind said is in %s/kind.log", err, s.Dir())
	}
	s.created = true
	_, err := s.Cluster.Kubeconfig(ctx)
	return time.Since(began), err
}
