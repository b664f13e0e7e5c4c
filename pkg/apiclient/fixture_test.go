package apiclient

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// fixture is a fake API server and a directory for credentials.
type fixture struct {
	t      *testing.T
	store  *fakeapi.Store
	server *fakeapi.Server
	dir    string
	log    *testutil.Log
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	server, err := store.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return &fixture{t: t, store: store, server: server, dir: t.TempDir(), log: &testutil.Log{}}
}

// path returns that of a file in the directory of the credentials.
func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// kubeconfig writes one whose server must never be dialled, and returns its path.
func (f *fixture) kubeconfig(name string, u fakeapi.User) string {
	f.t.Helper()
	if err := f.store.WriteKubeconfig(f.path(name), "https://vip.invalid:6443", u); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

// write puts text into a file and returns its path.
func (f *fixture) write(name, text string) string {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

// open makes a Store of those kubeconfigs.
func (f *fixture) open(kubeconfigs ...string) *Store {
	log := slog.New(slog.NewTextHandler(f.log, nil))
	s := testutil.Must(NewStore(StoreConfig{Kubeconfigs: kubeconfigs, Log: log}))
	f.t.Cleanup(s.drop)
	return s
}

// connect makes one request to the fixture's server with the credentials in use.
func (f *fixture) connect(s *Store) error {
	server, err := s.ServerInPool("", f.server.Host)
	if err != nil {
		return err
	}
	return server.Connect(f.t.Context())
}

// trap returns the address of a listener that fails the test at each connection.
func trap(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Errorf("%s was dialled", listener.Addr())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// source returns the source of the credentials in use.
func source(s *Store) string {
	_, source := s.InUse()
	return source
}
