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

// The keys of the ConfigMap; those that end in a dash are followed by a namespace or by global.
const (
	keyCIDR, keyRange, keyShare, keyInterface = "cidr-", "range-", "allow-share-", "interface-"
	keySkipEnds, keyOrder                     = "skip-end-ips-in-cidr", "search-order"
	global                                    = "global"
)

// ConfigMapKey is one row of the table of the ConfigMap's keys.
type ConfigMapKey struct {
	// Name is the key; NAMESPACE stands for a namespace or for the word global.
	Name string
	// Meaning is what it means here.
	Meaning string
}

// ConfigMapKeys returns the table, in the order of the documentation.
func ConfigMapKeys() []ConfigMapKey {
	return []ConfigMapKey{
		{keyCIDR + "NAMESPACE", "a pool for a namespace, or for all: prefixes with commas between them, which may overlap. `0.0.0.0/32`, for DHCP, is refused"},
		{keyRange + "NAMESPACE", "the same, of ranges; not used beside a `cidr-` key for the namespace or for all, as with the cloud provider"},
		{keyShare + "NAMESPACE", "`true`: Services in that pool are given one address together if their ports differ"},
		{keyInterface + "NAMESPACE", "the interface for addresses of the namespace, or of all that have no key of their own"},
		{keySkipEnds, "`true`: the first and the last address of an IPv4 prefix are left out"},
		{keyOrder, "`desc`: the highest free address is given, instead of the lowest"},
	}
}

// Problem is a value of the ConfigMap that cannot be used, or not as it is meant. The others are good all the same.
type Problem struct {
	// ConfigMapKey is the key of the value.
	Key string
	// Text says what is wrong, quoting the part of the value, and what to do.
	Text string
}

// Error returns the problem as one line.
func (p Problem) Error() string { return p.Key + ": " + p.Text }

// configMap is the data, and what was found in it.
type configMap struct {
	data     map[string]string
	problems []Problem
}

// ParsePools translates the data of the ConfigMap: one pool for each key with addresses, named "kubevip/KEY", in the order
// of the names. Other than with the cloud provider, a namespace whose own pool is used up goes on with that of all.
// Unknown keys are problems, too.
func ParsePools(data map[string]string) ([]ipam.Pool, []Problem) {
	m := &configMap{data: data}
	skip, descending := m.truth(keySkipEnds), m.order()
	var pools []ipam.Pool
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, namespace := split(key)
		switch kind {
		case keyCIDR, keyRange:
			if m.hidden(kind, namespace) {
				continue
			}
			ranges := m.ranges(key, kind == keyCIDR && skip)
			if len(ranges) == 0 {
				continue
			}
			pool := ipam.Pool{Name: PoolsConfigMap + "/" + key, Ranges: ranges, Descending: descending, Shared: m.shared(namespace)}
			if namespace != global {
				pool.Namespaces = []string{namespace}
			}
			pools = append(pools, pool)
		case keyShare:
			m.checkShare(key, namespace)
		case "":
			m.problem(key, "the key is unknown")
		}
	}
	return pools, m.problems
}

// ParseInterfaces translates the interface- keys: from the namespace, or from "" for all others, to the interface.
func ParseInterfaces(data map[string]string) (map[string]string, []Problem) {
	found := map[string]string{}
	m := &configMap{data: data}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, namespace := split(key)
		if kind != keyInterface {
			continue
		}
		name := strings.TrimSpace(data[key])
		if err := plain(key, config.Config{Interface: name}.Validate(config.Interface)); err != nil {
			m.problem(key, "%q cannot name an interface", name)
			continue
		}
		if namespace == global {
			namespace = ""
		}
		found[namespace] = name
	}
	return found, m.problems
}

// HasPoolKeys reports whether the data of a ConfigMap has a key that would make a pool.
func HasPoolKeys(data map[string]string) bool {
	for key := range data {
		if kind, _ := split(key); kind == keyCIDR || kind == keyRange {
			return true
		}
	}
	return false
}

// split cuts a key behind its first part. The kind is empty for a key that does not exist.
func split(key string) (kind, namespace string) {
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

// truth reads a value that is false where it is missing or wrong.
func (m *configMap) truth(key string) bool {
	value, given := m.data[key]
	on, err := strconv.ParseBool(strings.TrimSpace(value))
	if given && err != nil {
		m.problem(key, "%q is neither true nor false; false is taken", value)
	}
	return on && err == nil
}

// order says whether the highest address comes first.
func (m *configMap) order() bool {
	value, given := m.data[keyOrder]
	if given && value != "asc" && value != "desc" {
		m.problem(keyOrder, "%q is neither asc nor desc; asc is taken", value)
	}
	return value == "desc"
}

// hidden follows the cloud provider: a namespace's cidr- key goes before that of all, and both before ranges.
func (m *configMap) hidden(kind, namespace string) bool {
	if kind != keyRange {
		return false
	}
	for _, key := range []string{keyCIDR + namespace, keyCIDR + global} {
		if _, given := m.data[key]; given {
			m.problem(keyRange+namespace, "is not used, because there is %s; put the ranges into an IPPool, or remove one of the keys", key)
			return true
		}
	}
	return false
}

// shared reads the key of the namespace, or else that of all.
func (m *configMap) shared(namespace string) bool {
	for _, key := range []string{keyShare + namespace, keyShare + global} {
		if value, given := m.data[key]; given {
			on, err := strconv.ParseBool(strings.TrimSpace(value))
			return on && err == nil
		}
	}
	return false
}

// checkShare finds a key that is wrong, or that there is no pool for.
func (m *configMap) checkShare(key, namespace string) {
	m.truth(key)
	for _, kind := range []string{keyCIDR, keyRange} {
		if _, given := m.data[kind+namespace]; given {
			return
		}
	}
	if namespace != global {
		m.problem(key, "is not used, because the namespace has no pool of its own; set %s%s for the pool of all", keyShare, global)
	}
}

// ranges reads a list. The cloud provider makes one set of what overlaps.
func (m *configMap) ranges(key string, skipEnds bool) []ipam.Range {
	var ranges []ipam.Range
	for part := range strings.SplitSeq(m.data[key], ",") {
		part = strings.TrimSpace(part)
		// A prefix may have more bits than its length, as in the cloud provider's own examples.
		if prefix, err := netip.ParsePrefix(part); err == nil {
			part = prefix.Masked().String()
		}
		r, err := ipam.ParseRange(part)
		switch {
		case err != nil:
			m.problem(key, "%v", err)
		case r.First.IsUnspecified() && r.First == r.Last:
			m.problem(key, "%s asks a DHCP server for addresses, and kvip has no DHCP client; name the addresses", part)
		default:
			if skipEnds && strings.Contains(part, "/") {
				r = r.TrimEnds()
			}
			ranges = append(ranges, r)
		}
	}
	return ipam.Merge(ranges)
}
