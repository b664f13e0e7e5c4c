package bfd

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

const (
	version      = 1
	packetLength = 24 // RFC 5880 section 4.1, without an Authentication Section
)

// Flags of the second byte of a packet (RFC 5880 section 4.1).
const (
	flagMultipoint = 1 << iota
	flagDemand
	flagAuthentication
	flagControlPlaneIndependent
	flagFinal
	flagPoll
)

// Packet is a BFD control packet without an Authentication Section (RFC 5880 section 4.1).
type Packet struct {
	State      State
	Diagnostic Diagnostic // at most 31
	Poll       bool
	Final      bool
	// ControlPlaneIndependent reports that the sender's BFD survives the end of its control plane.
	ControlPlaneIndependent bool
	// Demand reports that the sender asks for no periodic packets while the session is Up.
	Demand bool
	// Multiplier is how many intervals without a packet end the session at the receiver.
	Multiplier uint8
	// MyDiscriminator identifies the session in the sender, YourDiscriminator in the receiver; the
	// latter is 0 while it is unknown.
	MyDiscriminator   uint32
	YourDiscriminator uint32
	// DesiredMinTx, RequiredMinRx and RequiredMinEchoRx have a resolution of a microsecond and are at
	// most 2^32-1 microseconds. A RequiredMinRx of 0 asks for no periodic packets.
	DesiredMinTx      time.Duration
	RequiredMinRx     time.Duration
	RequiredMinEchoRx time.Duration
}

// String renders a packet for transcripts and logs: the fields that are set.
func (p Packet) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v my=%d your=%d tx=%v rx=%v x%d", p.State, p.MyDiscriminator,
		p.YourDiscriminator, p.DesiredMinTx, p.RequiredMinRx, p.Multiplier)
	if p.Diagnostic != NoDiagnostic {
		fmt.Fprintf(&b, " diag=%d", p.Diagnostic)
	}
	for _, f := range []struct {
		set  bool
		text string
	}{{p.Poll, " poll"}, {p.Final, " final"}, {p.Demand, " demand"}} {
		if f.set {
			b.WriteString(f.text)
		}
	}
	return b.String()
}

// Append appends the 24 bytes of the packet to b. What does not fit into a field is cut off.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State&3) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{
		{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.Demand, flagDemand},
		{p.ControlPlaneIndependent, flagControlPlaneIndependent},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diagnostic&maxDiagnostic), flags, p.Multiplier, packetLength)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	for _, interval := range []time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(interval.Microseconds()))
	}
	return b
}

// Parse reads a packet from the payload of a datagram. It does the checks of RFC 5880 section 6.8.6
// that need no session, in their order. Its error is a *ParseError.
func Parse(b []byte) (Packet, error) {
	if len(b) < packetLength {
		return Packet{}, malformed(DroppedLength, "%d bytes, want at least %d", len(b), packetLength)
	}
	flags, length := b[1], int(b[3])
	p := Packet{
		State: State(flags >> 6), Diagnostic: Diagnostic(b[0] & maxDiagnostic),
		Poll: flags&flagPoll != 0, Final: flags&flagFinal != 0, Demand: flags&flagDemand != 0,
		ControlPlaneIndependent: flags&flagControlPlaneIndependent != 0,
		Multiplier:              b[2],
		MyDiscriminator:         binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            microseconds(b[12:]),
		RequiredMinRx:           microseconds(b[16:]),
		RequiredMinEchoRx:       microseconds(b[20:]),
	}
	switch v := b[0] >> 5; {
	case v != version:
		return Packet{}, malformed(DroppedVersion, "version %d, want %d", v, version)
	case length < packetLength || length > len(b):
		return Packet{}, malformed(DroppedLength, "its length is %d in %d bytes", length, len(b))
	case p.Multiplier == 0:
		return Packet{}, malformed(DroppedMultiplier, "detect multiplier 0")
	case flags&flagMultipoint != 0:
		return Packet{}, malformed(DroppedMultipoint, "multipoint bit")
	case p.MyDiscriminator == 0:
		return Packet{}, malformed(DroppedDiscriminator, "my discriminator 0")
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, malformed(DroppedDiscriminator, "your discriminator 0 in state %v", p.State)
	case flags&flagAuthentication != 0:
		return Packet{}, malformed(DroppedAuthentication, "authentication, and none is configured")
	}
	return p, nil
}

// microseconds reads an interval.
func microseconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Dropped is why a received packet was dropped. There is a fixed number of reasons, so that they
// can be counted in constant memory and be labels of a metric.
type Dropped string

// Reasons for dropping a packet, by RFC 5880 section 6.8.6 unless another one is named.
const (
	DroppedLength         Dropped = "length"
	DroppedVersion        Dropped = "version"
	DroppedMultiplier     Dropped = "multiplier"
	DroppedMultipoint     Dropped = "multipoint"
	DroppedDiscriminator  Dropped = "discriminator"
	DroppedAuthentication Dropped = "authentication"
	// DroppedNoSession: no session has the discriminator or, without one, the sender's address.
	DroppedNoSession Dropped = "no-session"
	// DroppedAddress: sender, receiver or interface are not those of the session.
	DroppedAddress Dropped = "address"
	// DroppedTTL: the TTL or hop limit is too low (RFC 5881 section 5, RFC 5883 section 5).
	DroppedTTL Dropped = "ttl"
)

// DropReasons returns all reasons for dropping a packet.
func DropReasons() []Dropped {
	return []Dropped{
		DroppedLength, DroppedVersion, DroppedMultiplier, DroppedMultipoint, DroppedDiscriminator,
		DroppedAuthentication, DroppedNoSession, DroppedAddress, DroppedTTL,
	}
}

// ParseError is the error of Parse.
type ParseError struct {
	Reason Dropped
	detail string
}

// Error implements error.
func (e *ParseError) Error() string { return "parse BFD packet: " + e.detail }

func malformed(why Dropped, format string, values ...any) error {
	return &ParseError{Reason: why, detail: fmt.Sprintf(format, values...)}
}
