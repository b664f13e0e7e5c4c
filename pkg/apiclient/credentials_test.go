package apiclient

import (
	"os"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"
)

// kubeconfigText is a kubeconfig with one cluster and one user, whose fields are given.
func kubeconfigText(cluster, user string) string {
	return `{"apiVersion":"v1","kind":"Config","current-context":"x",
		"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],
		"clusters":[{"name":"x","cluster":{"server":"https://vip.invalid:6443"` + cluster + `}}],
		"users":[{"name":"x","user":{` + user + `}}]}`
}

// What will never work is refused before anything is touched; what is not there yet is not.
func TestCheckKubeconfigs(t *testing.T) {
	f := newFixture(t)
	if err := os.Mkdir(f.path("directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, refused string }{
		{"with a token", f.kubeconfig("token.conf", fakeapi.User{Token: "t"}), ""},
		{"with a certificate", f.kubeconfig("cert.conf", fakeapi.User{CommonName: "kvip"}), ""},
		{"not written yet", f.path("later.conf"), ""},
		{"its certificate not written yet", f.write("rotating.conf", kubeconfigText("", `"client-certificate":"`+f.path("later.crt")+`","client-key":"`+f.path("later.key")+`"`)), ""},
		{"nobody will write it", f.path("nowhere/admin.conf"), "nowhere"},
		{"a directory", f.path("directory"), "is a directory"},
		{"no kubeconfig", f.write("garbage.conf", "\x00\x01garbage"), "garbage.conf"},
		{"empty", f.write("empty.conf", ""), "empty.conf"},
		{"no context", f.write("nocontext.conf", `{"apiVersion":"v1","kind":"Config"}`), "nocontext.conf"},
		{"a password", f.write("password.conf", kubeconfigText("", `"username":"u","password":"p"`)), "must have a client certificate or a token"},
		{"a plugin", f.write("exec.conf", kubeconfigText("", `"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"login","interactiveMode":"Never"}`)), "must have a client certificate or a token"},
		{"nobody", f.write("nobody.conf", kubeconfigText("", "")), "has no credentials"},
		{"a broken CA", f.write("ca.conf", kubeconfigText(`,"certificate-authority-data":"!"`, `"token":"t"`)), "ca.conf"},
	} {
		err := CheckKubeconfigs([]string{f.path("token.conf"), c.path})
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.refused != "" && err == nil:
			t.Errorf("%s: accepted", c.name)
		case c.refused != "" && !strings.Contains(err.Error(), c.refused):
			t.Errorf("%s: %q does not say %q", c.name, err, c.refused)
		}
	}
	for _, path := range []string{"password.conf", "exec.conf"} {
		if err := CheckUsers([]string{f.path("token.conf"), f.path(path)}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: passes for usable later: %v", path, err)
		}
	}
	for _, path := range []string{"token.conf", "later.conf", "directory", "garbage.conf", "empty.conf", "nocontext.conf", "ca.conf", "nobody.conf"} {
		if err := CheckUsers([]string{f.path(path)}); err != nil {
			t.Errorf("%s: is not waited for: %v", path, err)
		}
	}
	if err := CheckKubeconfigs(nil); err != nil {
		t.Errorf("none: %v", err)
	}
}

// E11: the certificate is checked against a name that every API server's has, unless the
// kubeconfig has a better one; a kubeconfig cannot turn the check off.
func TestServerName(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ name, cluster, want string }{
		{"default", "", "kubernetes"},
		{"its own", `,"tls-server-name":"api.example.com"`, "api.example.com"},
		{"insecure", `,"insecure-skip-tls-verify":true`, "kubernetes"},
	} {
		s := f.open(f.write("x.conf", kubeconfigText(c.cluster, `"token":"t"`)))
		got, err := s.TLS()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got.ServerName != c.want || got.InsecureSkipVerify {
			t.Errorf("%s: ServerName %q, InsecureSkipVerify %v, want %q and the check", c.name, got.ServerName, got.InsecureSkipVerify, c.want)
		}
	}
}

// Kubeconfigs that a kubeconfig refers to are found relative to it, and read when it is.
func TestReferredFiles(t *testing.T) {
	f := newFixture(t)
	f.write("ca.crt", string(f.store.CA()))
	f.write("token", "from-a-file\n")
	s := f.open(f.write("x.conf", kubeconfigText(`,"certificate-authority":"ca.crt"`, `"tokenFile":"`+f.path("token")+`"`)))
	if got := s.Authorization(); got != "Bearer from-a-file" {
		t.Errorf("Authorization %q", got)
	}
	if err := f.warm(s); err != nil {
		t.Error(err)
	}
}
