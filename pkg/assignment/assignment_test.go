package assignment

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestStateString(t *testing.T) {
	for state, want := range map[State]string{
		0: "unknown", Announced: "announced", Silent: "silent", Silent + 1: "unknown", 255: "unknown",
	} {
		if got := state.String(); got != want {
			t.Errorf("state %d: %q, want %q", state, got, want)
		}
	}
}

func TestEachStateHasItsOwnText(t *testing.T) {
	seen := map[string]State{}
	for s := State(0); s <= Silent; s++ {
		text := s.String()
		if other, found := seen[text]; found || text == "" {
			t.Errorf("states %d and %d are both %q", other, s, text)
		}
		seen[text] = s
	}
}

// TestZeroAssignmentIsNotAnnounced: a forgotten field must not make a node announce an address.
func TestZeroAssignmentIsNotAnnounced(t *testing.T) {
	var a Assignment
	if a.State == Announced || a.State == Silent {
		t.Errorf("the zero State is %v", a.State)
	}
	if a.Addr.IsValid() || a.Link.Index != 0 || len(a.Ports) != 0 {
		t.Errorf("the zero Assignment has %v, link %d, ports %v", a.Addr, a.Link.Index, a.Ports)
	}
}

// TestPortsAreComparable by protocol and number: the speaker compares lists of them, to write the
// packet filter only if they changed.
func TestPortsAreComparable(t *testing.T) {
	ports := map[Port]bool{}
	for _, p := range []Port{{"TCP", 53}, {"UDP", 53}, {"TCP", 53}, {"SCTP", 53}, {"TCP", 54}} {
		ports[p] = true
	}
	if len(ports) != 4 {
		t.Errorf("%v, want 4 ports that differ in protocol or number", ports)
	}
}

// TestAssignmentIsPlainData: components pass it by value between goroutines, so no field may be
// changed through a copy, except the lists, which no component writes to.
func TestAssignmentIsPlainData(t *testing.T) {
	var check func(path string, typ reflect.Type)
	check = func(path string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Func, reflect.Chan, reflect.Interface, reflect.Map,
			reflect.UnsafePointer:
			t.Errorf("%s is a %s", path, typ.Kind())
		case reflect.Slice:
			check(path+"[]", typ.Elem())
		case reflect.Struct:
			if typ == reflect.TypeFor[netip.Addr]() {
				return // immutable
			}
			for i := range typ.NumField() {
				check(path+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		}
	}
	check("Assignment", reflect.TypeFor[Assignment]())
}
