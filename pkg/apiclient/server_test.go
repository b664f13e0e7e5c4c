package apiclient

import (
	"os"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"
)

// E11: the address in the kubeconfig is never dialled, and the certificate of the given address
// must contain the name "kubernetes".
func TestOnlyTheGivenAddressIsDialled(t *testing.T) {
	f := newFixture(t)
	elsewhere := trap(t)
	path := f.path("admin.conf")
	user := fakeapi.User{CommonName: "kvip"}
	if err := f.store.WriteKubeconfig(path, "https://"+elsewhere, user); err != nil {
		t.Fatal(err)
	}
	s := f.open(path)
	for range 3 {
		if err := f.connect(s); err != nil {
			t.Fatal(err)
		}
	}
	all := f.server.Requests()
	for _, q := range all {
		if q.ServerName != ServerName || q.Subject != "kvip" || q.Proto != "HTTP/2.0" ||
			q.Client != all[0].Client {
			t.Errorf("requested %+v, want one HTTP/2 connection for %q as kvip", q, ServerName)
		}
	}
	server, err := s.ServerInPool("", f.server.Host)
	if err != nil {
		t.Fatal(err)
	}
	if server.Host != f.server.Host || server.Source != path {
		t.Errorf("client of %s with %s", server.Host, server.Source)
	}
}

func TestProxyOfAKubeconfigIsNotUsed(t *testing.T) {
	f := newFixture(t)
	f.write("ca.crt", string(f.store.CA()))
	cluster := `,"certificate-authority":"ca.crt","proxy-url":"http://` + trap(t) + `"`
	s := f.open(f.write("x.conf", kubeconfigText(cluster, `"token":"t"`)))
	if err := f.connect(s); err != nil {
		t.Error(err)
	}
}

// TestServerMustProveItself: a server with the certificate of another authority, or for another
// name, receives no request.
func TestServerMustProveItself(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	s := f.open(other.kubeconfig("admin.conf", fakeapi.User{Token: "secret"}))
	if err := f.connect(s); err == nil || !strings.Contains(err.Error(), f.server.Host) {
		t.Errorf("another authority's server: %v, want an error that names it", err)
	}
	f.write("ca.crt", string(f.store.CA()))
	const cluster = `,"certificate-authority":"ca.crt","tls-server-name":"api.example.com"`
	s = f.open(f.write("x.conf", kubeconfigText(cluster, `"token":"secret"`)))
	if err := f.connect(s); err == nil {
		t.Error("a server with another name was accepted")
	}
	if n := len(f.server.Requests()); n != 0 {
		t.Errorf("%d requests, and tokens, reached it", n)
	}
}

// TestOneClientForEachServer: each API server has one client, which is kept.
func TestOneClientForEachServer(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	one, err := s.ServerInPool("", "192.0.2.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.ServerInPool("", "192.0.2.2:6443")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.ServerInPool("", "192.0.2.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	if one == two || one != again || one.transport == two.transport {
		t.Error("clients are mixed up or not kept")
	}
}

// TestUnusableCertificate: the error names the file.
func TestUnusableCertificate(t *testing.T) {
	f := newFixture(t)
	const user = `"client-certificate-data":"eA==","client-key-data":"eA=="`
	s := f.open(f.write("x.conf", kubeconfigText("", user)))
	for what, err := range map[string]error{
		"Server": second(s.ServerInPool("", f.server.Host)), "TLS": second(s.TLS()),
	} {
		if err == nil || !strings.Contains(err.Error(), f.path("x.conf")) {
			t.Errorf("%s: %v, want an error that names the file", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestWarningsOfAServer: client-go would write them to stderr, past kvip's log.
func TestWarningsOfAServer(t *testing.T) {
	f := newFixture(t)
	f.server.Warn("use another API")
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	file, err := os.Create(f.path("stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	err = f.connect(s)
	os.Stderr = stderr
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(f.path("stderr")); err != nil || len(text) > 0 {
		t.Errorf("%v, stderr has %q", err, text)
	}
}
