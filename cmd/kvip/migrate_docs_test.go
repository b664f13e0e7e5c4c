package main

import (
	"os"
	"strings"
	"testing"
)

// TestMigratePage runs the commands of docs/migrate-from-kube-vip.md that need no cluster, with a
// manifest in the place of the file that the page names, and looks for the notes that it quotes.
func TestMigratePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrate-from-kube-vip.md")
	if err != nil {
		t.Fatal(err)
	}
	daemonSet, err := os.ReadFile("../../pkg/kubevip/migrate/testdata/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ran := 0
	for _, block := range strings.Split(string(page), "<!-- run: migrate -->\n```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		_, line, found := strings.Cut(block, "kvip migrate ")
		file, _, redirected := strings.Cut(line, " > kvip.yaml\n")
		if !found || !redirected {
			t.Fatalf("the page does not say kvip migrate FILE > kvip.yaml, but %q", block)
		}
		if file != stdioPath {
			file = kubeVIPPod
		}
		out, notes, err := runMigrate(string(daemonSet), file)
		if err != nil || !strings.Contains(out, "kind: ") {
			t.Errorf("%s: %v and\n%s", block, err, out)
		}
		said.WriteString(notes)
		ran++
	}
	quoted := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "note: ") {
			quoted++
			if !strings.Contains(said.String(), line) {
				t.Errorf("the page quotes %q, and kvip says\n%s", line, said.String())
			}
		}
	}
	if ran != 2 || quoted == 0 {
		t.Errorf("ran %d commands and found %d notes", ran, quoted)
	}
}

// TestMetalLBPage runs the command of docs/migrate-from-metallb.md that needs no cluster, with a
// sample in the place of the file, and looks for the notes that the page quotes.
func TestMetalLBPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrate-from-metallb.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "<!-- run: migrate from metallb -->\n```sh\n")
	block, _, _ = strings.Cut(block, "```")
	if !found || !strings.Contains(block, "kvip migrate --from=metallb metallb.yaml > kvip.yaml\n") {
		t.Fatalf("the page has not the command, but %q", block)
	}
	out, notes, err := runMigrate("", "--from=metallb", metalLBObjects)
	if err != nil || !strings.Contains(out, "kind: IPPool") {
		t.Errorf("%v and\n%s", err, out)
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "note: ") && !strings.Contains(notes, line) {
			t.Errorf("the page quotes %q, and kvip prints\n%s", line, notes)
		}
	}
}
