package health

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// TestOtherCredentialsDialAnew: a client certificate stays with its connection, so whoever asks with
// other credentials asks on another one, and only then.
func TestOtherCredentialsDialAnew(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	var auth atomic.Pointer[string]
	set := func(text string) { auth.Store(&text) }
	set("")
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(), Authorization: func() string { return *auth.Load() }})
	w.until(Healthy, CodeOK)
	for want, text := range []string{"", "Bearer a", "Bearer a", "Bearer b"} {
		set(text)
		for polls := a.polls.Load() + 3; a.polls.Load() < polls; {
			time.Sleep(time.Millisecond)
		}
		if want = []int{1, 2, 2, 3}[want]; int(a.conns.Load()) != want {
			t.Errorf("with %q: %d connections, want %d", text, a.conns.Load(), want)
		}
	}
}

// TestCredentialsStayWithTheAPIServer: behind a URL that was given may be anybody. Only over https, and
// at an address of the API server's own, the server sees the token and the client certificate.
func TestCredentialsStayWithTheAPIServer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		https     bool
		own, want bool
	}{
		{"PlainHTTP", false, false, false},
		{"PlainHTTPAtOwnAddress", false, true, false},
		{"AnotherServer", true, false, false},
		{"OwnAddress", true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var shown, asked atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if r.Header.Get("Authorization") != "" || r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
					shown.Add(1)
				}
			}))
			if row.https {
				server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			own := urls("https://127.0.0.1:1")
			if row.own {
				own = urls("https://" + server.Listener.Addr().String())
			}
			identity := newAPIServer(t).TLS.Certificates
			w := start(t, Config{
				URL: server.URL + "/healthz", URLs: own, Authorization: func() string { return "Bearer secret" },
				TLS: func() (*tls.Config, error) {
					return &tls.Config{InsecureSkipVerify: true, Certificates: identity}, nil
				},
			})
			w.until(Healthy, CodeOK)
			if (shown.Load() > 0) != row.want || row.want && shown.Load() != asked.Load() {
				t.Errorf("%d of %d requests showed credentials", shown.Load(), asked.Load())
			}
		})
	}
}
