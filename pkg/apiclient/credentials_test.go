package apiclient

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"
)

// kubeconfigText is a kubeconfig with one cluster and one user, with these fields.
func kubeconfigText(cluster, user string) string {
	return `{"apiVersion":"v1","kind":"Config","current-context":"x",
		"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],
		"clusters":[{"name":"x","cluster":{"server":"https://vip.invalid:6443"` + cluster + `}}],
		"users":[{"name":"x","user":{` + user + `}}]}`
}

const unsupportedUser = "must have a client certificate or a token"

// TestCheckKubeconfigs: files that cannot be used are errors, also if only a file that they refer
// to is missing. CheckUsers accepts all files that may still be rewritten.
func TestCheckKubeconfigs(t *testing.T) {
	f := newFixture(t)
	if err := os.Mkdir(f.path("directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := func(name, user string) string { return f.write(name, kubeconfigText("", user)) }
	const plugin = `"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"login",` +
		`"interactiveMode":"Never"}`
	later := `"client-certificate":"` + f.path("later.crt") +
		`","client-key":"` + f.path("later.key") + `"`
	const brokenCA = `,"certificate-authority-data":"!"`
	for _, c := range []struct{ name, path, refused string }{
		{"token", f.kubeconfig("token.conf", fakeapi.User{Token: "t"}), ""},
		{"certificate", f.kubeconfig("cert.conf", fakeapi.User{CommonName: "kvip"}), ""},
		{"missing", f.path("later.conf"), "later.conf"},
		{"certificate missing", text("rotating.conf", later), "later.crt"},
		{"missing directory", f.path("nowhere/admin.conf"), "nowhere"},
		{"a directory", f.path("directory"), "is a directory"},
		{"not a kubeconfig", f.write("garbage.conf", "\x00\x01garbage"), "garbage.conf"},
		{"empty", f.write("empty.conf", ""), "empty.conf"},
		{"no context", f.write("context.conf", `{"apiVersion":"v1","kind":"Config"}`), "context.conf"},
		{"password", text("password.conf", `"username":"u","password":"p"`), unsupportedUser},
		{"plugin", text("exec.conf", plugin), unsupportedUser},
		{"no user", text("nouser.conf", ""), "has no credentials"},
		{"broken CA", f.write("ca.conf", kubeconfigText(brokenCA, `"token":"t"`)), "ca.conf"},
	} {
		files := []string{f.path("token.conf"), c.path}
		err := CheckKubeconfigs(files)
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.refused != "" && err == nil:
			t.Errorf("%s: accepted", c.name)
		case c.refused != "" && !strings.Contains(err.Error(), c.refused):
			t.Errorf("%s: %q, want %q", c.name, err, c.refused)
		}
		err = CheckUsers(files)
		if unsupported := c.refused == unsupportedUser; unsupported != (err != nil) {
			t.Errorf("%s: CheckUsers: %v", c.name, err)
		}
	}
	if err := CheckKubeconfigs(nil); err != nil {
		t.Errorf("no files: %v", err)
	}
}

// E11: a certificate must contain a name that the certificates of all API servers contain, unless
// the kubeconfig has a better one. A kubeconfig cannot disable the check.
func TestServerName(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ name, cluster, want string }{
		{"default", "", "kubernetes"},
		{"own", `,"tls-server-name":"api.example.com"`, "api.example.com"},
		{"insecure", `,"insecure-skip-tls-verify":true`, "kubernetes"},
	} {
		s := f.open(f.write("x.conf", kubeconfigText(c.cluster, `"token":"t"`)))
		got, err := s.TLS()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got.ServerName != c.want || got.InsecureSkipVerify {
			t.Errorf("%s: ServerName %q, want %q; InsecureSkipVerify %v",
				c.name, got.ServerName, c.want, got.InsecureSkipVerify)
		}
	}
}

// TestReferredFiles: paths in a kubeconfig are relative to it, and are read with it.
func TestReferredFiles(t *testing.T) {
	f := newFixture(t)
	f.write("ca.crt", string(f.store.CA()))
	f.write("token", "from-a-file\n")
	s := f.open(f.write("x.conf", kubeconfigText(
		`,"certificate-authority":"ca.crt"`, `"tokenFile":"`+f.path("token")+`"`)))
	if got := s.Authorization(); got != "Bearer from-a-file" {
		t.Errorf("Authorization %q", got)
	}
	if err := f.connect(s); err != nil {
		t.Error(err)
	}
}

// TestKubeconfigServers returns each server once, with the default port of HTTPS.
func TestKubeconfigServers(t *testing.T) {
	f := newFixture(t)
	server := func(name, url string) string {
		return f.write(name, strings.Replace(
			kubeconfigText("", `"token":"t"`), "https://vip.invalid:6443", url, 1))
	}
	got := KubeconfigServers([]string{
		f.path("missing"), server("a", "https://a.example:6443"), server("b", "https://[2001:db8::1]"),
		server("again", "https://a.example:6443"), server("http", "http://c.example"),
		server("none", "https://"), f.write("garbage", "{"),
	})
	if want := []string{"a.example:6443", "[2001:db8::1]:443"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestCredentialsDo: the first reachable host answers, on a connection that is closed afterwards.
func TestCredentialsDo(t *testing.T) {
	f := newFixture(t)
	creds := f.token("mine")
	var hosts []string
	request := func(err error) func(context.Context, *Server) error {
		return func(ctx context.Context, s *Server) error {
			hosts = append(hosts, s.Host)
			if _, limited := ctx.Deadline(); !limited {
				t.Error("the request has no timeout")
			}
			return errors.Join(err, s.Connect(ctx))
		}
	}
	if err := creds.Do(t.Context(), []string{"127.0.0.1:1", f.server.Host}, request(nil)); err != nil {
		t.Error(err)
	}
	if want := []string{"127.0.0.1:1", f.server.Host}; !slices.Equal(hosts, want) {
		t.Errorf("tried %v, want %v", hosts, want)
	}
	hosts = nil
	failed := errors.New("failed")
	err := creds.Do(t.Context(), []string{f.server.Host, "127.0.0.1:1"}, request(failed))
	if !errors.Is(err, failed) || len(hosts) != 1 {
		t.Errorf("%v after %v", err, hosts)
	}
	if err := creds.Do(t.Context(), nil, request(nil)); !errors.Is(err, ErrNoServer) {
		t.Errorf("without hosts: %v", err)
	}
	if got := f.server.Requests()[0]; got.Token != "mine" {
		t.Errorf("the token was %q", got.Token)
	}
}

// TestAnonymous has no credentials and trusts the same servers.
func TestAnonymous(t *testing.T) {
	f := newFixture(t)
	server, err := f.token("mine").Anonymous().Server(f.server.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Connect(t.Context()); err != nil || server.Kind != None {
		t.Errorf("%v, kind %s", err, server.Kind)
	}
	if got := f.server.Requests()[0]; got.Token != "" || got.Subject != "" {
		t.Errorf("requested as %q %q", got.Token, got.Subject)
	}
}
