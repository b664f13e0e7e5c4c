package kubelease_test

import (
	"path/filepath"
	"testing"

	"github.com/kvip/kvip/pkg/election/conformance"
	"github.com/kvip/kvip/test/electiontest"
	"github.com/kvip/kvip/test/fakeapi"
)

// The driver against the fake API server; test/e2e/controlplane runs the same against the real one.
func TestConformance(t *testing.T) {
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	server, err := store.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "admin.conf")
	if err := store.WriteKubeconfig(kubeconfig, "https://vip.invalid:6443", fakeapi.User{Token: "agent"}); err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, func(t *testing.T) conformance.Env { return electiontest.New(t, kubeconfig, server.Host) })
}
