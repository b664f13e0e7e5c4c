package svc

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/printable"
)

// Annotations of a Service.
const (
	// AnnotationAddresses requests addresses: one IPv4, one IPv6, or both separated by a comma.
	AnnotationAddresses = "kvip.dev/addresses"
	// AnnotationPool requests addresses of the pool of that name.
	AnnotationPool = "kvip.dev/pool"
	// AnnotationShare is a key: Services with the same key may share an address.
	AnnotationShare = "kvip.dev/share"
	// AnnotationInterface is a name or pattern of the interfaces that may announce the Service.
	AnnotationInterface = "kvip.dev/interface"
)

// annotations are the settings that a Service requests by annotations, or by spec.loadBalancerIP.
type annotations struct {
	Addresses []netip.Addr
	Pool, Key string
	Link      string
	Fields    ipam.Fields // the sources of Addresses, Pool and Key
	Ignore    bool        // kvip must not serve the Service
	Notes     []string    // settings that kvip does not support or use
	Err       error       // an invalid annotation, with its name and the fix
}

const (
	maxPoolName  = 270 // bytes: of an object's name, or of a key in a ConfigMap with a prefix
	maxPattern   = 127 // bytes: interface names have up to 15, alternative names up to 127
	maxAddresses = 200 // bytes of a list: more than two addresses with white space have
	maxQuote     = 64  // bytes of a user's text in a message
)

// readAnnotations reads kvip's annotations, then kube-vip's, then the spec. The first value counts.
func readAnnotations(s *corev1.Service) annotations {
	own := annotations{
		Pool: s.Annotations[AnnotationPool], Key: s.Annotations[AnnotationShare],
		Link: s.Annotations[AnnotationInterface],
		Fields: ipam.Fields{
			Addresses: "annotation " + AnnotationAddresses, Pool: "annotation " + AnnotationPool,
			ShareKey: "annotation " + AnnotationShare,
		},
	}
	text, requested := s.Annotations[AnnotationAddresses]
	switch {
	case requested:
		own.Addresses, own.Err = parseAddresses(own.Fields.Addresses, text)
	case s.Spec.LoadBalancerIP != "":
		own.Fields.Addresses = "spec.loadBalancerIP"
		own.Addresses, own.Err = parseAddresses(own.Fields.Addresses, s.Spec.LoadBalancerIP)
	}
	foreign, notes, err := kubevip.ParseAnnotations(s.Annotations)
	if !requested && (len(foreign.Addresses) > 0 || err != nil) {
		own.Addresses, own.Err = foreign.Addresses, err
		own.Fields.Addresses = "annotation " + kubevip.AnnotationAddresses
	}
	own.Key, own.Link = cmp.Or(own.Key, foreign.ShareKey), cmp.Or(own.Link, foreign.Interface)
	own.Ignore = foreign.Ignore
	for _, n := range notes {
		own.Notes = append(own.Notes, n.String())
	}
	if err != nil && !errors.Is(own.Err, err) {
		quote := printable.Cut(err.Error(), 4*maxQuote)
		own.Notes = append(own.Notes, quote+"; ignored because "+own.Fields.Addresses+" is set")
	}
	own.limit(&own.Pool, own.Fields.Pool, maxPoolName)
	own.limit(&own.Link, "annotation "+AnnotationInterface, maxPattern)
	return own
}

// limit refuses a name that is longer than any existing one.
func (a *annotations) limit(name *string, field string, most int) {
	if len(*name) <= most {
		return
	}
	if a.Err == nil {
		a.Err = fmt.Errorf("%s: %q has %d bytes; give a name of at most %d",
			field, printable.Cut(*name, maxQuote), len(*name), most)
	}
	*name = ""
}

// parseAddresses parses a list separated by commas, with at most one address of each family.
func parseAddresses(field, text string) ([]netip.Addr, error) {
	const format = "give one IPv4, one IPv6, or both separated by a comma"
	if len(text) > maxAddresses {
		return nil, fmt.Errorf("%s: %q is too long; "+format, field, printable.Cut(text, maxQuote))
	}
	var list []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("%s: %q is not an IP address; "+format, field, part)
		}
		addr = addr.Unmap()
		if slices.ContainsFunc(list, func(a netip.Addr) bool { return a.Is4() == addr.Is4() }) {
			return nil, fmt.Errorf("%s: %q has two addresses of one family; give at most one of each",
				field, text)
		}
		list = append(list, addr)
	}
	return list, nil
}
