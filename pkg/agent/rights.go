package agent

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/pkg/tokenmanager"
)

// keepRights makes what gives this agent a token of its own, where it has a directory for it.
func (a *agent) keepRights() (err error) {
	if a.cfg.StateDir == "" {
		return nil
	}
	objects, err := manifest.RBAC(a.cfg)
	if err != nil {
		return fmt.Errorf("make RBAC: %w", err)
	}
	a.keeper, err = tokenmanager.New(tokenmanager.Config{
		Dir: tokenmanager.Directory(a.cfg.StateDir), Store: a.store, Objects: objects, Router: a.router, Log: a.log,
		Namespace: manifest.ServiceAccountNamespace, Name: manifest.ServiceAccount, OnExpiry: a.metrics.TokenExpiry,
	})
	return err
}

// whose says with whose rights this agent works, for people.
func (a *agent) whose() string {
	kind, source := a.store.InUse()
	text := fmt.Sprintf("credentials: %s (%s)", kind, source)
	if a.keeper == nil {
		return text
	}
	if expires := a.keeper.Expires(); kind == apiclient.ServiceAccount && !expires.IsZero() {
		text += ", valid until " + expires.UTC().Format(time.RFC3339)
	}
	if problem := a.keeper.Problem(); problem != "" {
		text += "; " + problem
	}
	return text
}
