package health

import (
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
