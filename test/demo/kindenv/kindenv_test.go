package kindenv

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

func TestProgressIsPlain(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var log bytes.Buffer
	p := &progress{out: screen.NewScreen(out), log: &log, began: time.Now()}
	said := "Creating cluster \"ha\" ...\n • Preparing nodes 📦 📦   ...\n ✓ Preparing nodes 📦 📦 \n ✗ " +
		"Starting control-plane 🕹️\nERROR: failed to create cluster: why\nThanks! 😊\n"
	for part := range strings.SplitAfterSeq(said, "n") { // not at the ends of lines
		if _, err := p.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if log.String() != said {
		t.Errorf("the log has %q", log.String())
	}
	shown, err := os.ReadFile(out.Name())
	want := "  kind: Preparing nodes (0 s)\n  kind: FAILED: Starting control-plane (0 s)\n  kind: " +
		"ERROR: failed to create cluster: why (0 s)\n"
	if err != nil || string(shown) != want {
		t.Errorf("shown:\n%s\nwant:\n%s", shown, want)
	}
}

func TestTidySaysWhatIsLeft(t *testing.T) {
	s := &Env{Target: "kind-demo", Name: "ha"}
	if err := s.cleanUp(os.ErrInvalid, false); err != os.ErrInvalid {
		t.Errorf("before there is a cluster: %v", err)
	}
	if err := s.cleanUp(os.ErrInvalid, true); !strings.Contains(err.Error(), "make kind-down") {
		t.Errorf("interrupted early: %v", err)
	}
	s.Cluster, s.created = &kindcluster.Cluster{}, true
	for _, interrupted := range []bool{true, false} {
		if err := s.cleanUp(os.ErrInvalid, interrupted); !strings.Contains(err.Error(),
			"the cluster ha stays") && !strings.Contains(err.Error(), "The cluster ha stays") ||
			!strings.Contains(err.Error(), "make kind-down removes it") {
			t.Errorf("interrupted %v: %v", interrupted, err)
		}
	}
}

func TestIndent(t *testing.T) {
	if got := Indent("a\nb\n"); got != "  a\n  b" {
		t.Errorf("%q", got)
	}
}
