package controlplane

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/fakeapi"
)

// TestCredentials has every state: none, those of a kubeconfig, and kvip's own token.
func TestCredentials(t *testing.T) {
	api, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(t.TempDir(), "admin.conf")
	if err := api.WriteKubeconfig(admin, "https://vip.invalid:6443",
		fakeapi.User{Token: "admin"}); err != nil {
		t.Fatal(err)
	}
	stored := func(c *config.Config) {
		for name, text := range map[string]string{"token": api.IssueToken(0),
			"ca.crt": string(api.CA())} {
			if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.StateDir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		change  func(c *config.Config)
		want    []string
		managed bool // there is a token manager
	}{
		{"Off", func(c *config.Config) { c.StateDir, c.Kubeconfigs = "", []string{admin} },
			[]string{"credentials: bootstrap (" + admin + ")"}, false},
		{"Begins", func(c *config.Config) { c.Kubeconfigs = []string{admin} },
			[]string{"credentials: bootstrap"}, true},
		{"Hardened", func(c *config.Config) { c.Kubeconfigs = nil },
			[]string{"credentials: none", "without --hardened"}, true},
		{"Broken", func(c *config.Config) { c.Kubeconfigs, c.StateDir = []string{admin}, admin },
			[]string{"credentials: bootstrap", "it is a file"}, true},
		{"Stored", stored, []string{"credentials: serviceaccount", "/token)", "valid until " +
			time.Now().UTC().Format("2006-")}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cp, err := newControlPlane(t, func(s *config.Config) {
				s.StateDir = filepath.Join(t.TempDir(), "state")
				c.change(s)
			})
			if err != nil {
				t.Fatal(err)
			}
			cp.started.Store(true)
			text := cp.Credentials()
			if slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(text, w) }) {
				t.Errorf("%q, want %q", text, c.want)
			}
			if (cp.tokens != nil) != c.managed {
				t.Errorf("token manager: %v", cp.tokens)
			}
		})
	}
}
