package kubevip

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/ipam"
)

// The ConfigMap of kube-vip's cloud provider.
const (
	PoolsNamespace = "kube-system"
	PoolsConfigMap = "kubevip"
)

// The keys of the ConfigMap. A namespace, or the word global, follows those that end in a dash.
const (
	keyCIDR      = "cidr-"
	keyRange     = "range-"
	keyShare     = "allow-share-"
	keyInterface = "interface-"
	keySkipEnds  = "skip-end-ips-in-cidr"
	keyOrder     = "search-order"
	global       = "global"
)

// ConfigMapKey is one row of the table of the ConfigMap's keys.
type ConfigMapKey struct {
	// Name is the key; NAMESPACE stands for a namespace or for the word global.
	Name string
	// Meaning is its meaning here.
	Meaning string
}

// ConfigMapKeys returns the table, in the order of the documentation.
func ConfigMapKeys() []ConfigMapKey {
	return []ConfigMapKey{
		{keyCIDR + "NAMESPACE",
			"a pool for a namespace, or for all: prefixes separated by commas, which may overlap. " +
				"`0.0.0.0/32`, for DHCP, is refused"},
		{keyRange + "NAMESPACE",
			"the same with ranges; ignored if there is a `cidr-` key for the namespace or for all, " +
				"as with the cloud provider"},
		{keyShare + "NAMESPACE", "`true`: Services in that pool share an address if their ports differ"},
		{keyInterface + "NAMESPACE",
			"the interface for addresses of the namespace, or of all namespaces without a key"},
		{keySkipEnds, "`true`: the first and the last address of an IPv4 prefix are not used"},
		{keyOrder, "`desc`: the highest free address is assigned, instead of the lowest"},
	}
}

// Problem is a value of the ConfigMap that kvip cannot use, or cannot use as it is meant. The other
// values are valid.
type Problem struct {
	// Key is the key of the value.
	Key string
	// Text is what is wrong, quoting the part of the value, and what to do.
	Text string
}

// Error returns the problem as one line.
func (p Problem) Error() string { return p.Key + ": " + p.Text }

// configMap has the data of the ConfigMap and the problems found so far.
type configMap struct {
	data     map[string]string
	problems []Problem
}

// ParsePools translates the data of the ConfigMap: one pool for each key with addresses, named
// "kubevip/KEY", in the order of the names. Unlike with the cloud provider, a namespace whose own
// pool is exhausted uses the global pool. Unknown keys are problems, too.
func ParsePools(data map[string]string) ([]ipam.Pool, []Problem) {
	m := &configMap{data: data}
	skip, descending := m.isTrue(keySkipEnds), m.isDescending()
	var pools []ipam.Pool
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, namespace := splitKey(key)
		switch kind {
		case keyCIDR, keyRange:
			if m.isOverridden(kind, namespace) {
				continue
			}
			ranges := m.ranges(key, kind == keyCIDR && skip)
			if len(ranges) == 0 {
				continue
			}
			pool := ipam.Pool{
				Name:       PoolsConfigMap + "/" + key,
				Ranges:     ranges,
				Descending: descending,
				Shared:     m.isShared(namespace),
			}
			if namespace != global {
				pool.Namespaces = []string{namespace}
			}
			pools = append(pools, pool)
		case keyShare:
			m.checkShare(key, namespace)
		case "":
			m.problem(key, "is unknown: correct or remove the key")
		}
	}
	return pools, m.problems
}

// ParseInterfaces translates the interface- keys: from the namespace, or from "" for all others, to
// the interface.
func ParseInterfaces(data map[string]string) (map[string]string, []Problem) {
	found := map[string]string{}
	m := &configMap{data: data}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, namespace := splitKey(key)
		if kind != keyInterface {
			continue
		}
		name := strings.TrimSpace(data[key])
		if err := (config.Config{Interface: name}).Validate(config.Interface); err != nil {
			m.problem(key, "%q cannot name an interface: write a name or pattern of at most 15 "+
				"characters without spaces, '/' and ':'", name)
			continue
		}
		if namespace == global {
			namespace = ""
		}
		found[namespace] = name
	}
	return found, m.problems
}

// HasPoolKeys reports whether the data of a ConfigMap has a key for a pool.
func HasPoolKeys(data map[string]string) bool {
	for key := range data {
		if kind, _ := splitKey(key); kind == keyCIDR || kind == keyRange {
			return true
		}
	}
	return false
}

// splitKey splits a key into its kind and namespace. The kind is empty for an unknown key.
func splitKey(key string) (kind, namespace string) {
	for _, kind := range []string{keyCIDR, keyRange, keyShare, keyInterface} {
		if namespace, found := strings.CutPrefix(key, kind); found && namespace != "" {
			return kind, namespace
		}
	}
	if key == keySkipEnds || key == keyOrder {
		return key, ""
	}
	return "", ""
}

func (m *configMap) problem(key, format string, args ...any) {
	m.problems = append(m.problems, Problem{key, fmt.Sprintf(format, args...)})
}

// isTrue parses a value. A missing or invalid value is false.
func (m *configMap) isTrue(key string) bool {
	value, given := m.data[key]
	on, err := strconv.ParseBool(strings.TrimSpace(value))
	if given && err != nil {
		m.problem(key, "%q is neither true nor false; kvip uses false", value)
	}
	return on && err == nil
}

// isDescending reports whether the highest address is assigned first.
func (m *configMap) isDescending() bool {
	value, given := m.data[keyOrder]
	if given && value != "asc" && value != "desc" {
		m.problem(keyOrder, "%q is neither asc nor desc; kvip uses asc", value)
	}
	return value == "desc"
}

// isOverridden reports whether another key takes precedence, as with the cloud provider: the cidr-
// key of the namespace, then that of all, then ranges.
func (m *configMap) isOverridden(kind, namespace string) bool {
	if kind != keyRange {
		return false
	}
	for _, key := range []string{keyCIDR + namespace, keyCIDR + global} {
		if _, given := m.data[key]; given {
			m.problem(keyRange+namespace,
				"is ignored because of %s; write the ranges to an IPPool, or remove one of the keys", key)
			return true
		}
	}
	return false
}

// isShared reads the key of the namespace, else that of all.
func (m *configMap) isShared(namespace string) bool {
	for _, key := range []string{keyShare + namespace, keyShare + global} {
		if value, given := m.data[key]; given {
			return isTrue(value)
		}
	}
	return false
}

// checkShare reports a value that is invalid, or a key without a pool.
func (m *configMap) checkShare(key, namespace string) {
	m.isTrue(key)
	for _, kind := range []string{keyCIDR, keyRange} {
		if _, given := m.data[kind+namespace]; given {
			return
		}
	}
	if namespace != global {
		m.problem(key,
			"is ignored because the namespace has no pool of its own; set %s%s for the pool of all",
			keyShare, global)
	}
}

// ranges parses a list. Overlapping ranges are merged, as with the cloud provider.
func (m *configMap) ranges(key string, skipEnds bool) []ipam.Range {
	var ranges []ipam.Range
	for part := range strings.SplitSeq(m.data[key], ",") {
		part = strings.TrimSpace(part)
		// A prefix may have host bits, as in the examples of the cloud provider.
		if prefix, err := netip.ParsePrefix(part); err == nil {
			part = prefix.Masked().String()
		}
		r, err := ipam.ParseRange(part)
		switch {
		case err != nil:
			m.problem(key, "%v", err)
		case r.First.IsUnspecified() && r.First == r.Last:
			m.problem(key, "%s requests addresses from a DHCP server, and %s; write the addresses", part,
				noDHCP)
		default:
			if skipEnds && strings.Contains(part, "/") {
				r = r.TrimEnds()
			}
			ranges = append(ranges, r)
		}
	}
	return ipam.Merge(ranges)
}
