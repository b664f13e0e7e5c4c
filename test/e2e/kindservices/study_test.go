package kindservices

import (
	"context"
	"errors"
	"testing"
)

// result is what a scenario saw.
type result interface {
	Lines() []string
	Judge() error
}

// judge logs what a scenario saw and fails for what should not be.
func judge(t *testing.T, r result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range r.Lines() {
		t.Log(line)
	}
	if err := r.Judge(); err != nil {
		t.Error(err)
	}
}

// Requests from outside reach all three pods through the address.
func TestSpread(t *testing.T) {
	ctx, s := study(t)
	r, err := s.Spread(ctx)
	judge(t, r, err)
}

// A pod that is made unready gets no more requests, and none fails.
func TestUnreadyPod(t *testing.T) {
	ctx, s := study(t)
	r, err := s.Unready(ctx)
	judge(t, r, err)
}

// S7: a drain moves the address away, under load. No request fails that was not open when it moved.
func TestDrainMovesTheAddress(t *testing.T) {
	ctx, s := study(t)
	r, err := s.Drain(ctx)
	judge(t, r, err)
}

// S1: the address of a node that dies answers elsewhere, and the cluster gets well when it is back.
func TestNodeKilled(t *testing.T) {
	ctx, s := study(t)
	r, err := s.Kill(ctx)
	if r.Old != "" {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), wellWithin)
			defer cancel()
			if err := s.Restore(ctx, r.Old); err != nil {
				t.Error(errors.Join(errors.New("mend "+r.Old), err))
			}
		}()
	}
	judge(t, r, err)
}
