package lint

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// levels orders the packages: a package imports only packages of lower levels, so that each can be
// understood, tested and replaced from below. Packages of one level meet higher up, through plain
// values. A package below another's directory may import that one, its parent.
var levels = map[string]int{
	"templates":              0,
	"pkg/printable":          0,
	"pkg/boottime":           0,
	"pkg/backoff":            0,
	"pkg/netaddr":            0,
	"pkg/required":           0,
	"pkg/directhttp":         0,
	"pkg/apis/v1alpha1":      0,
	"pkg/config":             1,
	"pkg/reporter":           1,
	"pkg/link":               1,
	"pkg/metrics":            1,
	"pkg/nftfilter":          3,
	"pkg/liveness":           1,
	"pkg/placement":          1,
	"pkg/ipam":               1,
	"pkg/fence":              1,
	"pkg/quorum":             0,
	"pkg/netdev":             0,
	"pkg/relay":              1,
	"pkg/bfd":                1,
	"pkg/bgp":                2,
	"pkg/bgp/policy":         3,
	"pkg/bgp/radv":           1,
	"pkg/bgp/objects":        4,
	"pkg/bgp/static":         5,
	"pkg/bgp/advertiser":     5,
	"pkg/peer":               1,
	"pkg/vip":                3,
	"pkg/arp":                3,
	"pkg/heartbeat":          4,
	"pkg/assignment":         2,
	"pkg/health":             3,
	"pkg/apiclient":          2,
	"pkg/kubevip":            2,
	"pkg/election":           2,
	"pkg/election/kubelease": 3,
	// asks through apiclient for a token; agent gives it the RBAC, which manifest makes
	"pkg/tokenmanager":    3,
	suite:                 3,
	"pkg/manifest":        4,
	"pkg/kubeadm":         4,
	"pkg/status":          4,
	"pkg/svc":             4,
	"pkg/kubevip/migrate": 5,
	"pkg/metallb":         5,
	"pkg/svc/allocator":   6,
	"pkg/svc/bgppeers":    6,
	"pkg/svc/speaker":     6,
	"pkg/svc/bgpstate":    6,
	"pkg/svc/inspect":     7, // reads the page /services of the speaker
	"pkg/controlplane":    7,
	"pkg/anycast":         7,
	"pkg/httpapi":         7,
	"pkg/agent":           8,
	"cmd/kvip":            9,
}

// suite is test code by its purpose: it imports testing, and only tests import it.
const suite = "pkg/election/conformance"

// ban keeps one dependency inside the packages that are there for it.
type ban struct {
	name   string // of the import: the path itself or, with a trailing slash, all below it
	module string // must be required by go.mod, else the rule guards nothing
	only   []string
	reason string
}

var bans = []ban{
	{"k8s.io/", "k8s.io/client-go",
		[]string{"pkg/apiclient", "pkg/apis/v1alpha1", "pkg/election/kubelease", "pkg/tokenmanager",
			"pkg/manifest", "pkg/kubeadm", "pkg/status",
			"pkg/kubevip/migrate", "pkg/metallb", "pkg/svc", "pkg/svc/allocator", "pkg/svc/speaker",
			"pkg/svc/bgpstate", "pkg/svc/inspect", "pkg/controlplane", "pkg/agent"},
		"decisions, addresses and frames are testable without Kubernetes, whatever its API does"},
	{"sigs.k8s.io/", "sigs.k8s.io/yaml",
		[]string{"pkg/manifest", "pkg/kubeadm", "pkg/kubevip/migrate", "pkg/metallb",
			"pkg/bgp/static"},
		"YAML is the format of manifests and of kubeadm's files, and of nothing else"},
	{"go.yaml.in/", "go.yaml.in/yaml/v3", []string{"pkg/kubeadm"},
		"only who edits files that people wrote needs to know where in a line a value stands"},
	{"github.com/aymanbagabas/", "github.com/aymanbagabas/go-udiff", []string{"cmd/kvip"},
		"differences are shown to people, and nothing is decided by them"},
	{"github.com/spf13/cobra", "github.com/spf13/cobra", []string{"cmd/kvip"},
		"commands are the outermost layer; what they call must not know about command lines"},
	{"github.com/spf13/pflag", "github.com/spf13/pflag", []string{"cmd/kvip", "pkg/config"},
		"there is one configuration, with one set of flags"},
	{"github.com/vishvananda/netlink", "github.com/vishvananda/netlink",
		[]string{"pkg/vip", "pkg/link"},
		"who may change the kernel's addresses must be easy to list: pkg/vip; pkg/link only looks"},
	{"github.com/vishvananda/netlink/", "github.com/vishvananda/netlink",
		[]string{"pkg/vip", "pkg/link"},
		"who may change the kernel's addresses must be easy to list: pkg/vip; pkg/link only looks"},
	{"github.com/mdlayher/", "github.com/mdlayher/packet", []string{"pkg/arp", "pkg/netdev"},
		"raw sockets need a capability and care with truncated frames; both stay in one place"},
	{"github.com/prometheus/", "github.com/prometheus/client_golang", []string{"pkg/metrics"},
		"every metric has its name in one file, and callers pass plain values"},
	{"github.com/google/nftables", "github.com/google/nftables",
		[]string{"pkg/nftfilter", "pkg/netdev", "pkg/fence", "pkg/relay"},
		"who may change nftables must be easy to list: Services' filter, and VIPs' fence and relay"},
	{"github.com/google/nftables/", "github.com/google/nftables",
		[]string{"pkg/nftfilter", "pkg/netdev", "pkg/fence", "pkg/relay"},
		"who may change nftables must be easy to list: Services' filter, and VIPs' fence and relay"},
	{"github.com/osrg/gobgp/", "github.com/osrg/gobgp/v4", []string{"pkg/bgp"},
		"messages of BGP are encoded and decoded where sessions are kept"},
	{"github.com/cespare/xxhash/", "github.com/cespare/xxhash/v2", []string{"pkg/placement"},
		"every node must hash alike: there is one place that chooses how"},
	{"go4.org/", "go4.org/netipx", []string{"pkg/netaddr", "pkg/ipam"},
		"ranges of addresses are counted where pools are, and where one address is judged"},
	{"github.com/go-logr/", "github.com/go-logr/logr", []string{"pkg/svc"},
		"kvip logs through log/slog; client-go wants another logger, and gets one that says nothing"},
}

// outside reports whether a package is a test or tool, and not part of the program.
func outside(pkg string) bool {
	return strings.HasPrefix(pkg, "test") || strings.HasPrefix(pkg, "hack/") ||
		strings.HasPrefix(pkg, "kind/")
}

func TestImportsGoStrictlyDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || outside(s.pkg) {
			continue
		}
		own, known := levels[s.pkg]
		if !known {
			t.Errorf("%s: give its package a level here", s.path)
			continue
		}
		for _, path := range s.imports() {
			target, internal := strings.CutPrefix(path, module+"/")
			if !internal || strings.HasPrefix(s.pkg, target+"/") {
				continue
			}
			if level, known := levels[target]; !known || level >= own {
				t.Errorf("%s (level %d) imports %s (level %d): imports go strictly down, let the two meet in "+
					"a package above both",
					s.path, own, target, level)
			}
		}
	}
}

func TestEveryLevelledPackageExists(t *testing.T) {
	for _, pkg := range slices.Sorted(maps.Keys(levels)) {
		if files, err := filepath.Glob(filepath.Join(root, pkg, "*.go")); err != nil || len(files) == 0 {
			t.Errorf("%s has a level and no Go file: remove it here", pkg)
		}
	}
}

func TestDependenciesStayWhereTheyBelong(t *testing.T) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || outside(s.pkg) {
			continue
		}
		for _, path := range s.imports() {
			for _, b := range bans {
				if path != b.name && !(strings.HasSuffix(b.name, "/") && strings.HasPrefix(path, b.name)) {
					continue
				}
				used[b.name] = true
				if !slices.Contains(b.only, s.pkg) {
					t.Errorf("%s imports %s, which belongs to %s: %s", s.path, path, strings.Join(b.only, ", "),
						b.reason)
				}
			}
		}
	}
	for _, b := range bans {
		if !strings.Contains(string(gomod), "\t"+b.module+" v") || !used[b.name] {
			t.Errorf("%s is banned and unused: remove the rule or correct its name", b.name)
		}
	}
}

func TestPackagesUseNoTestCode(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || outside(s.pkg) || s.pkg == suite {
			continue
		}
		for _, path := range s.imports() {
			if path == "testing" || path == module+"/"+suite || strings.HasPrefix(path, module+"/test/") {
				t.Errorf("%s imports %s: test code must not reach the program", s.path, path)
			}
		}
	}
}
