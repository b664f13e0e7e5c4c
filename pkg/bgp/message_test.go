package bgp

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// wire returns a message with a header that fits its body.
func wire(kind uint8, body ...byte) []byte {
	m := append(bytes.Clone(marker), 0, 0, kind)
	binary.BigEndian.PutUint16(m[16:], uint16(headerSize+len(body)))
	return append(m, body...)
}

// openBody returns the body of an OPEN of AS 65000 with parameters.
func openBody(parameters ...byte) []byte {
	return append([]byte{4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 254, byte(len(parameters))}, parameters...)
}

// TestHeaderErrors checks RFC 4271 section 6.1.
func TestHeaderErrors(t *testing.T) {
	header := func(change func([]byte)) []byte {
		h := wire(codec.BGP_MSG_KEEPALIVE)
		change(h)
		return h
	}
	length := func(n uint16) []byte {
		return header(func(h []byte) { binary.BigEndian.PutUint16(h[16:], n) })
	}
	kind := func(k byte) []byte { return header(func(h []byte) { h[18] = k }) }
	for name, c := range map[string]struct {
		header []byte
		want   *Notification
	}{
		"acceptable":        {length(19), nil},
		"longest":           {length(4096), nil},
		"marker":            {header(func(h []byte) { h[15] = 0xfe }), &Notification{1, 1, nil}},
		"zero marker":       {header(func(h []byte) { clear(h[:16]) }), &Notification{1, 1, nil}},
		"length 0":          {length(0), &Notification{1, 2, []byte{0, 0}}},
		"length 18":         {length(18), &Notification{1, 2, []byte{0, 18}}},
		"length 4097":       {length(4097), &Notification{1, 2, []byte{0x10, 0x01}}},
		"length 65535":      {length(65535), &Notification{1, 2, []byte{0xff, 0xff}}},
		"type 0":            {kind(0), &Notification{1, 3, []byte{0}}},
		"type 6":            {kind(6), &Notification{1, 3, []byte{6}}},
		"type 255":          {kind(255), &Notification{1, 3, []byte{255}}},
		"type 5 is refresh": {kind(5), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := checkHeader(c.header)
			if got == nil && c.want == nil {
				return
			}
			if got == nil || c.want == nil || !reflect.DeepEqual(got.Notification, *c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// TestDecode checks messages, and the errors of RFC 4271 sections 6.1 and 6.2 that a decoder finds.
func TestDecode(t *testing.T) {
	bad := func(n Notification) Message { return Malformed{Notification: n} }
	badLength := func(n byte) Message { return bad(Notification{1, 2, []byte{0, n}}) }
	badOpen := func(subcode uint8) Message { return bad(Notification{2, subcode, nil}) }
	plain := Open{Version: 4, AS: 65000, HoldTime: 90, ID: [4]byte{10, 0, 0, 254}}
	plain.Families[IPv4] = true
	rich := Open{Version: 4, AS: 4200000000, HoldTime: 90, ID: plain.ID, Capabilities: Capabilities{
		Families: [families]bool{IPv6: true}, FourOctetAS: true, IPv4OverIPv6: true, Refresh: true,
		HardReset: true,
	}}
	capabilities := []byte{
		1, 4, 0, 2, 0, 1, // IPv6 unicast
		1, 4, 0, 25, 0, 70, // EVPN, which is ignored
		65, 4, 0xfa, 0x56, 0xea, 0x00,
		2, 0,
		64, 2, 0x40, 120, // graceful restart with the N bit
		5, 6, 0, 1, 0, 1, 0, 2, // RFC 8950
		99, 1, 7, // unknown: RFC 5492 section 3 ignores it
	}
	for name, c := range map[string]struct {
		data []byte
		want Message
	}{
		"KEEPALIVE":           {wire(4), Keepalive{}},
		"KEEPALIVE with body": {wire(4, 0), badLength(20)},
		"UPDATE":              {wire(2, 0, 0, 0, 0), Update{}},
		"UPDATE of garbage":   {wire(2, 0xff, 0xff, 0xff, 0xff, 1), Update{}}, // B2
		"short UPDATE":        {wire(2, 0, 0, 0), badLength(22)},
		"NOTIFICATION":        {wire(3, 6, 2, 1, 'x'), Notification{6, 2, []byte{1, 'x'}}},
		"plain NOTIFICATION":  {wire(3, 4, 0), Notification{Code: 4}},
		"short NOTIFICATION":  {wire(3, 6), badLength(20)},
		"refresh of IPv4":     {wire(5, 0, 1, 0, 1), RouteRefresh{IPv4}},
		"refresh of IPv6":     {wire(5, 0, 2, 0, 1), RouteRefresh{IPv6}},
		"refresh of EVPN":     {wire(5, 0, 25, 0, 70), Other{}},
		"begin of a refresh":  {wire(5, 0, 1, 1, 1), Other{}}, // RFC 7313, not agreed on
		"refresh with ORF":    {wire(5, 0, 1, 0, 1, 1), badLength(24)},
		"short refresh":       {wire(5, 0, 1, 0), badLength(22)},
		"OPEN":                {wire(1, openBody()...), plain},
		"short OPEN":          {wire(1, openBody()[:9]...), badLength(28)},
		"rich OPEN": {wire(1, openBody(append([]byte{2, byte(len(capabilities))},
			capabilities...)...)...), rich},
		"OPEN, parameters cut":      {wire(1, append(openBody()[:9], 4, 2)...), badOpen(0)},
		"OPEN, parameter cut":       {wire(1, openBody(2)...), badOpen(0)},
		"OPEN, parameter too long":  {wire(1, openBody(2, 5, 1)...), badOpen(0)},
		"OPEN, capability too long": {wire(1, openBody(2, 3, 65, 4, 0)...), badOpen(0)},
		"OPEN, authentication":      {wire(1, openBody(1, 1, 0)...), badOpen(4)},
	} {
		t.Run(name, func(t *testing.T) {
			got := withoutText(decode(c.data))
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// withoutText returns a message without the text that says what is wrong with it.
func withoutText(m Message) Message {
	if wrong, ok := m.(Malformed); ok && wrong.Text != "" {
		return Malformed{Notification: wrong.Notification}
	}
	return m
}

// TestDecodeCopies: a message does not refer to the buffer, which the next one overwrites.
func TestDecodeCopies(t *testing.T) {
	data := wire(3, 6, 2, 4, 't', 'e', 'x', 't')
	n := decode(data)
	clear(data)
	if got := n.(Notification).String(); got != "cease: administrative shutdown (text)" {
		t.Error(got)
	}
}

func TestNotificationString(t *testing.T) {
	text := func(subcode uint8, s string) Notification {
		return Notification{6, subcode, append([]byte{byte(len(s))}, s...)}
	}
	long := strings.Repeat("x", 255)
	for want, n := range map[string]Notification{
		"message header error: bad message length":            {1, 2, []byte{0, 1}},
		"OPEN message error":                                  {2, 0, nil},
		"OPEN message error: subcode 5":                       {2, 5, nil},
		"UPDATE message error: malformed AS_PATH":             {3, 11, nil},
		"hold timer expired":                                  {4, 0, nil},
		"ROUTE-REFRESH message error: invalid message length": {7, 1, nil},
		"send hold timer expired":                             {8, 0, nil},
		"error 9/3":                                           {9, 3, []byte("x")},
		"error 0/0":                                           {},
		"cease: maximum number of prefixes reached":           {6, 1, []byte{0, 1, 1, 0, 0, 0, 50}},
		"cease: administrative shutdown (maintenance)":        text(2, "maintenance"),
		"cease: administrative reset (maintenance)":           text(4, "maintenance"),
		"cease: peer de-configured":                           text(3, "not a text here"),
		"cease: hard reset":                                   {6, 9, []byte{6}},
		"cease: hard reset: hard reset":                       {6, 9, []byte{6, 9, 6, 9, 6, 2}},
		"cease: hard reset: hold timer expired":               {6, 9, []byte{4, 0}},
		"cease: hard reset: cease: administrative reset (x)":  text(4, "x").hard(),
		// Hostile texts.
		`cease: administrative shutdown ("\x1b[2Jgone")`:    text(2, "\x1b[2Jgone"),
		`cease: administrative shutdown ("a\nlevel=error")`: text(2, "a\nlevel=error"),
		`cease: administrative shutdown ("\u202eesrever")`:  text(2, "\u202eesrever"),
		"cease: administrative shutdown":                    {6, 2, []byte{200, 'x'}},
		"cease: administrative reset":                       {6, 4, []byte{1, 0xff}},
		"cease: administrative reset (" + long + ")":        text(4, long),
	} {
		if got := n.String(); got != want {
			t.Errorf("%d/%d %q: %q, want %q", n.Code, n.Subcode, n.Data, got, want)
		}
	}
}

// TestCease: texts are cut to what RFC 9003 allows, between two characters.
func TestCease(t *testing.T) {
	for _, c := range []struct {
		subcode uint8
		text    string
		want    int // bytes of the data
	}{
		{ceaseShutdown, "", 1}, {ceaseReset, "abc", 4}, {ceaseDeconfig, "abc", 0},
		{ceaseShutdown, strings.Repeat("x", 300), 256}, {ceaseShutdown, strings.Repeat("ä", 200), 255},
	} {
		n := cease(c.subcode, c.text)
		if len(n.Data) != c.want || len(n.Data) > 0 && int(n.Data[0]) != len(n.Data)-1 {
			t.Errorf("%d %q: %q, want %d bytes", c.subcode, c.text, n.Data, c.want)
		}
		if c.want > 1 && n.text() == "" {
			t.Errorf("%q cannot be read", n.Data)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{
		wire(1, openBody()...), wire(1, openBody(2, 6, 1, 4, 0, 1, 0, 1)...), wire(2, 0, 0, 0, 0),
		wire(3, 6, 2, 1, 'x'), wire(4), wire(5, 0, 1, 0, 1),
	} {
		f.Add(seed[18], seed[headerSize:])
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		data := wire(kind, body[:min(len(body), maxSize-headerSize)]...)
		if checkHeader(data[:headerSize]) != nil {
			return
		}
		switch m := decode(data).(type) {
		case Malformed:
			if m.Code == 0 || m.Text == "" {
				t.Errorf("no answer to %x: %+v", data, m)
			}
		case Open:
			if cfg := validPeer(nil); len(cfg.Families) == 0 {
				_, _ = cfg.agree(m, []Family{IPv4})
			}
		case nil:
			t.Errorf("nothing from %x", data)
		}
	})
}

func FuzzNotificationString(f *testing.F) {
	f.Add(uint8(6), uint8(2), []byte("\x04text"))
	f.Add(uint8(6), uint8(9), []byte{6, 9, 6, 9})
	f.Fuzz(func(t *testing.T, code, subcode uint8, data []byte) {
		text := Notification{code, subcode, data}.String()
		if text == "" || len(text) > 2000 {
			t.Errorf("%d bytes", len(text))
		}
		for _, r := range text {
			if !unicode.IsPrint(r) {
				t.Errorf("%q is not printable", text)
			}
		}
	})
}
