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

// annotationPrefix is that of all annotations of kube-vip.
const annotationPrefix = "kube-vip.io/"

// ignoreAnnotation excludes a Service, whatever its other annotations are.
const ignoreAnnotation = annotationPrefix + "ignore"

// autoInterface is kube-vip's word for the interface whose subnet contains the address.
const autoInterface = "auto"

// AnnotationAddresses is the annotation with the addresses that a Service requests.
const AnnotationAddresses = annotationPrefix + "loadbalancerIPs"

// ShareKey is the share key of every Service that requests its address by AnnotationAddresses:
// kube-vip lets all of them share an address as long as their ports differ, and has no key.
const ShareKey = AnnotationAddresses

// ServiceSettings are the annotations of a Service in kvip's terms. The zero value requests
// nothing.
type ServiceSettings struct {
	// Ignore reports that kvip must not serve the Service.
	Ignore bool
	// Addresses are requested: one IPv4, one IPv6, or one of each. With kube-vip compatibility they
	// need no pool (S9).
	Addresses []netip.Addr
	// ShareKey is the constant of this name if there are Addresses, else empty.
	ShareKey string
	// Interface carries the addresses. Empty: kvip chooses it.
	Interface string
}

// Annotation is one row of the table of annotations.
type Annotation struct {
	// Name is the annotation.
	Name string
	// Support is how kvip treats the annotation.
	Support Support
	// Meaning is its meaning here, or what happens instead.
	Meaning string

	set      func(*ServiceSettings, string) error
	boolean  bool   // false requests nothing
	requires string // another annotation that must be true for this one to have an effect
}

// AnnotationTable returns the table, in the order of the documentation.
func AnnotationTable() []Annotation { return slices.Clone(annotations) }

// Texts of several annotations.
const (
	statusOnly = "kube-vip writes it, and kvip does not read it"
	onlyDHCP   = "it configures addresses from DHCP, which kvip refuses"
)

var annotations = slices.Concat([]Annotation{
	{Name: ignoreAnnotation, Meaning: "`true`: kvip ignores the Service"},
	{
		Name: AnnotationAddresses,
		Meaning: "the addresses of the Service; Services can share one if their ports differ. " +
			"`0.0.0.0` and `::`, for DHCP, are refused",
		set: setServiceAddresses,
	},
	{
		Name: annotationPrefix + "serviceInterface",
		Meaning: "the interface for its addresses, whatever its subnets; " +
			"`auto` has no effect",
		set: setServiceInterface,
	},
	{
		Name: annotationPrefix + "vipHost",
		Meaning: "the node from which kube-vip announced it; kvip neither reads nor writes it, " +
			"`kvip status service` shows the node",
	},
	{
		Name:    annotationPrefix + "leaseName",
		Meaning: "Services that share an address are always on one node",
	},
	{Name: annotationPrefix + "allow-reconcile-without-endpoints",
		Meaning: "a Service gets its address with and without endpoints"},

	{
		Name:    annotationPrefix + "serviceVLAN",
		Support: Unsupported,
		Meaning: "kvip creates no VLAN interface; it uses an " +
			"existing one whose subnet contains the address",
	},
	{
		Name:    annotationPrefix + "forcePerServiceElection",
		Support: Unsupported,
		Meaning: noPerService,
		boolean: true,
	},
	{Name: annotationPrefix + "ignore-service-security", Support: Unsupported,
		Meaning: "an address always answers on the ports of its Services only", boolean: true},
	{Name: annotationPrefix + "flush-conntrack", Support: Unsupported,
		Meaning: "kvip keeps connection tracking entries when an address moves", boolean: true},
	{Name: annotationPrefix + "forwardUPNP", Support: Unsupported, Meaning: noUPnP, boolean: true},
	{Name: annotationPrefix + "upnp-lease-duration", Support: Unsupported, Meaning: noUPnP,
		requires: annotationPrefix + "forwardUPNP"},
	{Name: annotationPrefix + "egress", Support: Unsupported, Meaning: noEgress, boolean: true},
}, all(Annotation{Support: Unsupported, Meaning: noEgress, requires: annotationPrefix + "egress"},
	"egress-internal", "egress-ipv6", "egress-destination-ports", "egress-source-ports",
	"egress-allowed-networks",
	"egress-denied-networks", "egress-no-internal-traffic", "egress-detect-api-server"), []Annotation{
	{
		Name:    annotationPrefix + "ddns",
		Support: Unsupported,
		Meaning: "kvip updates no DNS server",
		boolean: true,
	},
	{Name: annotationPrefix + "loadbalancerHostname", Support: Unsupported,
		Meaning: noDHCP + " that could send a host name"},
}, all(Annotation{Meaning: onlyDHCP}, "requestedIP", "hwaddr", "macvlanName", "dhcp-broadcast",
	"rp_filter"),
	all(Annotation{Meaning: statusOnly}, "active-endpoint", "active-endpoint-ipv6",
		"egress-nftables-table"))

// all returns a row like a for each name.
func all(a Annotation, names ...string) (rows []Annotation) {
	for _, name := range names {
		a.Name = annotationPrefix + name
		rows = append(rows, a)
	}
	return rows
}

// ParseAnnotations translates the annotations of a Service and ignores those of other programs. An
// *Error is the first that kvip cannot apply; the Service then keeps its addresses. The notes name
// each that kvip does not apply. If kvip must ignore the Service, its other annotations are not
// read.
func ParseAnnotations(all map[string]string) (ServiceSettings, []Note, error) {
	if isTrue(all[ignoreAnnotation]) {
		return ServiceSettings{Ignore: true}, nil, nil
	}
	var settings ServiceSettings
	var notes []Note
	known := map[string]bool{}
	for _, a := range annotations {
		known[a.Name] = true
		value := strings.TrimSpace(all[a.Name])
		if value == "" {
			continue
		}
		if a.set != nil {
			if err := a.set(&settings, value); err != nil {
				return ServiceSettings{}, nil, err
			}
		}
		satisfied := a.boolean && !isTrue(value) || a.requires != "" && !isTrue(all[a.requires])
		if a.Support == Supported || satisfied {
			continue
		}
		if a.Support == Refused {
			return ServiceSettings{}, nil, invalid(a.Name, a.Meaning)
		}
		notes = append(notes, Note{a.Name, a.Meaning})
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, annotationPrefix) && !known[name] {
			notes = append(notes, Note{name, unfamiliar})
		}
	}
	return settings, notes, nil
}

func isTrue(value string) bool {
	on, err := strconv.ParseBool(strings.TrimSpace(value))
	return err == nil && on
}

// setServiceAddresses parses the list that kube-vip and its cloud provider write.
func setServiceAddresses(s *ServiceSettings, value string) error {
	for part := range strings.SplitSeq(value, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return invalid(AnnotationAddresses, fmt.Sprintf(
				"%q is not an IP address; write one, or an IPv4 and an IPv6 separated "+
					"by a comma", part))
		}
		if addr.IsUnspecified() {
			return invalid(AnnotationAddresses, fmt.Sprintf(
				"%s requests an address from a DHCP server, and %s; write an address, or "+
					"remove it for one from a pool", addr, noDHCP))
		}
		s.Addresses = append(s.Addresses, addr)
	}
	s.ShareKey = ShareKey
	return renamed(AnnotationAddresses, config.CheckVIPs(s.Addresses))
}

// setServiceInterface sets the interface. kvip chooses as "auto" does by default.
func setServiceInterface(s *ServiceSettings, value string) error {
	if value == autoInterface {
		return nil
	}
	s.Interface = value
	return renamed(
		annotationPrefix+"serviceInterface",
		config.Config{Interface: value}.Validate(config.Interface),
	)
}
