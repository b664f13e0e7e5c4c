package metallb

import (
	"net/netip"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// Limits of the lists of kvip's objects.
const (
	maxNames     = 128
	maxSelectors = 64
)

var objectName = regexp.MustCompile(
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// isObjectName reports whether an object of Kubernetes can have a name.
func isObjectName(name string) bool { return len(name) <= 253 && objectName.MatchString(name) }

// names checks a list of names of objects, and returns each once.
func names[T ~string](m *migration, o object, field string, list []string) (all []T) {
	if len(list) > maxNames {
		m.refuse(o, field, "has %d entries, and kvip has at most %d", len(list), maxNames)
		return nil
	}
	for _, name := range list {
		if !isObjectName(name) {
			m.refuse(o, field, "%q cannot name an object", name)
		} else if !slices.Contains(all, T(name)) {
			all = append(all, T(name))
		}
	}
	return all
}

// selectors checks a list of label selectors.
func (m *migration) selectors(o object, field string,
	list []metav1.LabelSelector) []metav1.LabelSelector {
	if len(list) > maxSelectors {
		m.refuse(o, field, "has %d entries, and kvip has at most %d", len(list), maxSelectors)
	}
	for i := range list {
		if _, err := metav1.LabelSelectorAsSelector(&list[i]); err != nil {
			m.refuse(o, field, "entry %d is not a label selector: %v", i+1, err)
		}
	}
	return list
}

// number refuses a number that is set and not in a range.
func (m *migration) number(o object, field string, value, least, most int64) {
	if value != 0 && (value < least || value > most) {
		m.refuse(o, field, "%d is not a number from %d to %d", value, least, most)
	}
}

// asn checks the number of an autonomous system that is set: 23456 is AS_TRANS (RFC 6793), and RFC
// 7300 reserves the last numbers.
func (m *migration) asn(o object, field string, value int64) v1alpha1.ASN {
	m.number(o, field, value, 1, 1<<32-1)
	if value == 23456 || value == 65535 || value == 1<<32-1 {
		m.refuse(o, field, "%d is reserved", value)
	}
	return v1alpha1.ASN(value)
}

// address parses the address of a host that is set.
func (m *migration) address(o object, field, text string) (addr netip.Addr) {
	if text == "" {
		return addr
	}
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil || addr.Zone() != "" || addr.Is4In6():
		m.refuse(o, field, "%q is not an IP address", text)
	case addr.Is6() && addr.IsLinkLocalUnicast():
		m.refuse(o, field, "%s is link-local, which every link has; set interface instead", addr)
	case !addr.IsGlobalUnicast() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast():
		m.refuse(o, field, "%s is not the address of a host", addr)
	}
	return addr
}

// duration parses a duration in whole seconds that is set.
func (m *migration) duration(o object, field, text string,
	least, most time.Duration) *metav1.Duration {
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d%time.Second != 0 || d < least || d > most {
		m.refuse(o, field, "%q is not a time in whole seconds from %s to %s", text, least, most)
		return nil
	}
	return &metav1.Duration{Duration: d}
}
