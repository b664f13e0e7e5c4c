package bgpbench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

// TestMeasuresKvip makes one run on real API servers and routers, and records it.
func TestMeasuresKvip(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	docs := t.TempDir()
	t.Setenv("RUNS", "1")
	t.Setenv("TOOL", "kvip-300ms")
	t.Setenv("FAULT", "agent-sigterm")
	must(t, Run(t.Context(), docs))
	r, err := openReport(docs)
	must(t, err)
	if len(r.runs) != 1 {
		t.Fatalf("%d runs were recorded, want one", len(r.runs))
	}
	if one := r.runs[0]; one.samples == 0 || one.misrouted > 0 || one.lost > 0 || one.sent == 0 ||
		min(one.gone[0], one.gone[1]) < 0 {
		t.Errorf("recorded %+v", one)
	}
	page, err := os.ReadFile(filepath.Join(docs, "benchmarks.md"))
	must(t, err)
	if !strings.Contains(string(page), "(1 run a fault)") {
		t.Errorf("the page does not show the run:\n%s", page)
	}
}
