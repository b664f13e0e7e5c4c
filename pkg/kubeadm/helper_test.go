package kubeadm

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
)

const (
	clusterHead = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
	initHead    = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n"
	joinHead    = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"
)

// vips parses addresses separated by commas.
func vips(text string) (all []netip.Addr) {
	for part := range strings.SplitSeq(text, ",") {
		all = append(all, netip.MustParseAddr(part))
	}
	return all
}

// prefixes are the addresses of a host with the links eth0, eth1 and so on.
func prefixes(texts ...string) (all []Address) {
	for i, text := range texts {
		all = append(all, Address{Prefix: netip.MustParsePrefix(text), Link: "eth" + string(rune('0'+i))})
	}
	return all
}

// names is a resolver without a network.
func names(found map[string]string) func(string) ([]netip.Addr, error) {
	return func(name string) ([]netip.Addr, error) {
		if text, known := found[name]; known {
			return vips(text), nil
		}
		return nil, errors.New("no such host")
	}
}

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("kubeadm.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func initText(t *testing.T, text string, r Request) string {
	t.Helper()
	plan, err := parse(t, text).PlanInit(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plan.Data)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
