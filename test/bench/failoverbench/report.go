package failoverbench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// report is the files that hold all results, and what is made of them.
type report struct {
	docs      string
	runTable  *benchreport.Table
	idleTable *benchreport.Table
	runs      []run
	idles     []idle
}

// openReport reads what has been measured before. docs is an existing directory.
func openReport(docs string) (*report, error) {
	if _, err := os.Stat(docs); err != nil {
		return nil, err
	}
	r := &report{docs: docs}
	var err error
	if r.runTable, err = benchreport.OpenTable(r.file("failover.csv"), runColumns); err != nil {
		return nil, err
	}
	if r.idleTable, err = benchreport.OpenTable(r.file("idle.csv"), idleColumns); err != nil {
		return nil, err
	}
	if r.runs, err = readRuns(r.runTable); err != nil {
		return nil, err
	}
	r.idles, err = readIdle(r.idleTable)
	return r, err
}

func (r *report) file(name string) string { return filepath.Join(r.docs, "benchmarks", name) }

func (r *report) done() map[key]bool { return done(r.runs) }

func (r *report) hasIdle(t failover.Tool) bool {
	return slices.ContainsFunc(r.idles,
		func(i idle) bool { return i.Tool == t.Name() && i.Version == t.Version() })
}

func (r *report) add(one run) error {
	r.runs = append(r.runs, one)
	return r.runTable.Add(one.row())
}

func (r *report) addIdle(agents []idle) error {
	for _, a := range agents {
		r.idles = append(r.idles, a)
		if err := r.idleTable.Add(a.row()); err != nil {
			return err
		}
	}
	return nil
}

// write makes tables and plot from all results.
func (r *report) write() error {
	runs := current(r.runs)
	return errors.Join(
		benchreport.UpdatePage(r.docs,
			benchreport.Part{Section: failoverSection, Text: failoverTable(runs)},
			benchreport.Part{Section: idleSection, Text: idleTable(currentIdle(r.idles))}),
		benchreport.Save(r.file("failover.svg"), plot(runs)))
}
