package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp/objects"
	"github.com/kvip/kvip/pkg/bgp/static"
	"github.com/kvip/kvip/pkg/config"
)

const bgpPage = "../../docs/bgp.md"

var routerID = netip.MustParseAddr("192.0.2.11")

// TestBGPPage runs the commands of docs/bgp.md, and reads the objects that it has: that of kubeadm
// as kvip kubeadm does, those of the file as --bgp-config does, the others as the Services part
// does.
func TestBGPPage(t *testing.T) {
	text, err := os.ReadFile(bgpPage)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), "\\\n", " ")
	ran := 0
	for _, block := range strings.Split(page, "<!-- run: bgp -->\n```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		d := newDesk(t, nil)
		var said string
		for line := range strings.Lines(block) {
			line = strings.Join(strings.Fields(line), " ")
			switch {
			case strings.HasPrefix(line, "kubeadm ") && !strings.Contains(said, "\n  "+line+"\n"):
				t.Errorf("the page goes on with %q, and kvip says\n%s", line, said)
			case strings.HasPrefix(line, "kvip "):
				got := d.run(strings.TrimPrefix(line, "kvip "))
				expect(t, got, exitOK)
				said = got.stdout
				ran++
			}
		}
	}
	if ran != 3 {
		t.Errorf("ran %d commands", ran)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 4 {
		t.Fatalf("found %d blocks of objects", len(blocks))
	}
	d := newDesk(t, map[string]string{"cluster.yaml": blocks[0][1]})
	expect(t, d.run("kubeadm init --config cluster.yaml --vip 198.51.100.10 --announce=bgp "+
		"--bgp-as=65010 --bgp-peer=192.0.2.1,as=65000"), exitOK, "cluster.yaml: changed")
	if got := d.read("cluster.yaml"); !strings.Contains(got, "shutdown-delay-duration, value: 2s") {
		t.Errorf("the delay of the API server is lost:\n%s", got)
	}
	readFile(t, blocks[1][1])
	readObjects(t, blocks[2][1]+"---\n"+blocks[3][1])
}

// readFile reads objects as --bgp-config does.
func readFile(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bgp.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.BGPConfig = file
	peers, _, err := static.New(cfg, routerID).Read()
	if err != nil || len(peers.Peers) != 1 || len(peers.Advertisements) != 1 ||
		peers.Peers[0].BFD == nil {
		t.Errorf("%+v: %v", peers, err)
	}
}

// readObjects reads objects as the Services part does.
func readObjects(t *testing.T, text string) {
	t.Helper()
	for _, document := range strings.Split(text, "---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatal(err)
		}
		var err error
		switch head.Kind {
		case v1alpha1.BGPPeerKind:
			var one v1alpha1.BGPPeer
			if err = yaml.UnmarshalStrict([]byte(document), &one); err == nil {
				_, err = objects.Peers(one, objects.Environment{RouterID: routerID})
			}
		case v1alpha1.BGPAdvertisementKind:
			var one v1alpha1.BGPAdvertisement
			if err = yaml.UnmarshalStrict([]byte(document), &one); err == nil {
				_, err = objects.Advertisement(one)
			}
		case v1alpha1.BFDProfileKind:
			err = yaml.UnmarshalStrict([]byte(document), new(v1alpha1.BFDProfile))
		default:
			err = yaml.UnmarshalStrict([]byte(document), new(v1alpha1.IPPool))
		}
		if err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
}
