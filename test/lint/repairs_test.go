package lint

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// repairsPage lists each fault that the reviews found, with the tests that prove its repair.
const repairsPage = "docs/design/repairs.md"

// repairsReviews are the reviews that the page covers, with the number of faults of each.
var repairsReviews = []struct {
	name   string
	faults int
}{{"core ", 13}, {"services ", 29}, {"F", 14}}

// maxLeft is how many of the faults may be left as they are.
const maxLeft = 5

// TestRepairsPageCoversEveryFault: each fault has a row, which names a test that exists or says why
// none is needed, and a outcome.
func TestRepairsPageCoversEveryFault(t *testing.T) {
	text, files := page(t, repairsPage), testFiles(t)
	left := 0
	for _, review := range repairsReviews {
		for n := 1; n <= review.faults; n++ {
			fault := fmt.Sprintf("%s%d", review.name, n)
			rows := regexp.MustCompile(`(?m)^\| `+fault+`(?:, [^|]*)? \|.*$`).FindAllString(text, -1)
			if len(rows) == 0 {
				t.Errorf("%s: no row for %s", repairsPage, fault)
			}
			for _, row := range rows {
				left += checkRepair(t, files, row)
			}
		}
	}
	if left > maxLeft {
		t.Errorf("%s: %d faults are left, at most %d may be", repairsPage, left, maxLeft)
	}
}

// checkRepair checks one row and returns 1 if its fault is left.
func checkRepair(t *testing.T, files map[string]string, row string) int {
	t.Helper()
	cells := strings.Split(row, " | ")
	if len(cells) != 4 {
		t.Errorf("%s: a row has %d cells instead of 4: %s", repairsPage, len(cells), row)
		return 0
	}
	tests, outcome := testsNamed(cells[2]), cells[3]
	for _, name := range tests {
		if len(filesOf(files, name)) == 0 {
			t.Errorf("%s names %s, which does not exist", repairsPage, name)
		}
	}
	switch {
	case strings.HasPrefix(outcome, "left: "):
		return 1
	case strings.HasPrefix(outcome, "fixed"), strings.HasPrefix(outcome, "refuted: "):
		if len(tests) == 0 {
			t.Errorf("%s: no test in: %s", repairsPage, row)
		}
	case strings.HasPrefix(outcome, "documented: "):
	default:
		t.Errorf("%s: no outcome in: %s", repairsPage, row)
	}
	return 0
}
