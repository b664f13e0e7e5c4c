package kubelease_test

import (
	"path/filepath"
	"testing"

	"github.com/kvip/kvip/pkg/election/conformance"
	"github.com/kvip/kvip/test/electiontest"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestConformance uses the fake API server; test/e2e/controlplane runs the suite on a real one.
func TestConformance(t *testing.T) {
	store := testutil.Must(fakeapi.NewStore())
	server := testutil.Must(store.Serve("127.0.0.1:0"))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "admin.conf")
	user := fakeapi.User{Token: "agent"}
	if err := store.WriteKubeconfig(kubeconfig, "https://vip.invalid:6443", user); err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, func(t *testing.T) conformance.Env {
		return electiontest.New(t, kubeconfig, server.Host)
	})
}
