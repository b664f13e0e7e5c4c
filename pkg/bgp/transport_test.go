package bgp

import (
	"errors"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReasonOfAFailedWrite: a peer that ends the session while kvip writes has said why.
func TestReasonOfAFailedWrite(t *testing.T) {
	n := Notification{Code: 6, Subcode: 1}
	other := errors.New("another error")
	for name, c := range map[string]struct {
		err     error
		arrives []tagged
		want    Event
	}{
		"a notification": {unix.EPIPE, []tagged{
			{generation: 1, event: Received{Notification{Code: 2}}},
			{generation: 2, event: Received{Update{}}}, {generation: 2, event: Received{n}},
		}, Received{n}},
		"none": {unix.ECONNRESET, []tagged{
			{generation: 2, event: Received{Update{}}}, {generation: 2, event: Lost{other}},
		}, Lost{unix.ECONNRESET}},
		"silence":       {unix.EPIPE, nil, Lost{unix.EPIPE}},
		"another error": {other, nil, Lost{other}},
		"not permitted": {errNotPermitted, nil, Tick{false}},
	} {
		link := transport{events: make(chan tagged), generation: 2}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for _, one := range c.arrives {
				link.events <- one
			}
		}()
		if got := link.failure(c.err); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		<-ended
	}
}
