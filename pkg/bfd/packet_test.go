package bfd

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is a packet with a value in each field.
var example = Packet{
	State: Up, Diagnostic: ConcatenatedPathDown, Poll: true, ControlPlaneIndependent: true,
	Demand: true, Multiplier: 3, MyDiscriminator: 0x01020304, YourDiscriminator: 0x05060708,
	DesiredMinTx: 50 * time.Millisecond, RequiredMinRx: 300 * time.Millisecond,
	RequiredMinEchoRx: time.Second,
}

// bytesOf is what RFC 5880 section 4.1 makes of example.
var bytesOf = []byte{
	0x26, 0xea, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0xc3, 0x50, 0, 4, 0x93, 0xe0, 0, 0xf, 0x42, 0x40,
}

func TestPacket(t *testing.T) {
	if got := example.Append(nil); !bytes.Equal(got, bytesOf) {
		t.Errorf("% x, want % x", got, bytesOf)
	}
	if got, err := Parse(bytesOf); err != nil || got != example {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Parse(append(slices.Clone(bytesOf), 1, 2, 3)); err != nil || got != example {
		t.Errorf("with bytes after the packet: %+v, %v", got, err)
	}
	want := "Up my=16909060 your=84281096 tx=50ms rx=300ms x3 diag=6 poll demand"
	if got := example.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestB8ParseRefuses: the checks of RFC 5880 section 6.8.6 that need no session.
func TestB8ParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   Dropped // empty: accepted
	}{
		{"nothing", func([]byte) []byte { return nil }, DroppedLength},
		{"one byte is missing", func(b []byte) []byte { return b[:23] }, DroppedLength},
		{"version 0", func(b []byte) []byte { b[0] = 0x06; return b }, DroppedVersion},
		{"version 2", func(b []byte) []byte { b[0] = 0x46; return b }, DroppedVersion},
		{"length below the minimum", func(b []byte) []byte { b[3] = 23; return b }, DroppedLength},
		{"length beyond the payload", func(b []byte) []byte { b[3] = 25; return b }, DroppedLength},
		{"longer length", func(b []byte) []byte { b[3] = 26; return append(b, 0, 0) }, ""},
		{"multiplier 0", func(b []byte) []byte { b[2] = 0; return b }, DroppedMultiplier},
		{"multipoint", func(b []byte) []byte { b[1] |= 1; return b }, DroppedMultipoint},
		{"my discriminator 0", func(b []byte) []byte { clear(b[4:8]); return b }, DroppedDiscriminator},
		{"your discriminator 0 and Up", func(b []byte) []byte { clear(b[8:12]); return b },
			DroppedDiscriminator},
		{"your discriminator 0 and Init", func(b []byte) []byte {
			clear(b[8:12])
			b[1] = 0x80
			return b
		}, DroppedDiscriminator},
		{"your discriminator 0 and Down", func(b []byte) []byte {
			clear(b[8:12])
			b[1] = 0x40
			return b
		}, ""},
		{"your discriminator 0 and AdminDown", func(b []byte) []byte {
			clear(b[8:12])
			b[1] = 0
			return b
		}, ""},
		{"authentication", func(b []byte) []byte {
			b[1] |= 4
			b[3] = 26
			return append(b, 1, 2)
		}, DroppedAuthentication},
	} {
		_, err := Parse(c.change(slices.Clone(bytesOf)))
		var refused *ParseError
		switch {
		case c.want == "" && err != nil, c.want != "" && !errors.As(err, &refused):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case c.want != "" && (refused.Reason != c.want || !slices.Contains(DropReasons(), c.want)):
			t.Errorf("%s: %v is counted as %q, want %q", c.name, err, refused.Reason, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		AdminDown.String(): "AdminDown", Up.String(): "Up", State(9).String(): "State(9)",
		DetectionTimeExpired.String():  "control detection time expired",
		NeighborSignaledDown.String():  "neighbor signaled session down",
		MisConnectivityDefect.String(): "mis-connectivity defect",
		Diagnostic(10).String():        "reserved diagnostic 10",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for d := range Diagnostic(10) {
		if d.String() == "" || strings.HasPrefix(d.String(), "reserved") {
			t.Errorf("diagnostic %d has no text", d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(bytesOf)
	f.Add(bytesOf[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			var refused *ParseError
			if !errors.As(err, &refused) || !slices.Contains(DropReasons(), refused.Reason) {
				t.Fatalf("error %v has no reason", err)
			}
			return
		}
		again, err := Parse(p.Append(nil))
		if err != nil || again != p {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
	})
}
