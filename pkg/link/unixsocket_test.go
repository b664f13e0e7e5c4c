package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

// unixMessage is struct unix_diag_msg with a name and a user.
func unixMessage(name string, uid []byte) []byte {
	b := make([]byte, unixMessageLen)
	attr := func(kind uint16, value []byte) {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		b = append(b, make([]byte, (4-len(value)%4)%4)...)
	}
	if name != "" {
		attr(unixDiagName, []byte(name))
	}
	if uid != nil {
		attr(unixDiagUID, uid)
	}
	return b
}

func TestParseUnixSocket(t *testing.T) {
	uid := binary.NativeEndian.AppendUint32(nil, 65534)
	for _, test := range []struct {
		desc    string
		message []byte
		want    AbstractSocket
		ok      bool
	}{
		{"abstract", unixMessage("\x00kvip/vip", uid), AbstractSocket{"kvip/vip", 65534}, true},
		{"kernel before 5.3", unixMessage("\x00kvip", nil), AbstractSocket{"kvip", 0}, true},
		{"truncated user", unixMessage("\x00kvip", uid[:2]), AbstractSocket{"kvip", 0}, true},
		{"of a file", unixMessage("/run/kvip", uid), AbstractSocket{UID: 65534}, false},
		{"empty name", unixMessage("\x00", uid), AbstractSocket{UID: 65534}, false},
		{"without a name", unixMessage("", nil), AbstractSocket{}, false},
		{"too short", make([]byte, unixMessageLen-1), AbstractSocket{}, false},
		{"empty", nil, AbstractSocket{}, false},
	} {
		got, ok := parseUnixSocket(test.message)
		if got != test.want || ok != test.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", test.desc, got, ok, test.want, test.ok)
		}
	}
}

func FuzzParseUnixSocket(f *testing.F) {
	f.Add(unixMessage("\x00kvip", nil))
	f.Add(unixMessage("/run/kvip", []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseUnixSocket(b); ok && s.Name == "" {
			t.Errorf("%x: a socket without a name: %+v", b, s)
		}
	})
}

func TestAbstractSockets(t *testing.T) {
	testutil.NewNetns(t)
	var want []string
	for i := range 3 {
		name := fmt.Sprintf("kvip-test/%d", i)
		s, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want = append(want, name)
	}
	for prefix, want := range map[string][]string{
		"kvip-test/": want, "kvip-test/1": want[1:2], "kvip-other": nil,
	} {
		list, err := AbstractSockets(prefix)
		if err != nil {
			testutil.Unavailable(t, err.Error())
		}
		var got []string
		for _, s := range list {
			got = append(got, s.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("prefix %q: %s; want %s", prefix, strings.Join(got, " "), want)
		}
	}
}
