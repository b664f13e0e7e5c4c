package servicesbench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

// TestMeasuresServices makes one measurement on real API servers, with a node that dies, and no
// second one when asked again.
func TestMeasuresServices(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	docs := t.TempDir()
	t.Setenv("RUNS", "1")
	t.Setenv("N", "30")
	must(t, run(t.Context(), docs, 3*time.Second))
	r, err := openReport(docs)
	must(t, err)
	if len(r.results) != 1 {
		t.Fatalf("%d results, want one", len(r.results))
	}
	one := r.results[0]
	if one.Address.Max <= 0 || one.Answer.Max < one.Address.P50 || one.Allocator == "" ||
		one.Writes <= 0 || one.RSS[0] < 1 || one.Peak[0] < one.RSS[0] {
		t.Errorf("recorded %+v", one)
	}
	if one.DeadAddresses > 0 && one.Elsewhere.Max <= 0 {
		t.Errorf("%d addresses of a dead node moved in no time", one.DeadAddresses)
	}
	page, err := os.ReadFile(filepath.Join(docs, "benchmarks.md"))
	must(t, err)
	if !strings.Contains(string(page), "\n| 30 | ") {
		t.Errorf("the page does not show it:\n%s", page)
	}
	must(t, run(t.Context(), docs, 3*time.Second))
	if r, err = openReport(docs); err != nil || len(r.results) != 1 {
		t.Errorf("%d results after a second time: %v", len(r.results), err)
	}
}
