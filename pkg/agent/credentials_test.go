package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestCredentials has every state: none, those of a kubeconfig, and kvip's own token. An agent for
// Services alone has the same ones.
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
			for _, vips := range [][]netip.Addr{{vip4}, nil} {
				a := testAgent(t, func(s *config.Config) {
					s.VIPs, s.Services = vips, vips == nil
					s.StateDir = filepath.Join(t.TempDir(), "state")
					c.change(s)
				})
				text := a.credentials.describe()
				lacks := func(w string) bool { return !strings.Contains(text, w) }
				if slices.ContainsFunc(c.want, lacks) {
					t.Errorf("%v: %q, want %q", vips, text, c.want)
				}
				if (a.credentials.tokens != nil) != c.managed {
					t.Errorf("%v: token manager: %v", vips, a.credentials.tokens)
				}
				if s := a.status(); s.Credentials == "" || !strings.Contains(text, s.CredentialsKind) {
					t.Errorf("%v: status %+v, credentials %q", vips, s, text)
				}
			}
		})
	}
}

// TestServicesAloneGetAToken: a static pod for Services uses kvip's own token too.
func TestServicesAloneGetAToken(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	api := testutil.Must(fakeapi.NewStore())
	server := testutil.Must(api.Serve("127.0.0.1:0"))
	defer server.Close()
	dir := t.TempDir()
	admin, state := filepath.Join(dir, "admin.conf"), filepath.Join(dir, "state")
	err := errors.Join(os.Mkdir(state, 0o700),
		api.WriteKubeconfig(admin, "https://vip.invalid:6443", fakeapi.User{Token: "admin"}))
	if err != nil {
		t.Fatal(err)
	}
	a := testAgent(t, func(c *config.Config) {
		c.VIPs, c.Services, c.Kubeconfigs, c.StateDir = nil, true, []string{admin}, state
		c.Port = portOf(server.Host)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.run(ctx) }()
	testutil.Eventually(t, "the token is in use", func() bool {
		return strings.HasPrefix(a.credentials.describe(), "credentials: serviceaccount")
	})
	testutil.Eventually(t, "the token is stored", func() bool {
		text, err := os.ReadFile(filepath.Join(state, "token"))
		return err == nil && slices.Contains(api.IssuedTokens(), string(text))
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCredentialsAreReadBeforeTheLinkIsThere: the Services' part runs already.
func TestCredentialsAreReadBeforeTheLinkIsThere(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	admin := filepath.Join(t.TempDir(), "admin.conf")
	a, _ := bothJobs(t, func(c *config.Config) {
		c.Interface, c.InterfaceWait, c.Kubeconfigs = "eth9", time.Minute, []string{admin}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.run(ctx) }()
	testutil.Eventually(t, "the Services' part runs", func() bool { return a.servicesPage() != nil })
	api := testutil.Must(fakeapi.NewStore())
	err := api.WriteKubeconfig(admin, "https://vip.invalid:6443", fakeapi.User{Token: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the new file is in use", func() bool {
		return strings.HasPrefix(a.credentials.describe(), "credentials: bootstrap")
	})
	if got := a.notReady(); !strings.Contains(got, "the link is not there yet") {
		t.Errorf("not ready: %q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
