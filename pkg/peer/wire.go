package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// A datagram is, in network byte order:
//
//	 0  cookie of the direction
//	 8  number of the datagram, growing
//	16  version, kind, flags, 0
//	20  window, left: microseconds, 32 bits each
//	28  term, number of the message, highest term: 64 bits each
//	52  length of the holder's identity: 16 bits
//	54  the holder's identity
//	..  the payload
//	..  HMAC-SHA256 of all before, its first 16 bytes
const (
	cookieLength = 8
	headerLength = 54
	macLength    = 16
	minLength    = headerLength + macLength
	maxLength    = minLength + maxID + quorum.MaxPayload
	wireVersion  = 1
	flagFit      = 1
)

// errForged means that a datagram does not have the HMAC of its direction.
var errForged = errors.New("wrong authentication code")

// errMalformed means that an authentic datagram is not a message of this version.
var errMalformed = errors.New("not a message of this version")

// encode appends the datagram of a message.
func (d *direction) encode(b []byte, number uint64, m quorum.Message) []byte {
	start := len(b)
	b = append(b, d.cookie[:]...)
	b = binary.BigEndian.AppendUint64(b, number)
	flags := byte(0)
	if m.Fit {
		flags = flagFit
	}
	b = append(b, wireVersion, byte(m.Kind), flags, 0)
	b = binary.BigEndian.AppendUint32(b, microseconds(m.Window))
	b = binary.BigEndian.AppendUint32(b, microseconds(m.Left))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Term.Number))
	b = binary.BigEndian.AppendUint64(b, m.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Highest))
	holder := m.Term.Holder[:min(len(m.Term.Holder), maxID)]
	b = binary.BigEndian.AppendUint16(b, uint16(len(holder)))
	b = append(b, holder...)
	b = append(b, m.Payload[:min(len(m.Payload), quorum.MaxPayload)]...)
	return append(b, d.sum(b[start:])...)
}

// decode returns the message of a datagram and its number.
func (d *direction) decode(b []byte) (number uint64, m quorum.Message, err error) {
	if len(b) < minLength || len(b) > maxLength {
		return 0, m, errForged
	}
	body, mac := b[:len(b)-macLength], b[len(b)-macLength:]
	if !hmac.Equal(mac, d.sum(body)) {
		return 0, m, errForged
	}
	number = binary.BigEndian.Uint64(b[8:])
	holder := int(binary.BigEndian.Uint16(b[52:]))
	m = quorum.Message{
		Kind: quorum.Kind(b[17]), Fit: b[18]&flagFit != 0,
		Window:  time.Duration(binary.BigEndian.Uint32(b[20:])) * time.Microsecond,
		Left:    time.Duration(binary.BigEndian.Uint32(b[24:])) * time.Microsecond,
		Term:    quorum.Term{Number: int64(binary.BigEndian.Uint64(b[28:]))},
		Seq:     binary.BigEndian.Uint64(b[36:]),
		Highest: int64(binary.BigEndian.Uint64(b[44:])),
	}
	payload := len(body) - headerLength - holder
	valid := b[16] == wireVersion && holder <= maxID && payload >= 0 && payload <= quorum.MaxPayload &&
		(payload == 0 || m.Kind == quorum.KindFlows) &&
		m.Kind >= quorum.KindBeat && m.Kind <= quorum.KindFlows &&
		m.Term.Number > 0 && m.Term.Number <= math.MaxInt32 && m.Highest >= 0 &&
		m.Highest <= math.MaxInt32
	if !valid {
		return number, quorum.Message{}, errMalformed
	}
	m.Term.Holder = string(body[headerLength : headerLength+holder])
	m.Payload = string(body[headerLength+holder:])
	return number, m, nil
}

func (d *direction) sum(b []byte) []byte {
	h := hmac.New(sha256.New, d.mac[:])
	h.Write(b)
	return h.Sum(nil)[:macLength]
}

// microseconds limits a duration to what a datagram can have.
func microseconds(d time.Duration) uint32 {
	return uint32(min(max(d, 0)/time.Microsecond, math.MaxUint32))
}
