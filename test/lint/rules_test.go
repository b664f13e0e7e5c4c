package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rules is the number of election and fence rules, E1 to E12.
const rules = 12

// TestEveryRuleIsKeptAndProven: code that keeps a rule names it, and so does a test that proves it.
// Helpers of tests count as neither.
func TestEveryRuleIsKeptAndProven(t *testing.T) {
	var code, tests strings.Builder
	for _, s := range sources(t) {
		text, err := os.ReadFile(filepath.Join(root, s.path))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case s.pkg == "test/lint":
		case s.test:
			tests.Write(text)
		case s.pkg != suite && !strings.HasPrefix(s.pkg, "test"):
			code.Write(text)
		}
	}
	for n := 1; n <= rules; n++ {
		// Also TestE4OwnerStopsAtTheDeadline.
		named := regexp.MustCompile(fmt.Sprintf(`(\b|Test)E%d([^0-9]|$)`, n))
		if !named.MatchString(code.String()) {
			t.Errorf("no code says that it keeps E%d", n)
		}
		if !named.MatchString(tests.String()) {
			t.Errorf("no test says that it proves E%d", n)
		}
	}
}
