package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// bare is an agent of which only the credentials are made.
func bare(t *testing.T, change func(c *config.Config)) *agent {
	t.Helper()
	r := newRig(t)
	cfg := config.StaticPod()
	cfg.VIPs, cfg.StateDir = []netip.Addr{vip4}, filepath.Join(t.TempDir(), "state")
	change(&cfg)
	a := &agent{cfg: cfg, log: discard, network: r.l.network, metrics: r.metrics}
	a.store = testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, TokenManaged: cfg.StateDir != "", Log: discard}))
	a.router = testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{Store: a.store}))
	if err := a.keepRights(); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestWhoseRights is told in every state: none, a kubeconfig's, and those of kvip's own token.
func TestWhoseRights(t *testing.T) {
	api, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(t.TempDir(), "admin.conf")
	if err := api.WriteKubeconfig(admin, "https://vip.invalid:6443", fakeapi.User{Token: "admin"}); err != nil {
		t.Fatal(err)
	}
	stored := func(c *config.Config) {
		for name, text := range map[string]string{"token": api.Give(0), "ca.crt": string(api.CA())} {
			if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.StateDir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(c *config.Config)
		want   []string
		kept   bool // there is a keeper
	}{
		{"Off", func(c *config.Config) { c.StateDir, c.Kubeconfigs = "", []string{admin} }, []string{"credentials: bootstrap (" + admin + ")"}, false},
		{"Begins", func(c *config.Config) { c.Kubeconfigs = []string{admin} }, []string{"credentials: bootstrap"}, true},
		{"Hardened", func(c *config.Config) { c.Kubeconfigs = nil }, []string{"credentials: none", "without --hardened"}, true},
		{"Broken", func(c *config.Config) { c.Kubeconfigs, c.StateDir = []string{admin}, admin }, []string{"credentials: bootstrap", "it is a file"}, true},
		{"Stored", stored, []string{"credentials: serviceaccount", "/token)", "valid until " + time.Now().UTC().Format("2006-")}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := bare(t, c.change)
			text := a.whose()
			if slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(text, w) }) {
				t.Errorf("%q, want %q", text, c.want)
			}
			if (a.keeper != nil) != c.kept {
				t.Errorf("keeper: %v", a.keeper)
			}
		})
	}
}
