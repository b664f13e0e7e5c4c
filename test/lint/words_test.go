package lint

import (
	"go/ast"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// term is a word that names nothing, or one thing only. docs/style.md and docs/glossary.md say why.
type term struct {
	word    string   // a regular expression for the whole word, in lower case
	instead string   // what to write
	only    []string // directories in which the word has its one meaning; none: nowhere
}

// nameTerms are checked in each word of each identifier, package and file name.
var nameTerms = []term{
	{"catalogue", "cache", nil},
	{"chorus", "announcer", nil},
	{"clash", "conflict", nil},
	{"diary", "recorder", nil},
	{"drill", "failover", nil},
	{"ear", "conflictDetector", nil},
	{"errands?", "worker", nil},
	{"hush(es|ed)?", "stopAnnouncing", nil},
	{"inquiry", "probe", nil},
	{"keeper", "manager or elector", nil},
	{"mint(s|ed)?", "issue", nil},
	{"odd", "the property that is meant", nil},
	{"ours", "managed", nil},
	{"rig", "fixture", nil},
	{"rivals?", "duplicateNode", nil},
	{"rota", "refreshSchedule", nil},
	{"seats?", "leader, or sharer of an address", nil},
	{"shelf|shelves", "poolCursor", nil},
	{"sightings?", "conflict", nil},
	{"situation", "snapshot", nil},
	{"spots?", "allocation", nil},
	{"strangers?", "foreignHost", nil},
	{"tenants?", "claim", nil},
	{"told", "the fact that is reported", nil},
	{"twins?", "duplicateNode", nil},
	{"voices?", "announcement", nil},
	{"wish(es)?", "request or desired", nil},
	{"heart", "node Lease", nil},
	{"shard", "a Lease of the ledger", []string{"pkg/svc", "test/fakeapi", "test/e2e/services"}},
	{"verdicts?", "a judgement on health", []string{
		"pkg/health", "pkg/agent", "pkg/controlplane", "pkg/election", "pkg/status", "cmd/kvip",
		"kind/casestudy", "test/demo", "test/monitoring",
	}},
}

// textTerms are checked in comments, string literals and pages of documentation.
var textTerms = []term{
	{`is no errors?|are no errors?`, "is not an error", nil},
	{`(is|says|say|tells|tell) whether`, "reports whether", nil},
	{`(says|say|said) that`, "reports that, or the fact itself", nil},
	{`nobody|somebody|whoever|whosoever`, "the component, node or user", nil},
	{`anew`, "again", nil},
	{`by and by|all the same|came to pass|comes to pass`, "plain words", nil},
	{`farewell|errands?|rota|diary|chorus|catalogue`, "the field's term", nil},
	{`told|tells`, "reports, records or receives", nil},
	{`the seat|a seat|the heart|tenants?|shelf|rivals?|strangers?`, "the field's term", nil},
	{`by itself alone|of its own accord`, "plain words", nil},
}

// wordsExempt quote banned words on purpose.
var wordsExempt = []string{"docs/style.md", "test/lint/words_test.go"}

// below reports whether a path is one of dirs or inside of one.
func below(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		return name == d || strings.HasPrefix(name, d+"/")
	})
}

// finding is one use of a banned word.
type finding struct{ path, where, word, instead string }

// wordFindings checks the whole tree.
func wordFindings(t *testing.T) (all []finding) {
	t.Helper()
	for _, s := range sources(t) {
		all = append(all, nameFindings(s)...)
		all = append(all, proseFindings(s)...)
	}
	walk(t, func(name string) {
		if path.Ext(name) == ".md" {
			all = append(all, textFindings(name, "page", page(t, name))...)
		}
	})
	return slices.DeleteFunc(all, func(f finding) bool { return below(f.path, wordsExempt) })
}

// nameFindings checks the identifiers that a file declares, and its own name.
func nameFindings(s source) (all []finding) {
	check := func(name string) {
		for _, word := range wordsOf(name) {
			for _, c := range nameTerms {
				if whole(c.word).MatchString(word) && !below(s.pkg, c.only) {
					all = append(all, finding{s.path, name, word, c.instead})
				}
			}
		}
	}
	check(strings.TrimSuffix(path.Base(s.path), ".go"))
	check(s.file.Name.Name)
	for ident := range declaredNames(s.file) {
		check(ident)
	}
	return all
}

// declaredNames returns every name that a file declares, of whatever scope.
func declaredNames(file *ast.File) map[string]bool {
	all := map[string]bool{}
	add := func(list ...*ast.Ident) {
		for _, id := range list {
			all[id.Name] = true
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch d := n.(type) {
		case *ast.FuncDecl:
			add(d.Name)
		case *ast.TypeSpec:
			add(d.Name)
		case *ast.ValueSpec:
			add(d.Names...)
		case *ast.Field:
			add(d.Names...)
		case *ast.AssignStmt:
			for _, e := range d.Lhs {
				if id, ok := e.(*ast.Ident); ok && d.Tok == token.DEFINE {
					add(id)
				}
			}
		}
		return true
	})
	return all
}

// proseFindings checks comments and string literals.
func proseFindings(s source) (all []finding) {
	for _, group := range s.file.Comments {
		line := s.fset.Position(group.Pos())
		all = append(all, textFindings(s.path, line.String(), group.Text())...)
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			all = append(all, textFindings(s.path, s.fset.Position(lit.Pos()).String(), lit.Value)...)
		}
		return true
	})
	return all
}

func textFindings(file, where, text string) (all []finding) {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, c := range textTerms {
		for _, word := range textWord(c.word).FindAllString(text, -1) {
			if !below(path.Dir(file), c.only) {
				all = append(all, finding{file, where, word, c.instead})
			}
		}
	}
	return all
}

var patterns = map[string]*regexp.Regexp{}

func pattern(text string) *regexp.Regexp {
	if patterns[text] == nil {
		patterns[text] = regexp.MustCompile(text)
	}
	return patterns[text]
}

func whole(word string) *regexp.Regexp    { return pattern(`^(` + word + `)$`) }
func textWord(word string) *regexp.Regexp { return pattern(`\b(` + word + `)\b`) }

// wordsOf splits an identifier at capital letters, digits and underscores, in lower case.
func wordsOf(name string) (words []string) {
	start := 0
	runes := []rune(name)
	cut := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case r == '_' || r == '-' || unicode.IsDigit(r):
			cut(i)
			start = i + 1
		case unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
		}
	}
	cut(len(runes))
	return words
}

func TestWords(t *testing.T) {
	for _, f := range wordFindings(t) {
		where := strings.TrimPrefix(f.where, filepath.Join(root)+"/")
		t.Errorf("%s: %s: %q: write %s (docs/style.md)", f.path, where, f.word, f.instead)
	}
}

func TestWordsOf(t *testing.T) {
	for name, want := range map[string][]string{
		"HTTPServer":     {"http", "server"},
		"nodeLease":      {"node", "lease"},
		"TestE4_Stops":   {"test", "e", "stops"},
		"rig_test":       {"rig", "test"},
		"ARP":            {"arp"},
		"VIPAnnouncer2x": {"vip", "announcer", "x"},
	} {
		if got := wordsOf(name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
