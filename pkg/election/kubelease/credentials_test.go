package kubelease

import (
	"testing"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestWatchTakesOverNewCredentials: new credentials end a watch, which starts again with them.
func TestWatchTakesOverNewCredentials(t *testing.T) {
	l := newLab(t, 1, fakeapi.User{Token: "admin"})
	version := l.holding().Version
	l.run()
	l.awaitVersion(version)
	testutil.Eventually(l.t, "the watch", func() bool { return l.servers[0].WatchCount() == 1 })
	l.creds.SetToken(apiclient.TokenCredentials("own", "mine", l.store.CA()))
	testutil.Eventually(l.t, "another watch", func() bool { return l.servers[0].WatchCount() == 2 })
	for _, r := range l.servers[0].Requests() {
		if r.Token == "mine" && isWatch(r) {
			l.awaitVersion(l.renew())
			return
		}
	}
	t.Error("the second watch is the administrator's")
}

func isWatch(r fakeapi.Request) bool { return r.Query != "" && r.Method == "GET" }

// TestDeniedEndpoints: a denial of the EndpointSlice is reported for kvip's own token, and not for
// other credentials, which may not have the permission.
func TestDeniedEndpoints(t *testing.T) {
	l := newLab(t, 1, fakeapi.User{Token: "1"}, fakeapi.User{Token: "2"})
	l.servers[0].SetMode(fakeapi.Forbidden)
	before := l.source()
	if _, err := l.driver.cfg.Router.ReadServers(t.Context()); err == nil || l.source() != before {
		t.Errorf("%v, credentials %s", err, l.source())
	}
	l.creds.SetToken(apiclient.TokenCredentials("own", "mine", l.store.CA()))
	if _, err := l.driver.cfg.Router.ReadServers(t.Context()); err == nil || l.source() == "own" {
		t.Errorf("%v, credentials %s", err, l.source())
	}
	l.servers[0].SetMode(fakeapi.Serving)
	l.create()
}
