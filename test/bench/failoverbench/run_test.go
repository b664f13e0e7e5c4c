package failoverbench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

// TestMeasuresKvip makes one run on real API servers, and no second one when asked again.
func TestMeasuresKvip(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	docs := t.TempDir()
	t.Setenv("RUNS", "1")
	t.Setenv("TOOL", "kvip")
	t.Setenv("FAULT", "agent-sigterm")
	must(t, Run(t.Context(), docs))
	csv, err := os.ReadFile(filepath.Join(docs, "benchmarks", "failover.csv"))
	must(t, err)
	if lines := strings.Count(string(csv), "\n"); lines != 2 {
		t.Fatalf("%d lines, want the header and one run:\n%s", lines, csv)
	}
	r, err := openReport(docs)
	must(t, err)
	if one := r.runs[0]; one.Samples == 0 || one.Two > 0 || one.Outage == 0 {
		t.Errorf("recorded %+v", one)
	}
	page, err := os.ReadFile(filepath.Join(docs, "benchmarks.md"))
	must(t, err)
	if !strings.Contains(string(page), "kvip "+r.runs[0].Version+" (1 run a fault)") {
		t.Errorf("the page does not show the run:\n%s", page)
	}

	must(t, Run(t.Context(), docs))
	again, err := os.ReadFile(filepath.Join(docs, "benchmarks", "failover.csv"))
	must(t, err)
	if string(again) != string(csv) {
		t.Errorf("a run was repeated:\n%s", again)
	}
}
