package servicesdemo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kvip/kvip/test/demo/kindenv"
)

// verdict is the result of a scenario.
type verdict struct {
	name string
	err  error // nil: passed
}

func (v verdict) String() string {
	if v.err == nil {
		return "verdict: passed"
	}
	return "verdict: FAILED: " + strings.ReplaceAll(v.err.Error(), "\n", "\n    ")
}

// summary lists the verdicts.
func summary(all []verdict) string {
	lines := []string{"summary"}
	for _, v := range all {
		word := "passed"
		if v.err != nil {
			word = "FAILED"
		}
		lines = append(lines, fmt.Sprintf("  %-12s %s", v.name, word))
	}
	return strings.Join(lines, "\n")
}

// failures returns an error that names the failed scenarios.
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
	return errors.New("failed: " + strings.Join(names, ", "))
}

// short names a worker for the live line.
func short(name string) string { return kindenv.ShortName(name, clusterName+"-worker", "w") }

// nextSteps lists what to try in the cluster.
func nextSteps(p kindenv.Place, dir string, vip netip.Addr) string {
	control := clusterName + "-control-plane"
	commands := []string{
		p.Outside("curl -s http://" + vip.String() + "/"),
		p.Docker("exec " + control + " kubectl get ippools,services,pods -o wide"),
		p.Docker("exec " + control +
			" kubectl -n kube-system exec daemonset/kvip-services -- /kvip status service echo"),
		p.Docker("pause "+clusterName+"-worker") +
			"      # addresses leave a node that hangs; then: unpause",
	}
	if p.DockerDir == "" {
		commands = append(commands, "kubectl --kubeconfig "+dir+"/kubeconfig get events")
	}
	return p.NextSteps(commands...)
}
