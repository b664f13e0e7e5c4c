package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/kubevip"
)

// ofKubeVIP marks a flag that `kvip manager` takes only because `kube-vip manager` has it.
const ofKubeVIP = "kvip.dev/of-kube-vip"

// addKubeVIPFlags lets `kvip manager` take the flags of `kube-vip manager`, so that a manifest with
// flags needs no other change than that of its image (S9). Flags that kvip has under the same name
// mean the same.
func addKubeVIPFlags(fs *pflag.FlagSet) {
	for _, v := range kubevip.Variables() {
		if v.Flag == "" || fs.Lookup(v.Flag) != nil {
			continue
		}
		fs.String(v.Flag, "", "kube-vip's flag for "+v.Name)
		f := fs.Lookup(v.Flag)
		f.Hidden, f.Annotations = true, map[string][]string{ofKubeVIP: {v.Name}}
		if v.Boolean {
			f.NoOptDefVal = "true"
		}
	}
}

// kubeVIPFlags returns the flags that were given if kube-vip's are among them, as kubevip.From takes
// them, and nothing otherwise.
func kubeVIPFlags(fs *pflag.FlagSet) ([]string, error) {
	names := map[string]string{}
	for _, v := range kubevip.Variables() {
		names[v.Flag] = v.Name
	}
	var all, own, theirs []string
	fs.Visit(func(f *pflag.Flag) {
		switch name, known := names[f.Name]; {
		case !known:
			own = append(own, f.Name)
		case f.Annotations[ofKubeVIP] != nil:
			theirs = append(theirs, f.Name)
			fallthrough
		default:
			all = append(all, name+"="+f.Value.String())
		}
	})
	switch {
	case len(theirs) == 0:
		return nil, nil
	case len(own) > 0:
		return nil, usageError(fmt.Sprintf("--%s is a flag of kube-vip's and --%s one of kvip's; kvip manager takes settings from one of them alone, and 'kvip migrate' translates a manifest",
			theirs[0], own[0]))
	}
	return all, nil
}
