package kubevip

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
)

func ranges(texts ...string) []ipam.Range {
	var all []ipam.Range
	for _, text := range texts {
		first, last, two := strings.Cut(text, "-")
		if !two {
			last = first
		}
		all = append(all, ipam.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)})
	}
	return all
}

func keys(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Key)
	}
	slices.Sort(all)
	return all
}

func TestPools(t *testing.T) {
	for name, row := range map[string]struct {
		data     map[string]string
		want     []ipam.Pool
		problems []string
	}{
		"nothing": {nil, nil, nil},
		"the example of the cloud provider's page, whose prefixes have more bits than their length": {
			map[string]string{
				"cidr-default": "192.168.0.200/29", "range-development": "192.168.0.210-192.168.0.219",
				"cidr-finance": "192.168.0.220/29,192.168.0.230/29",
			},
			[]ipam.Pool{
				{Name: "kubevip/cidr-default", Ranges: ranges("192.168.0.200-192.168.0.207"),
					Namespaces: []string{"default"}},
				{Name: "kubevip/cidr-finance", Ranges: ranges("192.168.0.216-192.168.0.223",
					"192.168.0.224-192.168.0.231"), Namespaces: []string{"finance"}},
				{Name: "kubevip/range-development", Ranges: ranges("192.168.0.210-192.168.0.219"),
					Namespaces: []string{"development"}},
			}, nil,
		},
		"global and dual stack": {
			map[string]string{"cidr-global": "192.0.2.0/28, 2001:db8::/120"},
			[]ipam.Pool{{Name: "kubevip/cidr-global", Ranges: ranges("192.0.2.0-192.0.2.15",
				"2001:db8::-2001:db8::ff")}}, nil,
		},
		"overlap is one set": {
			map[string]string{"cidr-global": "192.168.0.200/30,192.168.0.200/29"},
			[]ipam.Pool{{Name: "kubevip/cidr-global", Ranges: ranges("192.168.0.200-192.168.0.207")}}, nil,
		},
		"without the ends": {
			map[string]string{"cidr-global": "192.0.2.0/29,192.0.2.16/31,192.0.2.20/32,2001:db8::/126",
				"skip-end-ips-in-cidr": "true"},
			[]ipam.Pool{{Name: "kubevip/cidr-global", Ranges: ranges("192.0.2.1-192.0.2.6",
				"192.0.2.16-192.0.2.17", "192.0.2.20", "2001:db8::-2001:db8::3")}}, nil,
		},
		"ends belong to prefixes alone": {
			map[string]string{"range-global": "192.0.2.10-192.0.2.20", "skip-end-ips-in-cidr": "true"},
			[]ipam.Pool{{Name: "kubevip/range-global", Ranges: ranges("192.0.2.10-192.0.2.20")}}, nil,
		},
		"order": {
			map[string]string{"range-global": "192.0.2.10-192.0.2.20", "search-order": "desc"},
			[]ipam.Pool{{Name: "kubevip/range-global", Ranges: ranges("192.0.2.10-192.0.2.20"),
				Descending: true}}, nil,
		},
		"sharing in one namespace": {
			map[string]string{"range-global": "192.0.2.10-192.0.2.20",
				"range-shop": "192.0.2.30-192.0.2.31", "allow-share-shop": "true"},
			[]ipam.Pool{
				{Name: "kubevip/range-global", Ranges: ranges("192.0.2.10-192.0.2.20")},
				{Name: "kubevip/range-shop", Ranges: ranges("192.0.2.30-192.0.2.31"),
					Namespaces: []string{"shop"}, Shared: true},
			}, nil,
		},
		"sharing in all but one": {
			map[string]string{"range-global": "192.0.2.10-192.0.2.20",
				"range-shop": "192.0.2.30-192.0.2.31", "allow-share-global": "true",
				"allow-share-shop": "false"},
			[]ipam.Pool{
				{Name: "kubevip/range-global", Ranges: ranges("192.0.2.10-192.0.2.20"), Shared: true},
				{Name: "kubevip/range-shop", Ranges: ranges("192.0.2.30-192.0.2.31"),
					Namespaces: []string{"shop"}},
			}, nil,
		},
		"prefixes hide ranges": {
			map[string]string{"cidr-shop": "192.0.2.0/30", "range-shop": "192.0.2.30-192.0.2.31",
				"range-other": "192.0.2.40-192.0.2.41"},
			[]ipam.Pool{
				{Name: "kubevip/cidr-shop", Ranges: ranges("192.0.2.0-192.0.2.3"),
					Namespaces: []string{"shop"}},
				{Name: "kubevip/range-other", Ranges: ranges("192.0.2.40-192.0.2.41"),
					Namespaces: []string{"other"}},
			}, []string{"range-shop"},
		},
		"a global prefix hides all ranges": {
			map[string]string{"cidr-global": "192.0.2.0/30", "range-shop": "192.0.2.30-192.0.2.31"},
			[]ipam.Pool{{Name: "kubevip/cidr-global", Ranges: ranges("192.0.2.0-192.0.2.3")}},
			[]string{"range-shop"},
		},
		"good parts stay": {
			map[string]string{"cidr-global": "192.0.2.0/30,banana,192.0.2.8/33",
				"cidr-shop": "192.0.2.0/30/2", "skip-end-ips-in-cidr": "perhaps", "search-order": "random",
				"allow-share-global": "perhaps", "interface-global": "eth1"},
			[]ipam.Pool{{Name: "kubevip/cidr-global", Ranges: ranges("192.0.2.0-192.0.2.3")}},
			[]string{"allow-share-global", "cidr-global", "cidr-global", "cidr-shop", "search-order",
				"skip-end-ips-in-cidr"},
		},
		"backwards, of two families, empty": {
			map[string]string{"range-a": "192.0.2.20-192.0.2.10", "range-b": "192.0.2.20-2001:db8::1",
				"range-c": ""},
			nil, []string{"range-a", "range-b", "range-c"},
		},
		"DHCP": {map[string]string{"cidr-global": "0.0.0.0/32"}, nil, []string{"cidr-global"}},
		"unknown keys": {map[string]string{"cidr-": "192.0.2.0/30", "pool": "x", "cidr": "y"}, nil,
			[]string{"cidr",
				"cidr-", "pool"}},
		"sharing without a pool": {
			map[string]string{"range-global": "192.0.2.10", "allow-share-shop": "true"},
			[]ipam.Pool{{Name: "kubevip/range-global", Ranges: ranges("192.0.2.10")}},
			[]string{"allow-share-shop"},
		},
	} {
		got, problems := ParsePools(row.data)
		if !reflect.DeepEqual(got, row.want) || !slices.Equal(keys(problems), row.problems) {
			t.Errorf("%s: got %+v\nproblems %v", name, got, problems)
		}
	}
}

func TestInterfaces(t *testing.T) {
	got, problems := ParseInterfaces(
		map[string]string{
			"interface-global": "eth0",
			"interface-shop":   " eth1 ",
			"interface-bad":    "a/b",
			"cidr-shop":        "x",
		},
	)
	if want := map[string]string{"": "eth0", "shop": "eth1"}; !maps.Equal(got, want) ||
		!slices.Equal(keys(problems), []string{"interface-bad"}) {
		t.Errorf("got %v, problems %v", got, problems)
	}
}

// TestPoolsAreValid: whatever the ConfigMap says, pools are ones that the allocator takes (S4).
func TestPoolsAreValid(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(256))}) }
	for range 500 {
		data := map[string]string{"skip-end-ips-in-cidr": []string{"true", "false", "x"}[random.IntN(3)]}
		for range random.IntN(4) {
			key := []string{"cidr-", "range-"}[random.IntN(2)] + []string{"global", "a", "b"}[random.IntN(3)]
			var parts []string
			for range 1 + random.IntN(4) {
				parts = append(parts, []string{
					netip.PrefixFrom(addr(), 24+random.IntN(9)).String(),
					addr().String() + "-" + addr().String(),
				}[random.IntN(2)])
			}
			data[key] = strings.Join(parts, ",")
		}
		pools, _ := ParsePools(data)
		for _, pool := range pools {
			if err := pool.Validate(); err != nil {
				t.Fatalf("%v gave %v (seed %d)", data, err, seed)
			}
		}
	}
}

func FuzzPools(f *testing.F) {
	f.Add("cidr-global", "192.168.0.220/29,192.168.0.230/29", "true", "desc")
	f.Add("range-shop", "2001:db8::1-2001:db8::9,192.0.2.1", "false", "asc")
	f.Add("allow-share-shop", "1", "", "")
	f.Add("cidr-x", "::ffff:192.0.2.0/120,::/0,0.0.0.0/0", "true", "")
	f.Fuzz(func(t *testing.T, key, value, skip, order string) {
		data := map[string]string{key: value, "skip-end-ips-in-cidr": skip, "search-order": order}
		pools, problems := ParsePools(data)
		for _, pool := range pools {
			if err := pool.Validate(); err != nil {
				t.Fatalf("%v gave %v", data, err)
			}
		}
		if kind, _ := splitKey(key); (kind == keyCIDR || kind == keyRange) && len(pools) == 0 &&
			len(problems) == 0 {
			t.Fatalf("%v gave neither pools nor problems", data)
		}
	})
}
