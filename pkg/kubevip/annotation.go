package kubevip

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
)

// annotationPrefix begins every annotation of kube-vip's.
const annotationPrefix = "kube-vip.io/"

// autoInterface is kube-vip's word for the interface whose subnet contains the address.
const autoInterface = "auto"

// ShareKey is the sharing key of every Service that names its address in kube-vip's way: kube-vip lets all of them
// have one address as long as their ports differ, and asks for no key.
const ShareKey = annotationPrefix + "loadbalancerIPs"

// ServiceSettings are what a Service's annotations ask for, in kvip's terms. The zero value asks for nothing.
type ServiceSettings struct {
	// Ignore says that the Service is none of kvip's business.
	Ignore bool
	// Addresses are wanted: one IPv4, one IPv6, or one of each. In compatibility mode they need no pool (S9).
	Addresses []netip.Addr
	// ShareKey is the constant of this name where there are Addresses, else empty.
	ShareKey string
	// Interface carries the addresses. Empty: the one that kvip finds.
	Interface string
	// Host is the node that kube-vip last announced the Service from. It is a hint, to begin where connections are.
	Host string
}

// Annotation is one row of the table of annotations.
type Annotation struct {
	// Name is the annotation.
	Name string
	// Support is what becomes of it.
	Support Support
	// Meaning is what it means here, or what happens instead.
	Meaning string

	set     func(*ServiceSettings, string) error
	boolean bool   // false asks for nothing
	of      string // another annotation that must be true for this one to matter
}

// AnnotationTable returns the table, in the order of the documentation.
func AnnotationTable() []Annotation { return slices.Clone(annotations) }

// ParseAnnotations translates those of a Service, and looks at none but kube-vip's. An *Error is the first that cannot be
// carried out; the Service then keeps what it has. A note names each that asks for something else than kvip does.
func ParseAnnotations(all map[string]string) (ServiceSettings, []Note, error) {
	var w ServiceSettings
	var notes []Note
	known := map[string]bool{}
	for _, a := range annotations {
		known[a.Name] = true
		value := strings.TrimSpace(all[a.Name])
		if value == "" {
			continue
		}
		if a.set != nil {
			if err := a.set(&w, value); err != nil {
				return ServiceSettings{}, nil, err
			}
		}
		if a.Support == Supported || a.boolean && !isTrue(value) || a.of != "" && !isTrue(all[a.of]) {
			continue
		}
		if a.Support == Refused {
			return ServiceSettings{}, nil, refuse(a.Name, a.Meaning)
		}
		notes = append(notes, Note{a.Name, a.Meaning})
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, annotationPrefix) && !known[name] {
			notes = append(notes, Note{name, "looks like one of kube-vip's, and kvip does not know it"})
		}
	}
	if w.Ignore {
		return ServiceSettings{Ignore: true}, nil, nil
	}
	return w, notes, nil
}

func isTrue(value string) bool {
	on, err := strconv.ParseBool(strings.TrimSpace(value))
	return err == nil && on
}

// wantedAddresses takes the list that kube-vip and its cloud provider write.
func wantedAddresses(w *ServiceSettings, value string) error {
	for part := range strings.SplitSeq(value, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return refuse(ShareKey, fmt.Sprintf("%q is not an IP address; write one, or an IPv4 and an IPv6 with a comma", part))
		}
		if addr.IsUnspecified() {
			return refuse(ShareKey, fmt.Sprintf("%s asks a DHCP server for an address, and kvip has no DHCP client; write an address, or remove it for one of a pool", addr))
		}
		w.Addresses = append(w.Addresses, addr)
	}
	w.ShareKey = ShareKey
	return plain(ShareKey, config.CheckVIPs(w.Addresses))
}

// wantedInterface knows kube-vip's word for the interface whose network has the address, which is what kvip takes.
func wantedInterface(w *ServiceSettings, value string) error {
	if value == autoInterface {
		return nil
	}
	w.Interface = value
	return plain(annotationPrefix+"serviceInterface", config.Config{Interface: value}.Validate(config.Interface))
}
