package svc_test

import (
	"net"
	"testing"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"

	"github.com/kvip/kvip/test/testutil"
)

// A load balancer in front of the API accepts each connection and ends it. client-go then returns a
// watch without an error. The store uses the next server at once.
func TestServerThatEndsEachConnection(t *testing.T) {
	e := fakecluster.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	e.PutService("a/web")
	hosts := []string{listener.Addr().String(), e.Server.Host}
	e.Router = testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{Store: e.Creds,
		Local: func() []string { return hosts }}))
	c := e.RunCache()
	if got := names(c); got != "a/web" {
		t.Errorf("Services %s", got)
	}
	if e.Log.Count("does not answer, or ended the connection") == 0 {
		t.Errorf("the failure is not logged:\n%s", e.Log)
	}
}
