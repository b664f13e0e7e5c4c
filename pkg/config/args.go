package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Args returns the arguments of `kvip manager` that reproduce c: --vip, if there is one, and whatever differs from
// Default and means something for c, in the order of the help text. Equal configurations give equal arguments.
func (c Config) Args() []string {
	want, have := c, Default()
	wanted, defaults := managerFlags(&want), managerFlags(&have)
	var args []string
	wanted.VisitAll(func(f *pflag.Flag) {
		if reason, _ := c.unused(f.Name); reason != "" {
			return
		}
		if value := plain(f); value != plain(defaults.Lookup(f.Name)) || f.Name == "vip" && value != "" {
			args = append(args, dashed(f.Name)+"="+value)
		}
	})
	return args
}

// managerFlags returns a flag set over c with every flag of `kvip manager`.
func managerFlags(c *Config) *pflag.FlagSet {
	fs := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	c.AddFlags(fs, ManagerGroups()...)
	return fs
}

// ManagerGroups returns the groups that `kvip manager` takes: all but Image.
func ManagerGroups() []Group {
	return []Group{Address, Interface, APIServer, Lease, Timing, Client, Node, Metrics, Health, Services, Logging}
}

// plain returns the value as it is typed on a command line: pflag prints lists in brackets.
func plain(f *pflag.Flag) string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(slices.Clone(list.GetSlice()), ",")
	}
	return f.Value.String()
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
