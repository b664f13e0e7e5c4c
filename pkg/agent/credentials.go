package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/tokenmanager"
)

// credentials are those of the whole agent. They last until both parts have left: the release of
// the Lease needs them too.
type credentials struct {
	store   *apiclient.Store
	tokens  *tokenmanager.Manager // nil without a state directory
	health  *reporter.Reporter
	metrics *metrics.Set
}

// newCredentials makes the store. manageToken must follow if there is a state directory.
func newCredentials(cfg config.Config, set *metrics.Set, health *reporter.Reporter,
	log *slog.Logger) (*credentials, error) {
	store, err := apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, Log: log,
		TokenManaged: cfg.StateDir != "",
		OnChange:     func(kind apiclient.Kind, _ string) { set.Credentials(string(kind)) },
	})
	if err != nil {
		return nil, err
	}
	return &credentials{store: store, health: health, metrics: set}, nil
}

// manageToken makes the manager of this agent's own token, if there is a directory for it. The
// store then has the token of an earlier agent.
func (c *credentials) manageToken(cfg config.Config, router *apiclient.Router,
	log *slog.Logger) error {
	if cfg.StateDir == "" {
		return nil
	}
	objects, err := manifest.RBAC(cfg)
	if err != nil {
		return fmt.Errorf("make RBAC: %w", err)
	}
	c.tokens, err = tokenmanager.New(tokenmanager.Config{
		Dir: tokenmanager.Directory(cfg.StateDir), Store: c.store, Objects: objects,
		Router: router, Log: log, Health: c.health,
		Namespace: manifest.ServiceAccountNamespace, Name: manifest.ServiceAccount,
		OnExpiry: c.metrics.TokenExpiry,
	})
	return err
}

// run follows the files and manages the token until ctx ends.
func (c *credentials) run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return c.store.Run(ctx) })
	if c.tokens != nil {
		group.Go(func() error { return c.tokens.Run(ctx) })
	}
	return group.Wait()
}

// describe describes for people which credentials this agent uses.
func (c *credentials) describe() string {
	kind, source := c.store.InUse()
	text := fmt.Sprintf("credentials: %s (%s)", kind, source)
	if c.tokens == nil {
		return text
	}
	if at := c.tokens.Expires(); kind == apiclient.ServiceAccount && !at.IsZero() {
		text += ", valid until " + at.UTC().Format(time.RFC3339)
	}
	if _, problem := c.health.Status(); problem != "" {
		text += "; " + problem
	}
	return text
}

// addStatus adds what the page /status shows of the credentials.
func (c *credentials) addStatus(s *status.Agent) {
	kind, source := c.store.InUse()
	s.CredentialsKind, s.Credentials = string(kind), source
	if c.tokens != nil {
		s.TokenExpires = c.tokens.Expires()
		_, s.TokenProblem = c.health.Status()
	}
}
