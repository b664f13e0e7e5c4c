package svc

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kvip/kvip/pkg/ipam"
)

// Annotations of a Service.
const (
	// AnnotationAddresses asks for addresses: one IPv4, one IPv6, or both separated by a comma.
	AnnotationAddresses = "kvip.dev/addresses"
	// AnnotationPool asks for an address of the pool of that name.
	AnnotationPool = "kvip.dev/pool"
	// AnnotationShare is a key: Services with the same one may have one address together.
	AnnotationShare = "kvip.dev/share"
	// AnnotationInterface is a name or pattern of the interfaces to announce the Service on.
	AnnotationInterface = "kvip.dev/interface"
)

// Reader decodes Services by the settings of this cluster.
type Reader struct {
	// Class is the loadBalancerClass that is served; ClassOnly leaves Services without one alone.
	Class     string
	ClassOnly bool
	// KubeVIP says that addresses asked for need no pool, as with kube-vip (S9).
	KubeVIP bool
}

// Annotations are what annotations ask for.
type Annotations struct {
	Addresses []netip.Addr
	Pool, Key string
	Link      string
	Fields    ipam.Fields // where they were found
	Ignore    bool        // leave the Service alone
	Notes     []string    // what is asked for and has no counterpart
	Err       error       // an annotation that cannot be read, naming it and the fix
}

// Service decodes s.
func (r Reader) Service(s *corev1.Service) *Service {
	wishes := r.wishes(s)
	result := &Service{ObjectMeta: identified(s), Link: wishes.Link, Notes: wishes.Notes}
	result.Managed, result.SkipReason = r.ours(s, wishes)
	result.StatusBy, result.StatusUnreadable = statusBy(s), odd(s)
	if !wishes.Ignore {
		result.Finalizers = r.finalizers(s)
	}
	for _, text := range s.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(text); err == nil { // "None" is no address
			result.ClusterIPs = append(result.ClusterIPs, addr)
		}
	}
	result.Announceable = s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil && !wishes.Ignore
	result.Created = s.CreationTimestamp.Time
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			result.Status = append(result.Status, addr.Unmap())
		}
	}
	for i := range s.Status.Conditions {
		if s.Status.Conditions[i].Type == Condition {
			result.Condition = s.Status.Conditions[i].DeepCopy()
		}
	}
	if result.Announceable {
		result.Local = s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		result.Request = r.request(s, wishes)
		result.Notes = append(result.Notes, fitting(&result.Request)...)
		result.Request.Previous = result.Status[:min(len(result.Status), maxHad)]
	}
	return result
}

// ours judges type, class and annotations, and says why not.
func (r Reader) ours(s *corev1.Service, wishes Annotations) (bool, string) {
	switch class := s.Spec.LoadBalancerClass; {
	case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return false, ""
	case s.DeletionTimestamp != nil:
		return false, "it is being deleted"
	case class != nil && *class != r.Class:
		return false, fmt.Sprintf("its loadBalancerClass %s is not %s, which kvip serves", *class, r.Class)
	case class == nil && r.ClassOnly:
		return false, "it has no loadBalancerClass, and kvip serves none without " + r.Class + " (--service-class-only)"
	case wishes.Ignore:
		return false, "an annotation says to leave it alone"
	}
	return true, ""
}

// request turns the spec into what the allocator understands.
func (r Reader) request(s *corev1.Service, wishes Annotations) ipam.Request {
	request := ipam.Request{
		Owner: OwnerOf(s.Namespace, s.Name), Namespace: s.Namespace, Addresses: wishes.Addresses, AnyPool: r.KubeVIP,
		Pool: wishes.Pool, ShareKey: ipam.ShareKey(wishes.Key), Local: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Fields: wishes.Fields, Require: s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack,
	}
	request.Selector = selector(s)
	for _, family := range s.Spec.IPFamilies {
		if family == corev1.IPv6Protocol {
			request.Families = append(request.Families, ipam.IPv6)
		} else {
			request.Families = append(request.Families, ipam.IPv4)
		}
	}
	if len(request.Families) == 0 { // an API server defaults them; objects written by hand may lack them
		request.Families = []ipam.Family{ipam.IPv4}
	}
	for _, p := range s.Spec.Ports {
		request.Ports = append(request.Ports, ipam.Port{Protocol: string(p.Protocol), Number: uint16(p.Port)})
	}
	if wishes.Err != nil {
		request.Invalid = &ipam.Refusal{Reason: ipam.Malformed, Message: Brief(fmt.Sprintf("service %s: %v", request.Owner, wishes.Err))}
	}
	return request
}

// selector stands for the pods of a Service; "" if it has no selector.
func selector(s *corev1.Service) string {
	if len(s.Spec.Selector) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Namespace + "\x00" + labels.FormatLabels(s.Spec.Selector)))
	return hex.EncodeToString(sum[:6])
}

// fitting drops addresses of a family that the Service does not have, where others fit: kube-vip gave both, and
// those that fit are of use. It returns what is to be said of that.
func fitting(r *ipam.Request) (notes []string) {
	fits := func(a netip.Addr) bool { return slices.Contains(r.Families, ipam.FamilyOf(a)) }
	if !slices.ContainsFunc(r.Addresses, fits) {
		return nil
	}
	var rest []netip.Addr
	for _, a := range r.Addresses {
		if fits(a) {
			rest = append(rest, a)
			continue
		}
		notes = append(notes, fmt.Sprintf("%s: %s is not given, as the Service is not %s: add that to spec.ipFamilies, or leave the address out",
			r.Fields.Addresses, a, ipam.FamilyOf(a)))
	}
	r.Addresses = rest
	return notes
}

// wishes reads kvip's own annotations, then another program's, then the spec: the first that says
// something counts.
func (r Reader) wishes(s *corev1.Service) Annotations {
	own := Annotations{
		Pool: s.Annotations[AnnotationPool], Key: s.Annotations[AnnotationShare], Link: s.Annotations[AnnotationInterface],
		Fields: ipam.Fields{Addresses: "annotation " + AnnotationAddresses, Pool: "annotation " + AnnotationPool, ShareKey: "annotation " + AnnotationShare},
	}
	switch text, asked := s.Annotations[AnnotationAddresses]; {
	case asked:
		own.Addresses, own.Err = addresses(own.Fields.Addresses, text)
	case s.Spec.LoadBalancerIP != "":
		own.Fields.Addresses = "spec.loadBalancerIP"
		own.Addresses, own.Err = addresses(own.Fields.Addresses, s.Spec.LoadBalancerIP)
	}
	foreign := readForeign(s.Annotations)
	if _, asked := s.Annotations[AnnotationAddresses]; !asked && (len(foreign.Addresses) > 0 || foreign.Err != nil) {
		own.Addresses, own.Err, own.Fields.Addresses = foreign.Addresses, foreign.Err, foreign.Fields.Addresses
	}
	own.Pool, own.Key, own.Link = cmp.Or(own.Pool, foreign.Pool), cmp.Or(own.Key, foreign.Key), cmp.Or(own.Link, foreign.Link)
	own.Ignore, own.Notes = foreign.Ignore, foreign.Notes
	if foreign.Err != nil && own.Err != foreign.Err {
		own.Notes = append(own.Notes, cut(foreign.Err.Error(), 4*maxQuote)+"; it is not used, as there is "+own.Fields.Addresses)
	}
	own.bound()
	return own
}

// bound refuses names that are longer than any that there are.
func (w *Annotations) bound() {
	for _, name := range []struct {
		text  *string
		where string
		most  int
	}{{&w.Pool, w.Fields.Pool, maxPoolName}, {&w.Link, "annotation " + AnnotationInterface, maxPattern}} {
		if len(*name.text) > name.most {
			if w.Err == nil {
				w.Err = fmt.Errorf("%s: %q has %d bytes; give a name of at most %d", name.where, cut(*name.text, maxQuote), len(*name.text), name.most)
			}
			*name.text = ""
		}
	}
}

const (
	// maxPoolName is the longest name of a pool: of an object, or of a key in a ConfigMap with a prefix.
	maxPoolName = 270
	// maxPattern is how long a pattern of interface names may be, which have 15 bytes; alternative ones 127.
	maxPattern = 127
	// maxAddresses is more than two addresses with white space need.
	maxAddresses = 200
	// maxHad is how many addresses of a status are looked at to give them again.
	maxHad = 4
	// maxQuote is how much of a user's text a message quotes.
	maxQuote = 64
)

// addresses reads a list separated by commas, one of a family at most.
func addresses(where, text string) ([]netip.Addr, error) {
	if len(text) > maxAddresses {
		return nil, fmt.Errorf("%s: %q is too long; give one IPv4, one IPv6, or both separated by a comma", where, cut(text, maxQuote))
	}
	var list []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("%s: %q is not an IP address; give one IPv4, one IPv6, or both separated by a comma", where, part)
		}
		addr = addr.Unmap()
		if slices.ContainsFunc(list, func(a netip.Addr) bool { return a.Is4() == addr.Is4() }) {
			return nil, fmt.Errorf("%s: %q has two addresses of one family; give one of each at most", where, text)
		}
		list = append(list, addr)
	}
	return list, nil
}
