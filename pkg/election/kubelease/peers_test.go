package kubelease

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

// The API servers take a dead one off the list within seconds; it is still a peer, the last
// to be asked, until it has been gone for so long that it was removed (E11).
func TestPeersAreRemembered(t *testing.T) {
	now := time.Hour
	d, err := New(Config{
		Namespace: "kube-system", Name: "kvip", Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Duration { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after        time.Duration
		listed, want []string
	}{
		{0, []string{"a:1", "b:1"}, []string{"a:1", "b:1"}},
		{time.Minute, []string{"b:1"}, []string{"b:1", "a:1"}},
		{time.Minute, nil, []string{"a:1", "b:1"}},
		{rememberPeers - time.Minute, []string{"c:1"}, []string{"c:1", "b:1"}},
		{2 * time.Minute, []string{"c:1"}, []string{"c:1"}},
		{time.Minute, []string{"a:1", "c:1"}, []string{"a:1", "c:1"}},
	} {
		now += step.after
		d.setPeers(step.listed)
		if got := d.Peers(); !slices.Equal(got, step.want) {
			t.Errorf("at %v with %v listed: peers %v, want %v", now, step.listed, got, step.want)
		}
	}
}
