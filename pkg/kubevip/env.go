package kubevip

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
)

// marks are variables that nobody but kube-vip has, and one of which is in every manifest of it.
var marks = []string{"cp_enable", "svc_enable", "vip_arp", "vip_interface", "vip_address", "vip_leaderelection", "bgp_enable"}

// families are the beginnings of names that later releases of kube-vip may have.
var families = []string{"vip_", "cp_", "svc_", "lb_", "bgp_", "mpbgp_", "zebra_", "egress_", "dhcp_", "control_plane_health_check_"}

// Detect says whether a process was started as kube-vip, by its environment as os.Environ has it.
func Detect(env []string) bool {
	values := valuesOf(env)
	return slices.ContainsFunc(marks, func(name string) bool { return values[name] != "" })
}

// ParseEnvironment translates the environment of kube-vip, as os.Environ has it: of two values for a name the last one
// counts, and an empty one is none. A note names each setting that asks for something else than kvip does; an *Error
// is the first setting that it cannot work with.
func ParseEnvironment(env []string) (Settings, []Note, error) { return Parse(nil, env) }

// Parse is ParseEnvironment with flags of kube-vip's beside the environment, as Arguments returns them. A variable goes
// before the flag that means the same.
func Parse(flags, env []string) (Settings, []Note, error) {
	r := newReading(flags, env)
	for _, v := range Variables() {
		if err := r.read(v); err != nil {
			return Settings{}, nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		if _, known := lookUp(name); !known && r.values[name] != "" && ofFamily(name) {
			r.note(name, unfamiliar)
		}
	}
	if err := r.settle(); err != nil {
		return Settings{}, nil, err
	}
	return r.Settings, r.notes, nil
}

// unfamiliar is said of a variable with such a beginning.
const unfamiliar = "looks like one of kube-vip's, and kvip does not know it"

// IsKnown reports whether the table has a variable, or From would name it by its beginning.
func IsKnown(name string) bool {
	_, known := lookUp(name)
	return known || ofFamily(name)
}

// WithoutValue says what becomes of a variable whose value nobody knows here, beside flags and variables as From takes them:
// known is false if kvip needs the value, and otherwise the note is what there is to say, if its Name is not empty.
func WithoutValue(name string, flags, env []string) (note Note, known bool) {
	v, listed := lookUp(name)
	switch {
	case !listed && ofFamily(name):
		return Note{name, unfamiliar}, true
	case !listed:
		return Note{name, unread}, true
	case !newReading(flags, env).matters(v):
		return Note{}, true
	case v.needsValue():
		return Note{}, false
	}
	return Note{name, v.Meaning}, true
}

// lookUp finds a variable in the table.
func lookUp(name string) (Variable, bool) {
	all := Variables()
	i := slices.IndexFunc(all, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return Variable{}, false
	}
	return all[i], true
}

// newReading joins flags and environment.
func newReading(flags, env []string) *parser {
	r := &parser{values: valuesOf(env), emptied: map[string]bool{}, Settings: defaults()}
	for name, value := range valuesOf(flags) {
		if r.values[name] == "" {
			r.values[name], r.emptied[name] = value, value == ""
		}
	}
	return r
}

// defaults are kube-vip's, where it has one.
func defaults() Settings {
	return Settings{
		Port: config.DefaultPort, LeaseName: LeaseName, ServicesLease: ServicesLease, Namespace: Namespace,
		LeaseDuration: LeaseDuration, RenewInterval: RetryPeriod, Class: Class, MetricsAddress: ":2112",
	}
}

// read takes one variable. One that belongs to a part that is off does not matter to kube-vip either.
func (r *parser) read(v Variable) error {
	value := r.values[v.Name]
	switch {
	case !r.matters(v):
		return nil
	case value == "" && r.emptied[v.Name] && v.empty != nil:
		v.empty(r)
		return nil
	case value == "":
		return nil
	}
	if v.set != nil {
		if err := v.set(r, value); err != nil {
			return refuse(v.Name, err.Error())
		}
	}
	if v.Support == Supported || v.asksNothing(value) {
		return nil
	}
	if v.Support == Refused {
		return refuse(v.Name, v.Meaning)
	}
	r.note(v.Name, "%s", v.Meaning)
	return nil
}

// matters reports whether the part that a variable belongs to is on.
func (r *parser) matters(v Variable) bool {
	for v.Requires != "" {
		if !r.is(v.Requires) {
			return false
		}
		v, _ = lookUp(v.Requires)
	}
	return true
}

// asksNothing says that kvip does what is asked for without being asked.
func (v Variable) asksNothing(value string) bool {
	if !v.Boolean {
		return slices.Contains(v.same, value)
	}
	on, err := strconv.ParseBool(value)
	return err == nil && on == slices.Contains(v.same, "true")
}

// valuesOf reads NAME=value.
func valuesOf(env []string) map[string]string {
	values := map[string]string{}
	for _, entry := range env {
		if name, value, found := strings.Cut(entry, "="); found {
			values[name] = value
		}
	}
	return values
}

func ofFamily(name string) bool {
	return slices.ContainsFunc(families, func(family string) bool { return strings.HasPrefix(name, family) })
}
