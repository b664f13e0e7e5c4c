package servicelab

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/netlab"
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

var asker = &netlab.Host{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"),
		netip.MustParsePrefix("2001:db8::1/64")}}

func TestQuestions(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.9": "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 " +
			"000000000000 c0000209" + strings.Repeat("00", 18),
		"2001:db8::9": "3333ff000009 020000000001 86dd 60000000 0020 3a ff " +
			"20010db8000000000000000000000001 ff0200000000000000000001ff000009" +
			"87 00 1c19 00000000 20010db8000000000000000000000009 01 01 020000000001",
	} {
		if got := addressRequest(asker, netip.MustParseAddr(addr)); !bytes.Equal(got, unhex(want)) {
			t.Errorf("question for %s:\n%x, want\n%x", addr, got, unhex(want))
		}
	}
}

// answers are frames that claim an address.
var answers = map[string]string{
	"192.0.2.9": "020000000001 020000000009 0806 0001 0800 06 04 0002 020000000009 c0000209 " +
		"020000000001 c0000201",
	"2001:db8::9": "020000000001 020000000009 86dd 60000000 0020 3a ff " +
		"20010db8000000000000000000000009 20010db8000000000000000000000001" +
		"88 00 0000 60000000 20010db8000000000000000000000009 02 01 020000000009",
}

func TestAnswers(t *testing.T) {
	for addr, frame := range answers {
		mac, ok := claimIn(unhex(frame), netip.MustParseAddr(addr))
		if !ok || mac.String() != "02:00:00:00:00:09" {
			t.Errorf("%s: %v, %v", addr, mac, ok)
		}
		for other := range answers {
			if _, ok := claimIn(unhex(frame), netip.MustParseAddr(other)); ok != (other == addr) {
				t.Errorf("an answer for %s counts for %s: %v", addr, other, ok)
			}
		}
		if _, ok := claimIn(addressRequest(asker, netip.MustParseAddr(addr)),
			netip.MustParseAddr(addr)); ok {
			t.Errorf("a question for %s counts as an answer", addr)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, frame := range answers {
		f.Add(unhex(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for addr := range answers {
			a := netip.MustParseAddr(addr)
			if mac, ok := claimIn(frame, a); ok && (len(mac) != 6 || !bytes.Contains(frame, a.AsSlice())) {
				t.Fatalf("%x: %v has %s", frame, mac, addr)
			}
		}
	})
}
