package metallb

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const page = "../../docs/migrate-from-metallb.md"

// tables returns the tables of the page by name.
func tables() map[string]string {
	var rows, annotated strings.Builder
	rows.WriteString("| kind | field of `spec` | here |\n|---|---|---|\n")
	for _, f := range Fields() {
		meaning := f.Meaning
		if f.Refused {
			meaning = "*refused*: " + meaning
		}
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", f.Kind, f.Name, meaning)
	}
	annotated.WriteString("| MetalLB | kvip |\n|---|---|\n")
	for _, a := range Annotations() {
		fmt.Fprintf(&annotated, "| `%s%s`, `%s%[2]s` | `%[4]s` |\n", prefixes[0], a.Name, prefixes[1],
			a.Instead)
	}
	return map[string]string{"fields": rows.String(), "annotations": annotated.String()}
}

// TestThePageHasTheTables: what people read is what the program does, field by field.
func TestThePageHasTheTables(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, rows := range tables() {
		head, rest, found := strings.Cut(want, "<!-- table: "+name+" -->\n")
		_, tail, ends := strings.Cut(rest, "<!-- end of "+name+" -->\n")
		if !found || !ends {
			t.Fatalf("%s has no place for the table of %s", page, name)
		}
		want = head + "<!-- table: " + name + " -->\n" + rows + "<!-- end of " + name + " -->\n" + tail
	}
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s has other tables than the program; run go test ./pkg/metallb -update", page)
	}
}

// TestThePageQuotesNotes that a sample causes.
func TestThePageQuotesNotes(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, notes, err := Migrate("f", []byte(sample(t, "bgp.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	quoted := 0
	for line := range strings.Lines(string(text)) {
		note, found := strings.CutPrefix(strings.TrimSpace(line), "note: ")
		if !found {
			continue
		}
		quoted++
		if !strings.Contains(fmt.Sprint(notes), note) {
			t.Errorf("the page quotes %q, and the notes are %v", note, notes)
		}
	}
	if quoted == 0 {
		t.Error("the page quotes no note")
	}
}
