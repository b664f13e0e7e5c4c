package v1alpha1

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEnumsAreTheConstants, and the first one of each is the default if there is one.
func TestEnumsAreTheConstants(t *testing.T) {
	want := map[string][]string{
		"IPPool.spec.searchOrder":    {string(Ascending), string(Descending)},
		"IPPool.spec.sharing":        {string(ByKey), string(ByPort)},
		"IPPool.spec.announcement":   {string(Layer2), string(BGP)},
		"BGPPeer.spec.dynamicASN":    {string(InternalASN), string(ExternalASN)},
		"BGPPeer.spec.autoDiscovery": {string(DefaultGateway)},
		"BGPNodeState.status.sessions.state": {string(SessionIdle), string(SessionConnect),
			string(SessionActive), string(SessionOpenSent), string(SessionOpenConfirm),
			string(SessionEstablished)},
		"BGPNodeState.status.sessions.bfd.state": {string(BFDAdminDown), string(BFDDown),
			string(BFDInit), string(BFDUp)},
		"BGPNodeState.status.sessions.families.family": {string(IPv4), string(IPv6)},
	}
	have := map[string][]string{}
	for _, r := range resources {
		walk("", schemaOf(t, r), func(path string, p property) {
			if len(p.Enum) == 0 || borrowed(path) {
				return
			}
			have[r.kind+"."+path] = p.Enum
			if p.Type != "string" || p.Default != nil && p.Default != p.Enum[0] {
				t.Errorf("%s.%s: %s %q, default %v", r.kind, path, p.Type, p.Enum, p.Default)
			}
		})
	}
	if !maps.EqualFunc(have, want, slices.Equal) {
		t.Errorf("enums %q, want %q", have, want)
	}
}

// TestDefaults are the constants; all others are zero values.
func TestDefaults(t *testing.T) {
	want := map[string]any{
		"IPPool.spec.autoAssign":   true,
		"IPPool.spec.searchOrder":  string(Ascending),
		"IPPool.spec.sharing":      string(ByKey),
		"IPPool.spec.announcement": string(Layer2),

		"BGPPeer.spec.peerPort":        float64(DefaultPeerPort),
		"BGPPeer.spec.holdTime":        DefaultHoldTime.String(),
		"BGPPeer.spec.connectTime":     DefaultConnectTime.String(),
		"BGPPeer.spec.maximumPrefixes": float64(DefaultMaximumPrefixes),

		"BGPAdvertisement.spec.aggregationLength":   float64(DefaultAggregationLength),
		"BGPAdvertisement.spec.aggregationLengthV6": float64(DefaultAggregationLengthV6),

		"BFDProfile.spec.receiveInterval":  float64(DefaultBFDInterval),
		"BFDProfile.spec.transmitInterval": float64(DefaultBFDInterval),
		"BFDProfile.spec.detectMultiplier": float64(DefaultBFDMultiplier),
		"BFDProfile.spec.minimumTtl":       float64(DefaultBFDMinimumTTL),
	}
	have := map[string]any{}
	for _, r := range resources {
		walk("", schemaOf(t, r), func(path string, p property) {
			if empty, found := p.Default.(map[string]any); found && path == "spec" {
				// So that the defaults of its fields apply without a spec.
				if len(empty) != 0 || slices.Contains(r.required, "spec") {
					t.Errorf("%s: the default of the spec is %v", r.kind, p.Default)
				}
			} else if p.Default != nil {
				have[r.kind+"."+path] = p.Default
			} else if path == "spec" && !slices.Contains(r.required, "spec") {
				t.Errorf("%s: an object without a spec has no defaults", r.kind)
			}
		})
	}
	if !maps.Equal(have, want) {
		t.Errorf("defaults %v, want %v", have, want)
	}
}

// TestListsAndStringsAreBounded: without bounds an API server refuses the rules as too expensive.
func TestListsAndStringsAreBounded(t *testing.T) {
	unbounded := []string{
		// Older fields, written by kvip alone.
		"IPPool.status.addresses", "IPPool.status.conditions", "IPPool.status.conflicts",
		"IPPool.status.ipv4", "IPPool.status.ipv6", "IPPool.status.size",
		// Its format has a bound.
		"BGPNodeState.status.sessions.since",
	}
	for _, r := range resources {
		walk("", schemaOf(t, r), func(path string, p property) {
			name := r.kind + "." + path
			switch {
			case borrowed(path):
			case p.Type == "array" && p.ListType == "":
				t.Errorf("%s: a list without a type", name)
			case slices.Contains(unbounded, name):
			case p.Type == "array" && p.MaxItems == 0:
				t.Errorf("%s: a list without a bound", name)
			case p.Type == "string" && p.MaxLength == 0 && len(p.Enum) == 0:
				t.Errorf("%s: a text without a bound", name)
			}
		})
	}
}

// bounds are those of a list and its entries, or of a text.
type bounds struct{ minItems, maxItems, length int }

// TestBounds compares bounds with constants, and with the longest values there are.
func TestBounds(t *testing.T) {
	const label, name, link = 63, 253, 15 // RFC 1123, and IFNAMSIZ without its last zero byte
	const address = len("2001:0db8:0000:0000:0000:0000:0000:0001")
	want := map[string]bounds{
		"IPPool.spec.addresses":                {1, 128, 2*address + 1},
		"IPPool.spec.namespaces":               {0, 128, label},
		"BGPPeer.spec.peerAddress":             {0, 0, address},
		"BGPPeer.spec.interface":               {0, 0, link},
		"BGPPeer.spec.passwordSecret.name":     {0, 0, name},
		"BGPAdvertisement.spec.ipAddressPools": {0, 128, name},
		"BGPAdvertisement.spec.peers":          {0, 128, name},
		"BGPAdvertisement.spec.communities": {0, 64,
			len("large:4294967295:4294967295:4294967295")},
		"BGPNodeState.status.sessions":                {0, MaxNodeSessions, 0},
		"BGPNodeState.status.sessions.peer":           {0, 0, name},
		"BGPNodeState.status.sessions.interface":      {0, 0, link},
		"BGPNodeState.status.sessions.reason":         {0, 0, MaxReasonLength},
		"BGPNodeState.status.sessions.bfd.diagnostic": {0, 0, MaxReasonLength},
	}
	have := map[string]bounds{}
	for _, r := range resources {
		walk("", schemaOf(t, r), func(path string, p property) {
			path = r.kind + "." + path
			if _, isEntry := have[path]; p.Items != nil {
				have[path] = bounds{p.MinItems, p.MaxItems, p.Items.MaxLength}
			} else if !isEntry {
				have[path] = bounds{length: p.MaxLength}
			}
		})
	}
	for path, bound := range want {
		if have[path] != bound {
			t.Errorf("%s: %+v, want %+v", path, have[path], bound)
		}
	}
	for path, p := range schemaOf(t, resources[0]).Properties["spec"].Properties {
		if p.Type == "array" && p.ListType != "set" {
			t.Errorf("%s is a list of type %s: it may have duplicates", path, p.ListType)
		}
	}
}

// TestNumbersFitTheirFormat: an API server refuses numbers beyond the format of a field.
func TestNumbersFitTheirFormat(t *testing.T) {
	for _, r := range resources {
		walk("", schemaOf(t, r), func(path string, p property) {
			if borrowed(path) || p.Type != "integer" {
				return
			}
			if strings.HasPrefix(path, "spec.") && (p.Minimum == nil || p.Maximum == nil) {
				t.Errorf("%s.%s: a number without bounds", r.kind, path)
			}
			wide := strings.HasSuffix(path, "ASN") || p.Maximum != nil && *p.Maximum > 1<<31-1
			if wide && p.Format != "int64" {
				t.Errorf("%s.%s has the format %s", r.kind, path, p.Format)
			}
		})
	}
}

// TestEveryRuleHasAMessage that names the problem; kubectl prints it.
func TestEveryRuleHasAMessage(t *testing.T) {
	rules, markers := map[rule]bool{}, map[string]bool{}
	for _, r := range resources {
		walk("", schemaOf(t, r), func(_ string, p property) {
			for _, one := range p.Rules {
				rules[one] = true
			}
		})
	}
	for r := range rules {
		if len(r.Message) < 20 || strings.TrimSpace(r.Message) != r.Message ||
			strings.HasSuffix(r.Message, ".") || strings.Contains(r.Message, "self") {
			t.Errorf("rule %s has the message %q", r.Rule, r.Message)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	marker := regexp.MustCompile(`(?m)^\s*// \+kubebuilder:validation:XValidation:.*$`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range marker.FindAllString(string(text), -1) {
			markers[strings.TrimSpace(line)] = true
		}
	}
	if len(markers) != len(rules) {
		t.Errorf("the types have %d different rules, the definitions %d", len(markers), len(rules))
	}
}
