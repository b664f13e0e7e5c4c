package kubevip

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tables of the page")

const page = "../../docs/migrate-from-kube-vip.md"

// row is one line of a table; rows that follow each other and say the same become one.
type row struct{ name, flag, says string }

func table(head string, flags bool, rows []row) string {
	var out strings.Builder
	out.WriteString(head)
	for i := 0; i < len(rows); {
		var names, options []string
		says := rows[i].says
		for ; i < len(rows) && rows[i].says == says; i++ {
			names = append(names, "`"+rows[i].name+"`")
			if rows[i].flag != "" {
				options = append(options, "`--"+rows[i].flag+"`")
			}
		}
		fmt.Fprintf(&out, "| %s |", strings.Join(names, ", "))
		if flags {
			fmt.Fprintf(&out, " %s |", strings.Join(options, ", "))
		}
		fmt.Fprintf(&out, " %s |\n", says)
	}
	return out.String()
}

// says is a support with its explanation.
func tableText(support Support, meaning, condition string) string {
	if support != Supported {
		meaning = "*" + support.String() + "*: " + meaning
	}
	if condition != "" {
		meaning += ". *Refused* if " + condition
	}
	return meaning
}

func tables() map[string]string {
	var variables, annotated, keyed []row
	for _, v := range Variables() {
		variables = append(variables, row{v.Name, v.Flag, tableText(v.Support, v.Meaning, v.RefusedIf)})
	}
	for _, a := range AnnotationTable() {
		annotated = append(annotated, row{a.Name, "", tableText(a.Support, a.Meaning, "")})
	}
	for _, k := range ConfigMapKeys() {
		keyed = append(keyed, row{k.Name, "", k.Meaning})
	}
	return map[string]string{
		"variables":   table("| variable | flag | here |\n|---|---|---|\n", true, variables),
		"annotations": table("| annotation | here |\n|---|---|\n", false, annotated),
		"keys":        table("| key | here |\n|---|---|\n", false, keyed),
	}
}

// TestThePageHasTheTables: what people read is what the program does, setting by setting.
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
		t.Errorf("%s has other tables than the program; run go test ./pkg/kubevip -update", page)
	}
}
