package main

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/kubevip"
)

// ofKubeVIP marks a flag that `kvip manager` takes only because `kube-vip manager` has it.
const ofKubeVIP = "kvip.dev/of-kube-vip"

// addKubeVIPFlags lets `kvip manager` take the flags of `kube-vip manager`, so that a manifest with
// flags needs no other change than that of its image (S9). Flags that kvip has under the same name
// mean the same.
func addKubeVIPFlags(fs *pflag.FlagSet) {
	for _, theirs := range kubevip.Flags() {
		name := theirs.Name
		switch {
		case fs.Lookup(name) != nil && theirs.Short == "":
			continue
		case fs.Lookup(name) != nil:
			name = "kube-vip-" + name // for the short form, which kvip's own flag does not have
		}
		fs.StringP(name, theirs.Short, "", "kube-vip's flag --"+theirs.Name)
		f := fs.Lookup(name)
		f.Hidden, f.Annotations = true, map[string][]string{ofKubeVIP: {theirs.Name}}
		if theirs.Boolean {
			f.NoOptDefVal = "true"
		}
	}
}

// kubeVIPFlags returns the flags that were given if kube-vip's are among them, as kubevip.From takes
// them, and nothing otherwise.
func kubeVIPFlags(fs *pflag.FlagSet) ([]string, error) {
	shared := kubevip.Flags()
	var all, own, theirs []string
	fs.Visit(func(f *pflag.Flag) {
		name := f.Name
		if mark := f.Annotations[ofKubeVIP]; mark != nil {
			name, theirs = mark[0], append(theirs, f.Name)
		} else if !slices.ContainsFunc(shared, func(k kubevip.Flag) bool { return k.Name == name }) {
			own = append(own, name)
			return
		}
		all = append(all, "--"+name+"="+f.Value.String())
	})
	switch {
	case len(theirs) == 0:
		return nil, nil
	case len(own) > 0:
		return nil, usageError(fmt.Sprintf("--%s is a flag of kube-vip's and --%s one of kvip's; kvip manager takes settings from one of them alone, and 'kvip migrate' translates a manifest",
			theirs[0], own[0]))
	}
	return kubevip.Arguments(all)
}
