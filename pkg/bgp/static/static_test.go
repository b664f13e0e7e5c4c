package static

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/config"
)

var routerID = netip.MustParseAddr("192.0.2.11")

// settings returns a configuration with these peers.
func settings(t *testing.T, peers ...string) config.Config {
	t.Helper()
	c := config.Default()
	c.VIPs = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}
	c.Announce, c.BGPAS, c.BGPHoldTime = config.AnnounceBGP, 65010, 12*time.Second
	for _, text := range peers {
		p, err := config.ParseBGPPeer(text)
		if err != nil {
			t.Fatal(err)
		}
		c.BGPPeers = append(c.BGPPeers, p)
	}
	return c
}

// write writes a file that only the owner can read, and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPeersOfFlags(t *testing.T) {
	password := write(t, "password", "secret\n")
	s := New(settings(t, "192.0.2.1:1179,as=65000,bfd=50ms/3,multihop=3,source=192.0.2.9,"+
		"password-file="+password, "gateway,as=external", "gateway=ipv6,as=internal",
		"interface=eth0,as=external"),
		routerID)
	p, changed, err := s.Read()
	if err != nil || !changed || len(p.Peers) != 4 || len(p.Advertisements) != 1 {
		t.Fatal(p, changed, err)
	}
	one := p.Peers[0]
	if one.Name != "192.0.2.1:1179" || one.LocalAS != 65010 || one.PeerAS != 65000 ||
		one.RouterID != routerID || one.HoldTime != 12*time.Second || one.BFD.Multiplier != 3 ||
		one.Multihop != 3 || one.Password != "secret" || one.Unusable != "" ||
		len(one.Families) != 2 || one.Source.String() != "192.0.2.9" {
		t.Errorf("%+v", one)
	}
	if p.Peers[1].Discover != (bgp.Discovery{Gateway: true}) || p.Peers[1].Type != bgp.External ||
		p.Peers[2].Discover.Family != bgp.IPv6 || p.Peers[2].Type != bgp.Internal ||
		p.Peers[3].Discover.Interface != "eth0" {
		t.Errorf("%+v", p.Peers[1:])
	}
	if _, changed, err = s.Read(); changed || err != nil {
		t.Error("the same files have changed", err)
	}
	if err := os.WriteFile(password, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, changed, err = s.Read(); changed || err != nil { // the file may be being written
		t.Error("a new password counts after one call", err)
	}
	if p, changed, err = s.Read(); !changed || err != nil || p.Peers[0].Password != "another" {
		t.Error("a new password is not seen", p, err)
	}
}

// TestB12PasswordFiles: a password that cannot be had, or that others can read, is no session.
func TestB12PasswordFiles(t *testing.T) {
	open := write(t, "open", "secret")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nowhere/password":     "no such file",
		open:                    "accessible to every user",
		write(t, "empty", "\n"): "is empty",
		write(t, "long", strings.Repeat("x", 81)):   "has more than 80 bytes",
		write(t, "huge", strings.Repeat("x", 5000)): "has more than 4096 bytes",
	} {
		p, _, err := New(settings(t, "192.0.2.1,as=65000,password-file="+path), routerID).Read()
		if err != nil || len(p.Peers) != 1 || p.Peers[0].Password != "" ||
			!strings.Contains(p.Peers[0].Unusable, want) {
			t.Errorf("%s: %+v, %v", path, p.Peers, err)
		}
	}
}

const fileText = `# peers of rack 1
apiVersion: kvip.dev/v1alpha1
kind: BFDProfile
metadata: {name: quick}
spec: {receiveInterval: 50, transmitInterval: 50, detectMultiplier: 3}
---
apiVersion: kvip.dev/v1alpha1
kind: BGPPeer
metadata: {name: r1}
spec:
  myASN: 65010
  peerASN: 65000
  peerAddress: 192.0.2.1
  holdTime: 30s
  bfdProfile: quick
  enableGracefulRestart: true
  nodeSelectors: [{matchLabels: {kubernetes.io/hostname: cp1}}]
---
apiVersion: kvip.dev/v1alpha1
kind: BGPAdvertisement
metadata: {name: a}
spec: {communities: ["65010:7"], peers: [r1]}
---
`

func TestPeersOfAFile(t *testing.T) {
	c := settings(t)
	c.BGPConfig = write(t, "bgp.yaml", fileText)
	s := New(c, routerID)
	p, changed, err := s.Read()
	if err != nil || !changed || len(p.Peers) != 1 || len(p.Advertisements) != 1 {
		t.Fatal(p, err)
	}
	one := p.Peers[0]
	if one.Object != "r1" || one.GracefulRestart != 0 || len(one.Nodes) != 1 || one.BFD == nil ||
		len(one.Families) != 2 || p.Advertisements[0].Peers[0] != "r1" {
		t.Errorf("%+v, %+v", one, p.Advertisements)
	}
	if got := s.HoldTime(); got != 30*time.Second {
		t.Errorf("the longest hold time is %v", got)
	}
}

// TestInvalidFileKeepsTheLastPeers: nothing is lost on bad input.
func TestInvalidFileKeepsTheLastPeers(t *testing.T) {
	c := settings(t, "192.0.2.2,as=65000")
	c.BGPConfig = write(t, "bgp.yaml", fileText)
	s := New(c, routerID)
	if _, _, err := s.Read(); err != nil {
		t.Fatal(err)
	}
	const head = "apiVersion: kvip.dev/v1alpha1\n"
	for want, text := range map[string]string{
		"document 1":                  "{",
		`apiVersion "v1": want`:       "apiVersion: v1\nkind: BGPPeer\n",
		`kind "IPPool": want BGPPeer`: head + "kind: IPPool\n",
		`unknown field "vrf"`:         head + "kind: BGPPeer\nspec: {vrf: red}\n",
		"set one of peerAddress":      head + "kind: BGPPeer\nspec: {myASN: 1, peerASN: 2}\n",
		"pools and Services have no":  head + "kind: BGPAdvertisement\nspec: {ipAddressPools: [p]}\n",
		`"x" is not a community`:      head + "kind: BGPAdvertisement\nspec: {communities: [x]}\n",
		"has more than 1048576 bytes": strings.Repeat("#", 1<<20+1),
	} {
		if err := os.WriteFile(c.BGPConfig, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, changed, err := s.Read()
		if err == nil || !strings.Contains(err.Error(), want) || changed || len(p.Peers) != 2 {
			t.Errorf("want %q: %v, changed %v, %d peers", want, err, changed, len(p.Peers))
		}
	}
	if err := os.WriteFile(c.BGPConfig, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, changed, err := s.Read(); err != nil || changed || len(p.Peers) != 2 {
		t.Errorf("an empty file counts after one call: %+v, %v", p, err)
	}
	if p, changed, err := s.Read(); err != nil || !changed || len(p.Peers) != 1 {
		t.Errorf("an empty file: %+v, %v", p, err)
	}
}

// TestHalfWrittenFiles: a file that is being written changes no session, a password as well as
// peers (B13).
func TestHalfWrittenFiles(t *testing.T) {
	password := write(t, "password", "secret\n")
	c := settings(t, "192.0.2.2,as=65000,password-file="+password)
	c.BGPConfig = write(t, "bgp.yaml", fileText)
	s := New(c, routerID)
	if _, changed, err := s.Read(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	for path, steps := range map[string][]string{
		c.BGPConfig: {"", fileText[:len(fileText)/2], fileText}, password: {"", "sec", "secret\n"},
	} {
		for _, text := range steps {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if p, changed, _ := s.Read(); changed || len(p.Peers) != 2 || p.Peers[0].Password != "secret" {
				t.Errorf("%s with %d bytes: changed %v, %+v", path, len(text), changed, p.Peers)
			}
		}
	}
}

// TestServicesShareTheSessions: sessions that carry routes of Services too have both families, and
// a hold time that addresses of Services outlive (B7).
func TestServicesShareTheSessions(t *testing.T) {
	c := settings(t, "192.0.2.2,as=65000")
	c.VIPs, c.BGPHoldTime = c.VIPs[:1], 90*time.Second
	c.BGPConfig = write(t, "bgp.yaml", strings.Replace(fileText, "30s", "200s", 1))
	for services, want := range map[bool]struct {
		hold, inFile time.Duration
		families     int
	}{
		false: {90 * time.Second, 180 * time.Second, 1},
		true:  {50 * time.Second, 50 * time.Second, 2},
	} {
		c.Services = services
		p, _, err := New(c, routerID).Read()
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Peers[0]; got.HoldTime != want.hold || len(got.Families) != want.families {
			t.Errorf("Services %v: %v, %v", services, got.HoldTime, got.Families)
		}
		if got := p.Peers[1].HoldTime; got != want.inFile {
			t.Errorf("Services %v: a hold time of %v in the file", services, got)
		}
	}
}

// TestSecretsOfAFile: a static pod starts before there is an API.
func TestSecretsOfAFile(t *testing.T) {
	c := settings(t)
	c.BGPConfig = write(t, "bgp.yaml", `apiVersion: kvip.dev/v1alpha1
kind: BGPPeer
metadata: {name: r1}
spec: {myASN: 65010, peerASN: 65000, peerAddress: 192.0.2.1, passwordSecret: {name: x}}
`)
	p, _, err := New(c, routerID).Read()
	if err != nil || len(p.Peers) != 1 ||
		!strings.Contains(p.Peers[0].Unusable, "cannot refer to Secret x") {
		t.Errorf("%+v, %v", p.Peers, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(fileText))
	f.Add([]byte("---\n---"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, err := parse(data); err == nil {
			var p Peers
			_ = file.add(&p, New(config.Config{}, routerID).environment(file), nil)
		}
	})
}
