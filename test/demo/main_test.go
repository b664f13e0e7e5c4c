package main

import "testing"

func TestUnknownDemonstration(t *testing.T) {
	for _, args := range [][]string{nil, {"moon"}, {"lab", "kind"}} {
		if code := run(t.Context(), args); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
	}
}
