package kubevip

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

func TestVariablesAreConsistent(t *testing.T) {
	seen, flags := map[string]bool{}, map[string]bool{electionType: true}
	for _, v := range Variables() {
		if seen[v.Name] || v.Flag != "" && flags[v.Flag] {
			t.Errorf("%s or --%s is in the table twice", v.Name, v.Flag)
		}
		seen[v.Name], flags[v.Flag] = true, true
		switch {
		case v.Meaning == "" || strings.HasSuffix(v.Meaning, "."):
			t.Errorf("%s: meaning %q", v.Name, v.Meaning)
		case v.Support == Supported && v.set == nil:
			t.Errorf("%s is supported and has no setter", v.Name)
		case v.Support != Supported && v.set != nil:
			t.Errorf("%s is %s and has a setter", v.Name, v.Support)
		case v.setEmpty != nil && v.Flag == "":
			t.Errorf("%s has no flag that could be empty", v.Name)
		}
		if required, known := lookUp(v.Requires); v.Requires != "" && (!known || !required.Boolean) {
			t.Errorf("%s requires %q, which is no Boolean variable", v.Name, v.Requires)
		}
	}
	for _, mark := range marks {
		if !seen[mark] {
			t.Errorf("%s marks kube-vip and is not in the table", mark)
		}
	}
}

// TestRequirementsEnd: the chain of requirements has no loop.
func TestRequirementsEnd(t *testing.T) {
	for _, v := range Variables() {
		name := v.Name
		for steps := 0; v.Requires != ""; steps++ {
			if v, _ = lookUp(v.Requires); steps > 5 {
				t.Fatalf("the requirements of %s do not end", name)
			}
		}
	}
}

func TestRows(t *testing.T) {
	got := rows(Variable{Meaning: "m", Requires: "cp_enable"}, "a", "b --c", "d bool", "e --f bool")
	for i, want := range []Variable{
		{Name: "a"}, {Name: "b", Flag: "c"}, {Name: "d", Boolean: true}, {Name: "e", Flag: "f",
			Boolean: true},
	} {
		if g := got[i]; g.Name != want.Name || g.Flag != want.Flag || g.Boolean != want.Boolean ||
			g.Meaning != "m" || g.Requires != "cp_enable" || g.Support != Unsupported {
			t.Errorf("row %d: %+v", i, g)
		}
	}
	if refused := rows(Variable{Support: Refused}, "a"); refused[0].Support != Refused {
		t.Errorf("a refused row is %s", refused[0].Support)
	}
}

func TestAnnotationsAreConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range AnnotationTable() {
		if seen[a.Name] || !strings.HasPrefix(a.Name, annotationPrefix) || a.Meaning == "" {
			t.Errorf("%+v is a duplicate, of another program, or has no meaning", a)
		}
		seen[a.Name] = true
		if a.requires != "" &&
			!slices.ContainsFunc(
				annotations,
				func(b Annotation) bool { return b.Name == a.requires && b.boolean },
			) {
			t.Errorf("%s requires %q, which is no Boolean annotation", a.Name, a.requires)
		}
	}
	AnnotationTable()[0].Name = "changed"
	if AnnotationTable()[0].Name == "changed" {
		t.Error("the table can be changed")
	}
}

func TestSupportHasTheWordsOfTheDocumentation(t *testing.T) {
	for support, want := range map[Support]string{Supported: "supported",
		Unsupported: "no counterpart", Refused: "refused"} {
		if got := support.String(); got != want {
			t.Errorf("%d is %q, want %q", support, got, want)
		}
	}
}

func TestNotesAndErrorsAreOneLine(t *testing.T) {
	if got := (Note{Name: "a", Text: "b"}).String(); got != "a: b" {
		t.Errorf("note %q", got)
	}
	if got := invalid("a", "b").Error(); got != "kube-vip's a: b" {
		t.Errorf("error %q", got)
	}
	if got := (Problem{Key: "a", Text: "b"}).Error(); got != "a: b" {
		t.Errorf("problem %q", got)
	}
}

func TestArgumentsOfTheManager(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		want string
		fail string
	}{
		{"none", nil, "", ""},
		{"with =", []string{"--address=192.0.2.10"}, "address=192.0.2.10", ""},
		{"with a space", []string{"--address", "192.0.2.10", "--arp"},
			"address=192.0.2.10 vip_arp=true", ""},
		{"one dash", []string{"-address", "192.0.2.10"}, "address=192.0.2.10", ""},
		{"a Boolean with a value", []string{"--arp=false"}, "vip_arp=false", ""},
		{"an empty value", []string{"--prometheusHTTPServer="}, "prometheus_server=", ""},
		{"the short form", []string{"-n", "x"}, "cp_namespace=x", ""},
		{"a value with =", []string{"--bgppeers", "a=b"}, "bgp_peers=a=b", ""},
		{"a Lease of Kubernetes", []string{"--leaderElectionType=kubernetes"}, "", ""},
		{"etcd", []string{"--leaderElectionType", "etcd"}, "", "Lease of Kubernetes"},
		{"a word", []string{"manager"}, "", `"manager" is not a flag`},
		{"dashes", []string{"--"}, "", `"--" is not a flag`},
		{"no value", []string{"--address"}, "", "--address has no value"},
		{"unknown", []string{"--invented=x"}, "", "does not know kube-vip's flag --invented"},
	} {
		env, err := Arguments(row.args)
		if got := strings.Join(env, " "); got != row.want || (err == nil) != (row.fail == "") ||
			err != nil && !strings.Contains(err.Error(), row.fail) {
			t.Errorf("%s: %q, %v, want %q and %q", row.name, got, err, row.want, row.fail)
		}
	}
}

// TestEveryFlagIsAnArgument: each flag gives the variable with its value.
func TestEveryFlagIsAnArgument(t *testing.T) {
	for _, f := range Flags() {
		if f.variable == "" {
			continue
		}
		env, err := Arguments([]string{"--" + f.Name + "=x"})
		if want := []string{f.variable + "=x"}; err != nil || !slices.Equal(env, want) {
			t.Errorf("--%s gives %q, %v, want %q", f.Name, env, err, want)
		}
	}
}

func TestTranslateError(t *testing.T) {
	other := errors.New("other")
	if got := TranslateError(other); got != other {
		t.Errorf("another error becomes %v", got)
	}
	if got := TranslateError(nil); got != nil {
		t.Errorf("nil becomes %v", got)
	}
	unknown := &config.UsageError{Flag: "image", Reason: "r"}
	if got := TranslateError(unknown); got != error(unknown) {
		t.Errorf("a flag without a variable becomes %v", got)
	}
	got := TranslateError(
		&config.UsageError{Flag: "renew-interval", Reason: "too long for --lease-duration 5s",
			Hint: "use --unknown-flag"},
	)
	var translated *Error
	want := "kube-vip's vip_retryperiod: too long for vip_leaseduration 5s; use --unknown-flag"
	if !errors.As(got, &translated) ||
		got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestEveryFlagOfTheConfigurationHasAVariable: errors about a setting must not name a flag of kvip.
func TestEveryFlagOfTheConfigurationHasAVariable(t *testing.T) {
	for flag, name := range variableOf {
		if _, known := lookUp(name); !known {
			t.Errorf("--%s is %s, which is not in the table", flag, name)
		}
	}
}
