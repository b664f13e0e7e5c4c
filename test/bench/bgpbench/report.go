package bgpbench

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/kvip/kvip/test/benchreport"
)

// report is the file that holds all results, and what is made of it.
type report struct {
	docs  string
	table *benchreport.Table
	runs  []run
}

// openReport reads what has been measured before. docs is an existing directory.
func openReport(docs string) (*report, error) {
	if _, err := os.Stat(docs); err != nil {
		return nil, err
	}
	r := &report{docs: docs}
	var err error
	if r.table, err = benchreport.OpenTable(r.file("bgp.csv"), columns); err != nil {
		return nil, err
	}
	r.runs, err = readRuns(r.table)
	return r, err
}

func (r *report) file(name string) string { return filepath.Join(r.docs, "benchmarks", name) }

func (r *report) done() map[key]bool { return done(r.runs) }

func (r *report) add(one run) error {
	r.runs = append(r.runs, one)
	return r.table.Add(one.row())
}

// write makes tables and plot from all results.
func (r *report) write() error {
	runs := current(r.runs)
	return errors.Join(
		benchreport.UpdatePage(r.docs, benchreport.Part{Section: section, Text: text(runs)}),
		benchreport.Save(r.file("bgp.svg"), plot(runs)))
}
