package kubevip

import (
	"fmt"
	"strings"
)

// Flag is one flag of `kube-vip manager`.
type Flag struct {
	// Name has no dashes. Short is its one-letter form; empty: none.
	Name, Short string
	// Boolean reports that it needs no value.
	Boolean bool

	variable string // of the same meaning; empty: none
}

// electionType is a flag without a variable.
const electionType = "leaderElectionType"

// Flags returns the flags that Arguments accepts.
func Flags() []Flag {
	all := []Flag{{Name: electionType}}
	for _, v := range Variables() {
		if v.Flag == "" {
			continue
		}
		f := Flag{Name: v.Flag, Boolean: v.Boolean, variable: v.Name}
		if f.Name == "namespace" {
			f.Short = "n"
		}
		all = append(all, f)
	}
	return all
}

// Arguments translates the flags of `kube-vip manager`, without that word, to variables of the same
// meaning, as NAME=value, for Parse.
func Arguments(args []string) ([]string, error) {
	known := map[string]Flag{}
	for _, f := range Flags() {
		known[f.Name], known[f.Short] = f, f
	}
	delete(known, "")
	var env []string
	for len(args) > 0 {
		name, value, given := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		if name == args[0] || name == "" {
			return nil, fmt.Errorf("%q is not a flag: write flags as --name=value", args[0])
		}
		f, found := known[name]
		if !found {
			return nil, fmt.Errorf(
				"kvip does not know kube-vip's flag --%s; set the variable instead, or remove the flag", name)
		}
		args = args[1:]
		switch {
		case given:
		case f.Boolean:
			value = "true"
		case len(args) == 0:
			return nil, fmt.Errorf("--%s has no value: give one", name)
		default:
			value, args = args[0], args[1:]
		}
		switch {
		case f.variable != "":
			env = append(env, f.variable+"="+value)
		case value != "kubernetes":
			return nil, invalid(f.Name, fmt.Sprintf(
				"%q is not supported, elections of kvip use a Lease of Kubernetes; "+
					"remove the flag", value))
		}
	}
	return env, nil
}
