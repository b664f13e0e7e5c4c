package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kvip/kvip/kind/stage"
)

// verdict is whether an act went as it should.
type verdict struct {
	name string
	err  error // why not
}

func (v verdict) String() string {
	if v.err == nil {
		return "verdict: as it should be"
	}
	return "verdict: FAILED: " + strings.ReplaceAll(v.err.Error(), "\n", "\n    ")
}

// summary is what to remember.
func summary(all []verdict) string {
	lines := []string{"summary"}
	for _, v := range all {
		word := "as it should be"
		if v.err != nil {
			word = "FAILED"
		}
		lines = append(lines, fmt.Sprintf("  %-12s %s", v.name, word))
	}
	return strings.Join(lines, "\n")
}

// failures is an error that names the acts that went wrong.
func failures(all []verdict) error {
	var names []string
	for _, v := range all {
		if v.err != nil {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return errors.New("not as it should be: " + strings.Join(names, ", "))
}

// short names a worker in few letters, as w2 for services-worker2, for the live line.
func short(name string) string {
	number, ok := strings.CutPrefix(name, clusterName+"-worker")
	switch {
	case !ok:
		return name
	case number == "":
		return "w1"
	}
	return "w" + number
}

// next says what to try in the cluster.
func next(p stage.Place, dir string, vip netip.Addr) string {
	control := clusterName + "-control-plane"
	lines := []string{
		"the cluster stays. What to try next:",
		"  " + p.Outside("curl -s http://"+vip.String()+"/"),
		"  " + p.Docker("exec "+control+" kubectl get ippools,services,pods -o wide"),
		"  " + p.Docker("exec "+control+" kubectl -n kube-system exec daemonset/kvip-services -- /kvip status service echo"),
		"  " + p.Docker("pause "+clusterName+"-worker") + "      # an address leaves a node that hangs; then: unpause",
	}
	if p.DockerDir == "" {
		lines = append(lines, "  kubectl --kubeconfig "+dir+"/kubeconfig get events")
	}
	return strings.Join(append(lines, "  "+p.Root("make kind-down")+"      # removes the cluster and all that was made for it"), "\n")
}
