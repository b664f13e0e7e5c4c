package servicesbench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/kvip/kvip/test/benchreport"
)

var section = benchreport.Section{Name: "services", Target: "bench-services"}

// report is the file that holds all results, and what is made of it.
type report struct {
	docs    string
	table   *benchreport.Table
	results []result
}

// openReport reads what has been measured before. docs is an existing directory.
func openReport(docs string) (*report, error) {
	if _, err := os.Stat(docs); err != nil {
		return nil, err
	}
	r := &report{docs: docs}
	var err error
	if r.table, err = benchreport.OpenTable(filepath.Join(docs, "benchmarks", "services.csv"),
		columns); err != nil {
		return nil, err
	}
	r.results, err = readResults(r.table)
	return r, err
}

func (r *report) has(k key) bool {
	return slices.ContainsFunc(r.results, func(one result) bool { return one.key() == k })
}

func (r *report) add(one result) error {
	r.results = append(r.results, one)
	return r.table.Add(one.row())
}

// current keeps the results of the version that was measured last.
func (r *report) current() []result {
	if len(r.results) == 0 {
		return nil
	}
	last := r.results[len(r.results)-1].Version
	return slices.DeleteFunc(slices.Clone(r.results),
		func(one result) bool { return one.Version != last })
}

// write makes table and plot from all results.
func (r *report) write() error {
	return errors.Join(
		benchreport.UpdatePage(r.docs,
			benchreport.Part{Section: section, Text: servicesTable(r.current())}),
		benchreport.Save(filepath.Join(r.docs, "benchmarks", "services.svg"), plot(r.current())))
}
