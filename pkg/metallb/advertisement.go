package metallb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/config"
)

// selection are the fields by which advertisements select pools.
type selection struct {
	IPAddressPools         []string               `json:"ipAddressPools"`
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors"`
}

// advertisementSpec are the fields of a BGPAdvertisement that have a counterpart.
type advertisementSpec struct {
	selection
	ServiceSelectors    []metav1.LabelSelector `json:"serviceSelectors"`
	NodeSelectors       []metav1.LabelSelector `json:"nodeSelectors"`
	Peers               []string               `json:"peers"`
	Communities         []string               `json:"communities"`
	LocalPref           int64                  `json:"localPref"`
	AggregationLength   *int64                 `json:"aggregationLength"`
	AggregationLengthV6 *int64                 `json:"aggregationLengthV6"`
}

// layer2Spec are the fields of an L2Advertisement that have a counterpart.
type layer2Spec struct {
	selection
	Interfaces []string `json:"interfaces"`
}

// addAdvertisement translates a BGPAdvertisement.
func (m *migration) addAdvertisement(o object) {
	var spec advertisementSpec
	if !m.decode(o, &spec) {
		return
	}
	ad := &v1alpha1.BGPAdvertisement{TypeMeta: typeMeta(v1alpha1.BGPAdvertisementKind),
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Labels: o.labels}}
	to := &ad.Spec
	to.IPAddressPools = names[v1alpha1.ObjectName](m, o, "spec.ipAddressPools", spec.IPAddressPools)
	to.IPAddressPoolSelectors = m.selectors(o, "spec.ipAddressPoolSelectors",
		spec.IPAddressPoolSelectors)
	to.ServiceSelectors = m.selectors(o, "spec.serviceSelectors", spec.ServiceSelectors)
	to.NodeSelectors = m.selectors(o, "spec.nodeSelectors", spec.NodeSelectors)
	to.Peers = names[v1alpha1.ObjectName](m, o, "spec.peers", spec.Peers)
	to.Communities = m.communities(o, spec.Communities)
	if m.number(o, "spec.localPref", spec.LocalPref, 0, 1<<32-1); spec.LocalPref > 0 {
		preference := uint32(spec.LocalPref)
		to.LocalPref = &preference
	}
	to.AggregationLength = m.aggregation(o, "spec.aggregationLength", spec.AggregationLength, 32)
	to.AggregationLengthV6 = m.aggregation(o, "spec.aggregationLengthV6", spec.AggregationLengthV6,
		128)
	m.output.advertisements = append(m.output.advertisements, ad)
}

// aggregation returns a prefix length other than that of one address.
func (m *migration) aggregation(o object, field string, length *int64, most int64) *int32 {
	if length == nil || *length == most {
		return nil
	}
	if *length < 1 || *length > most {
		m.refuse(o, field, "%d is not a prefix length from 1 to %d", *length, most)
		return nil
	}
	result := int32(*length)
	return &result
}

// communities translates communities, and the names of Communities to their values.
func (m *migration) communities(o object, list []string) (all []v1alpha1.Community) {
	const field = "spec.communities"
	if len(list) > maxSelectors {
		m.refuse(o, field, "has %d entries, and kvip has at most %d", len(list), maxSelectors)
		return nil
	}
	for _, text := range list {
		if value, found := m.aliases[text]; found {
			text = value
		}
		community, err := parseCommunity(text)
		if err != nil {
			m.refuse(o, field, "%q %v; no Community of the input has this name", text, err)
		} else if !slices.Contains(all, community) {
			all = append(all, community)
		}
	}
	return all
}

// parseCommunity parses a standard or a large community, and returns it without leading zeros.
func parseCommunity(text string) (v1alpha1.Community, error) {
	rest, large := strings.CutPrefix(text, "large:")
	parts, bits, want := strings.Split(rest, ":"), 16, 2
	if large {
		bits, want = 32, 3
	}
	if len(parts) != want {
		return "", fmt.Errorf("is not a community like 65000:1 or large:65000:1:2")
	}
	for i, part := range parts {
		number, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return "", fmt.Errorf("has a part that is not a number of %d bits", bits)
		}
		parts[i] = strconv.FormatUint(number, 10)
	}
	rest = strings.Join(parts, ":")
	if large {
		rest = "large:" + rest
	}
	return v1alpha1.Community(rest), nil
}

// communitySpec are the fields of a Community.
type communitySpec struct {
	Communities []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"communities"`
}

// readAliases reads the Communities.
func (m *migration) readAliases() {
	for _, o := range m.objects {
		var spec communitySpec
		if o.kind != kindCommunity || !m.decode(o, &spec) {
			continue
		}
		for _, alias := range spec.Communities {
			other, found := m.aliases[alias.Name]
			switch _, err := parseCommunity(alias.Value); {
			case alias.Name == "":
				m.refuse(o, "spec.communities", "there is an entry without a name")
			case err != nil:
				m.refuse(o, "spec.communities", "%q of %q %v", alias.Value, alias.Name, err)
			case found && other != alias.Value:
				m.refuse(o, "spec.communities", "%q has two values", alias.Name)
			}
			m.aliases[alias.Name] = alias.Value
		}
	}
}

// checkInterfaces translates the interfaces of L2Advertisements, if one flag of the agents has the
// same meaning.
func (m *migration) checkInterfaces() {
	first, chosen := "", object{}
	var all []object
	differ := false
	for _, o := range m.objects {
		var spec layer2Spec
		if o.kind != kindL2 || !m.decode(o, &spec) {
			continue
		}
		all = append(all, o)
		own := ""
		if len(spec.Interfaces) == 1 {
			own = spec.Interfaces[0]
		}
		m.selectors(o, "spec.ipAddressPoolSelectors", spec.IPAddressPoolSelectors)
		if own != "" && (config.Config{Interface: own}).Validate(config.Interface) != nil {
			m.refuse(o, "spec.interfaces", "%q cannot name a link", own)
		}
		if len(spec.Interfaces) > 0 {
			chosen = o
		}
		differ = differ || len(spec.Interfaces) > 1 || len(all) > 1 && own != first
		first = own
	}
	switch {
	case chosen.name == "":
	case differ:
		m.refuse(chosen, "spec.interfaces", "kvip has one --services-interface for all pools; write one "+
			"interface or pattern in every L2Advertisement, or remove them and let Services have "+
			"annotation kvip.dev/interface")
	default:
		m.note(chosen, "spec.interfaces", "add --services-interface=%s to `kvip manifest daemonset "+
			"--services`", first)
	}
}
