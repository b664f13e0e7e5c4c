package objects

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// Advertisement converts an advertisement. An error means that the object is not valid.
func Advertisement(obj v1alpha1.BGPAdvertisement) (policy.Advertisement, error) {
	spec := obj.Spec
	ad := policy.Advertisement{
		Name: obj.Name, Pools: texts(spec.IPAddressPools), Peers: texts(spec.Peers),
		WithdrawWithoutEndpoints: spec.WithdrawWithoutEndpoints,
		Attributes: bgp.Attributes{
			Prepend: int(spec.ASPathPrepend), LocalPref: spec.LocalPref, MED: spec.MED,
		},
	}
	var errs []error
	for _, s := range []struct {
		name string
		from []v1alpha1.LabelSelector
		into *[]policy.Selector
	}{
		{"ipAddressPoolSelectors", spec.IPAddressPoolSelectors, &ad.PoolSelectors},
		{"serviceSelectors", spec.ServiceSelectors, &ad.Services},
		{"nodeSelectors", spec.NodeSelectors, &ad.Nodes},
	} {
		list, err := Selectors(s.from)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
		*s.into = list
	}
	for _, text := range spec.Communities {
		if err := addCommunity(&ad.Attributes, string(text)); err != nil {
			errs = append(errs, err)
		}
	}
	slices.Sort(ad.Attributes.Communities)
	slices.SortFunc(ad.Attributes.LargeCommunities, bgp.LargeCommunity.Compare)
	if n := len(spec.Communities); n > bgp.MaxCommunities {
		errs = append(errs, fmt.Errorf("there are %d communities: at most %d", n, bgp.MaxCommunities))
	}
	if p := spec.ASPathPrepend; p < 0 || p > bgp.MaxPrepend {
		errs = append(errs, fmt.Errorf("asPathPrepend %d: want 0 to %d", p, bgp.MaxPrepend))
	}
	for f, length := range []*int32{bgp.IPv4: spec.AggregationLength,
		bgp.IPv6: spec.AggregationLengthV6} {
		if length == nil {
			continue
		}
		if most := []int32{32, 128}[f]; *length < 1 || *length > most {
			errs = append(errs, fmt.Errorf("an aggregation length of %d: want 1 to %d", *length, most))
			continue
		}
		ad.AggregationLength[f] = int(*length)
	}
	if err := errors.Join(errs...); err != nil {
		return policy.Advertisement{}, fmt.Errorf("BGPAdvertisement %s: %w", obj.Name, err)
	}
	return ad, nil
}

// texts converts names.
func texts[T ~string](list []T) []string {
	var out []string
	for _, one := range list {
		out = append(out, string(one))
	}
	return out
}

// wellKnown are the communities that have a name.
var wellKnown = map[v1alpha1.Community]uint32{
	v1alpha1.CommunityNoExport:          0xffffff01,
	v1alpha1.CommunityNoAdvertise:       0xffffff02,
	v1alpha1.CommunityNoExportSubconfed: 0xffffff03,
	v1alpha1.CommunityNoPeer:            0xffffff04,
	v1alpha1.CommunityGracefulShutdown:  bgp.GracefulShutdown,
	v1alpha1.CommunityGShut:             bgp.GracefulShutdown,
	v1alpha1.CommunityBlackhole:         0xffff029a,
}

// addCommunity parses a community.
func addCommunity(a *bgp.Attributes, text string) error {
	if value, ok := wellKnown[v1alpha1.Community(text)]; ok {
		a.Communities = append(a.Communities, value)
		return nil
	}
	parts, size := strings.Split(text, ":"), 16
	large := parts[0] == "large"
	if large {
		parts, size = parts[1:], 32
	}
	var numbers []uint32
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, size)
		if err != nil {
			break
		}
		numbers = append(numbers, uint32(n))
	}
	switch {
	case len(numbers) != len(parts), large && len(parts) != 3, !large && len(parts) != 2:
		return fmt.Errorf("%q is not a community: write 65000:1, large:65000:1:2 or the name of a "+
			"well-known one", text)
	case large:
		a.LargeCommunities = append(a.LargeCommunities,
			bgp.LargeCommunity{Admin: numbers[0], Data1: numbers[1], Data2: numbers[2]})
	default:
		a.Communities = append(a.Communities, numbers[0]<<16|numbers[1])
	}
	return nil
}

// Selectors converts label selectors.
func Selectors(list []v1alpha1.LabelSelector) ([]policy.Selector, error) {
	var out []policy.Selector
	for _, s := range list {
		one := policy.Selector{}
		for key, value := range s.MatchLabels {
			one = append(one, policy.Requirement{Key: key, Operator: policy.In,
				Values: []string{value}})
		}
		slices.SortFunc(one, func(a, b policy.Requirement) int { return cmp.Compare(a.Key, b.Key) })
		for _, e := range s.MatchExpressions {
			r := policy.Requirement{Key: e.Key, Operator: policy.Operator(e.Operator), Values: e.Values}
			if err := r.Check(); err != nil {
				return nil, err
			}
			one = append(one, r)
		}
		out = append(out, one)
	}
	return out, nil
}
