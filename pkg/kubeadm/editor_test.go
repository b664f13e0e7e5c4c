package kubeadm

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

func TestQuote(t *testing.T) {
	for text, want := range map[string][2]string{
		"192.0.2.10":         {`192.0.2.10`, `"192.0.2.10"`},
		"192.0.2.10:6443":    {`192.0.2.10:6443`, `"192.0.2.10:6443"`},
		"2001:db8::10":       {`"2001:db8::10"`, `"2001:db8::10"`},
		"[2001:db8::10]:443": {`"[2001:db8::10]:443"`, `"[2001:db8::10]:443"`},
		"vip.example:6443":   {`"vip.example:6443"`, `"vip.example:6443"`},
		"":                   {`""`, `""`},
	} {
		if plain, json := quote(text, false), quote(text, true); plain != want[0] || json != want[1] {
			t.Errorf("%q: %s and %s, want %q", text, plain, json, want)
		}
	}
}

func TestYAMLValueForms(t *testing.T) {
	text, items := yamlValue{
		text: "192.0.2.10:6443",
	}, yamlValue{
		items: []string{"192.0.2.10", "2001:db8::10"},
	}
	for _, row := range []struct{ name, got, want string }{
		{"a text in a block", strings.Join(text.blockField([]string{"a", "b"}, 2), "\n"),
			"  a:\n    b: 192.0.2.10:6443"},
		{"items in a block", strings.Join(items.blockField([]string{"a", "b"}, 0), "\n"),
			"a:\n  b:\n    - 192.0.2.10\n    - \"2001:db8::10\""},
		{"a text in a flow", text.flowField([]string{"a", "b"}, false), "a: {b: 192.0.2.10:6443}"},
		{"a text in JSON", text.flowField([]string{"a", "b"}, true), `"a": {"b": "192.0.2.10:6443"}`},
		{"items in a flow", items.flowAt([]string{"b"}, false), `{b: [192.0.2.10, "2001:db8::10"]}`},
		{"items in JSON", items.flowAt(nil, true), `["192.0.2.10", "2001:db8::10"]`},
		{"items for messages", items.String(), `[192.0.2.10, "2001:db8::10"]`},
	} {
		if row.got != row.want {
			t.Errorf("%s: %q, want %q", row.name, row.got, row.want)
		}
	}
}

func TestWithValueCopies(t *testing.T) {
	before := map[string]any{"a": map[string]any{"b": []any{"x"}}, "c": "y"}
	after := withValue(before, []string{"a", "b"}, yamlValue{items: []string{"v"}})
	want := map[string]any{"a": map[string]any{"b": []any{"v", "x"}}, "c": "y"}
	if !reflect.DeepEqual(after, want) {
		t.Errorf("got %v, want %v", after, want)
	}
	if !reflect.DeepEqual(before, map[string]any{"a": map[string]any{"b": []any{"x"}}, "c": "y"}) {
		t.Errorf("the argument became %v", before)
	}
	if got := withValue(nil, []string{"a", "b"}, yamlValue{text: "v"}); !reflect.DeepEqual(got,
		map[string]any{"a": map[string]any{"b": "v"}}) {
		t.Errorf("into nothing: %v", got)
	}
}

// TestPatches checks the bytes that an edit replaces, for each form of a mapping and a list.
func TestPatches(t *testing.T) {
	endpoint, sans := []string{"controlPlaneEndpoint"}, []string{"apiServer", "certSANs"}
	text, items := yamlValue{text: "192.0.2.10:6443"}, yamlValue{items: []string{"192.0.2.10"}}
	for _, row := range []struct {
		name, file string
		path       []string
		value      yamlValue
		old, new   string // the bytes that go and come
		before     string // what is before them
	}{
		{"a new field", clusterHead, endpoint, text, "", "controlPlaneEndpoint: 192.0.2.10:6443\n",
			clusterHead},
		{"a new field before a comment", clusterHead + "# c\nclusterName: b\n", endpoint, text, "",
			"controlPlaneEndpoint: 192.0.2.10:6443\n", clusterHead},
		{"no newline at the end", strings.TrimSuffix(clusterHead, "\n"), endpoint, text, "",
			"\ncontrolPlaneEndpoint: 192.0.2.10:6443", strings.TrimSuffix(clusterHead, "\n")},
		{"CRLF", strings.ReplaceAll(clusterHead, "\n", "\r\n"), endpoint, text, "",
			"controlPlaneEndpoint: 192.0.2.10:6443\r\n", strings.ReplaceAll(clusterHead, "\n", "\r\n")},
		{"an empty string", clusterHead + "controlPlaneEndpoint: \"\"\n", endpoint, text, `""`,
			"192.0.2.10:6443",
			clusterHead + "controlPlaneEndpoint: "},
		{"an explicit null", clusterHead + "controlPlaneEndpoint: ~ # c\n", endpoint, text, "~",
			"192.0.2.10:6443",
			clusterHead + "controlPlaneEndpoint: "},
		{"no value", clusterHead + "controlPlaneEndpoint:\n", endpoint, text, "", " 192.0.2.10:6443",
			clusterHead + "controlPlaneEndpoint:"},
		{"a new mapping", clusterHead, sans, items, "", "apiServer:\n  certSANs:\n    - 192.0.2.10\n",
			clusterHead},
		{"an existing mapping", clusterHead + "apiServer:\n   extraVolumes: []\n", sans, items,
			"",
			"   certSANs:\n     - 192.0.2.10\n", clusterHead + "apiServer:\n"},
		{"a list", clusterHead + "apiServer:\n  certSANs:\n  - a\n", sans, items, "", "  - 192.0.2.10\n",
			clusterHead + "apiServer:\n  certSANs:\n"},
		{"a list in a flow", clusterHead + "apiServer:\n  certSANs: [a]\n", sans, items, "",
			"192.0.2.10, ",
			clusterHead + "apiServer:\n  certSANs: ["},
		{"an empty list", clusterHead + "apiServer:\n  certSANs: []\n", sans, items, "", "192.0.2.10",
			clusterHead + "apiServer:\n  certSANs: ["},
		{"a flow mapping", clusterHead + "apiServer: {extraVolumes: []}\n", sans, items, "",
			"certSANs: [192.0.2.10], ", clusterHead + "apiServer: {"},
		{"an empty flow mapping", clusterHead + "apiServer: {}\n", sans, items, "",
			"certSANs: [192.0.2.10]",
			clusterHead + "apiServer: {"},
		{"JSON", `{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"}`, sans, items,
			"",
			`"apiServer": {"certSANs": ["192.0.2.10"]}, `, "{"},
	} {
		f := parse(t, row.file)
		p, err := newEditor(f, f.docs[0]).patchFor(row.path, row.value)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if before, old := row.file[:p.from], row.file[p.from:p.to]; before != row.before ||
			old != row.old ||
			p.text != row.new {
			t.Errorf("%s: after %q, %q becomes %q, want after %q, %q becomes %q", row.name, before, old,
				p.text, row.before, row.old, row.new)
		}
		if _, err := f.set(f.docs[0], row.path, row.value); err != nil {
			t.Errorf("%s: the edit is refused: %v", row.name, err)
		}
	}
}

func TestEditsByHand(t *testing.T) {
	for _, row := range []struct{ name, file, problem string }{
		{"an alias", clusterHead + "networking: &n {podSubnet: a}\napiServer: *n\n", "uses an alias"},
		{"another value", clusterHead + "apiServer:\n  certSANs: a\n", ""},
		{"key and value on one line", clusterHead + "apiServer:\n  certSANs: !!seq\n", ""},
	} {
		f, err := Parse("kubeadm.yaml", []byte(row.file))
		if err != nil {
			continue // refused earlier, for its type
		}
		_, err = f.set(
			f.docs[0],
			[]string{"apiServer", "certSANs"},
			yamlValue{items: []string{"192.0.2.10"}},
		)
		var input *config.InputError
		if !errors.As(err, &input) || !strings.Contains(input.Problem, row.problem) ||
			!strings.Contains(input.Problem, "by hand") || input.Field != "apiServer.certSANs" {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestLinesOfADocument(t *testing.T) {
	text := clusterHead + "clusterName: a\r\nimageRepository: b\n---\n" + initHead
	f := parse(t, text)
	for i, want := range [][]string{
		{"apiVersion: kubeadm.k8s.io/v1beta4\n", "kind: ClusterConfiguration\n", "clusterName: a\r\n",
			"imageRepository: b\n"},
		{"apiVersion: kubeadm.k8s.io/v1beta4\n", "kind: InitConfiguration\n"},
	} {
		e := newEditor(f, f.docs[i])
		var got []string
		for n := range len(e.lines) - 1 {
			got = append(got, text[e.lines[n]:e.lines[n+1]])
		}
		if got = slices.DeleteFunc(got, func(l string) bool {
			return strings.HasPrefix(l,
				"---")
		}); !slices.Equal(got, want) {
			t.Errorf("document %d: %q, want %q", i+1, got, want)
		}
	}
}
