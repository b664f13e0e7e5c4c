package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/kvip/kvip/pkg/printable"
)

// Sizes of messages without the capability of extended messages (RFC 4271 section 4.1).
const (
	headerSize = codec.BGP_HEADER_LENGTH
	maxSize    = codec.BGP_MAX_MESSAGE_LENGTH
)

// The least sizes of messages (RFC 4271 sections 4.2, 4.3 and 4.5).
const (
	minOpen         = headerSize + 10
	minUpdate       = headerSize + 4
	minNotification = headerSize + 2
)

// Message is what a peer sent. It is one of the types below.
type Message interface{ isMessage() }

// The messages that a session receives.
type (
	// Open is an OPEN that could be decoded. Whether it is acceptable is the Machine's decision.
	Open struct {
		Version  uint8
		AS       uint32 // with the four octets of RFC 6793, if the peer has them
		HoldTime uint16 // seconds
		ID       [4]byte
		Capabilities
	}
	// Update is an UPDATE, whose content is not read (B2).
	Update struct{}
	// Keepalive is a KEEPALIVE.
	Keepalive struct{}
	// RouteRefresh asks for all routes of a family again (RFC 2918).
	RouteRefresh struct{ Family Family }
	// Other is a message that has no effect, such as a refresh of a family that was not agreed on.
	Other struct{}
)

// nameOf returns the name of a message.
func nameOf(m Message) string {
	switch m.(type) {
	case Open:
		return "OPEN"
	case Update:
		return "UPDATE"
	case Keepalive:
		return "KEEPALIVE"
	case RouteRefresh:
		return "ROUTE-REFRESH"
	case Notification:
		return "NOTIFICATION"
	case Malformed:
		return "a malformed message"
	}
	return "another message"
}

func (Open) isMessage()         {}
func (Update) isMessage()       {}
func (Keepalive) isMessage()    {}
func (RouteRefresh) isMessage() {}
func (Other) isMessage()        {}
func (Notification) isMessage() {}
func (Malformed) isMessage()    {}

// Notification is a NOTIFICATION: why one side ends the session.
type Notification struct {
	Code, Subcode uint8
	Data          []byte
}

// Malformed is a message that could not be decoded, with the notification that answers it.
type Malformed struct {
	Notification
	Text string
}

// Codes and subcodes of notifications (RFC 4271 section 4.5, RFC 4486, RFC 6608, RFC 7313, RFC
// 8538, RFC 9384, RFC 9687).
const (
	codeHeader     = 1
	codeOpen       = 2
	codeUpdate     = 3
	codeHoldTimer  = 4
	codeFSM        = 5
	codeCease      = 6
	codeRefresh    = 7
	ceaseShutdown  = 2
	ceaseDeconfig  = 3
	ceaseReset     = 4
	ceaseConfig    = 6
	ceaseHardReset = 9
	ceaseBFDDown   = 10
	headerMarker   = 1
	headerLength   = 2
	headerType     = 3
	openVersion    = 1
	openPeerAS     = 2
	openID         = 3
	openHoldTime   = 6
	openCapability = 7
)

// names of codes, and of the subcodes of each.
var names = map[uint8]struct {
	name string
	sub  map[uint8]string
}{
	codeHeader: {"message header error", map[uint8]string{
		headerMarker: "connection not synchronized", headerLength: "bad message length",
		headerType: "bad message type",
	}},
	codeOpen: {"OPEN message error", map[uint8]string{
		openVersion: "unsupported version", openPeerAS: "bad peer AS", openID: "bad BGP identifier",
		4: "unsupported optional parameter", openHoldTime: "unacceptable hold time",
		openCapability: "unsupported capability",
	}},
	codeUpdate: {"UPDATE message error", map[uint8]string{
		1: "malformed attribute list", 2: "unrecognized well-known attribute",
		3: "missing well-known attribute", 4: "attribute flags error", 5: "attribute length error",
		6: "invalid ORIGIN", 8: "invalid NEXT_HOP", 9: "optional attribute error",
		10: "invalid network field", 11: "malformed AS_PATH",
	}},
	codeHoldTimer: {"hold timer expired", nil},
	codeFSM: {"finite state machine error", map[uint8]string{
		1: "unexpected message in OpenSent", 2: "unexpected message in OpenConfirm",
		3: "unexpected message in Established",
	}},
	codeCease: {"cease", map[uint8]string{
		1: "maximum number of prefixes reached", ceaseShutdown: "administrative shutdown",
		ceaseDeconfig: "peer de-configured", ceaseReset: "administrative reset",
		5: "connection rejected", ceaseConfig: "other configuration change",
		7: "connection collision resolution", 8: "out of resources", ceaseHardReset: "hard reset",
		ceaseBFDDown: "BFD down",
	}},
	codeRefresh: {"ROUTE-REFRESH message error", map[uint8]string{1: "invalid message length"}},
	8:           {"send hold timer expired", nil},
}

// maxText limits the text that a peer may add to a notification (RFC 9003 section 2 allows 255).
const maxText = 255

// String returns the meaning of a notification, as in "cease: administrative shutdown (text)".
func (n Notification) String() string {
	known, ok := names[n.Code]
	if !ok {
		return fmt.Sprintf("error %d/%d", n.Code, n.Subcode)
	}
	text := known.name
	switch sub := known.sub[n.Subcode]; {
	case sub != "":
		text += ": " + sub
	case n.Subcode != 0:
		text += fmt.Sprintf(": subcode %d", n.Subcode)
	}
	if n.Code == codeCease && n.Subcode == ceaseHardReset && len(n.Data) >= 2 { // RFC 8538 3.1
		return text + ": " + Notification{n.Data[0], n.Data[1], n.Data[2:]}.inner()
	}
	if said := n.text(); said != "" {
		text += " (" + said + ")"
	}
	return text
}

// inner returns the meaning of the notification inside a hard reset, which contains no other.
func (n Notification) inner() string {
	if n.Code == codeCease && n.Subcode == ceaseHardReset {
		return names[codeCease].sub[ceaseHardReset]
	}
	return n.String()
}

// text returns the shutdown communication (RFC 9003), or "".
func (n Notification) text() string {
	hasText := n.Code == codeCease && (n.Subcode == ceaseShutdown || n.Subcode == ceaseReset)
	if !hasText || len(n.Data) < 2 || int(n.Data[0]) != len(n.Data)-1 || !utf8.Valid(n.Data[1:]) {
		return ""
	}
	return printable.Text(string(n.Data[1:]))
}

// cease returns a notification of code Cease with a shutdown communication, where it has one.
func cease(subcode uint8, text string) Notification {
	n := Notification{Code: codeCease, Subcode: subcode}
	if subcode == ceaseShutdown || subcode == ceaseReset {
		text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
		n.Data = append([]byte{byte(len(text))}, text...)
	}
	return n
}

// hard wraps a notification so that a peer with graceful restart drops the routes (RFC 8538).
func (n Notification) hard() Notification {
	return Notification{codeCease, ceaseHardReset, append([]byte{n.Code, n.Subcode}, n.Data...)}
}

// marker begins every message (RFC 4271 section 4.1).
var marker = bytes.Repeat([]byte{0xff}, 16)

// checkHeader returns what is wrong with a header (RFC 4271 section 6.1), nil if it is acceptable.
func checkHeader(header []byte) *Malformed {
	size, kind := int(header[16])<<8|int(header[17]), header[18]
	switch {
	case !bytes.Equal(header[:len(marker)], marker):
		return &Malformed{Notification{codeHeader, headerMarker, nil}, "the marker is wrong"}
	case kind == 0 || kind > codec.BGP_MSG_ROUTE_REFRESH:
		return &Malformed{Notification{codeHeader, headerType, []byte{kind}},
			fmt.Sprintf("there is no message of type %d", kind)}
	case size < headerSize || size > maxSize:
		wrong := malformedLength(header)
		return &wrong
	}
	return nil
}

// decode decodes one message of a peer. Its header is acceptable, and data has the size that it
// gives. The result does not refer to data.
func decode(data []byte) Message {
	size, kind := len(data), data[headerSize-1]
	switch {
	case kind == codec.BGP_MSG_OPEN && size < minOpen,
		kind == codec.BGP_MSG_UPDATE && size < minUpdate,
		kind == codec.BGP_MSG_NOTIFICATION && size < minNotification,
		kind == codec.BGP_MSG_KEEPALIVE && size != headerSize,
		kind == codec.BGP_MSG_ROUTE_REFRESH && size != headerSize+4: // no ORF was agreed on
		return malformedLength(data)
	case kind == codec.BGP_MSG_UPDATE:
		return Update{}
	}
	parsed, err := codec.ParseBGPMessage(data)
	if err != nil {
		return malformed(kind, err)
	}
	switch body := parsed.Body.(type) {
	case *codec.BGPOpen:
		return decodeOpen(body)
	case *codec.BGPNotification:
		return Notification{body.ErrorCode, body.ErrorSubcode, bytes.Clone(body.Data)}
	case *codec.BGPKeepAlive:
		return Keepalive{}
	case *codec.BGPRouteRefresh:
		if family, ok := familyOf(body.AFI, body.SAFI); ok && body.Demarcation == 0 {
			return RouteRefresh{family}
		}
	}
	return Other{}
}

// malformed answers what the codec could not decode. An OPEN has wrong parameters then, whose error
// is not specific (RFC 4271 section 6.2): its length was checked before.
func malformed(kind uint8, err error) Malformed {
	answer := Malformed{Notification{Code: codeHeader}, printable.Text(err.Error())}
	var known *codec.MessageError
	if errors.As(err, &known) {
		answer.Text = printable.Text(known.Message)
		answer.Notification = Notification{known.TypeCode, known.SubTypeCode, bytes.Clone(known.Data)}
	}
	if kind == codec.BGP_MSG_OPEN {
		answer.Notification = Notification{Code: codeOpen}
	}
	return answer
}

// malformedLength answers a message whose length is wrong, with that length (RFC 4271 6.1).
func malformedLength(data []byte) Malformed {
	return Malformed{
		Notification{codeHeader, headerLength, append([]byte(nil), data[16:18]...)},
		fmt.Sprintf("a message of type %d has %d bytes", data[headerSize-1],
			int(data[16])<<8|int(data[17])),
	}
}

// encode returns the bytes of a message that this package made.
func encode(m *codec.BGPMessage) ([]byte, error) {
	data, err := m.Serialize()
	if err != nil {
		return nil, fmt.Errorf("encode BGP message: %w", err)
	}
	return data, nil
}

// familyOf returns the family of a pair of AFI and SAFI.
func familyOf(afi uint16, safi uint8) (f Family, ok bool) {
	switch {
	case safi != codec.SAFI_UNICAST:
		return 0, false
	case afi == codec.AFI_IP:
		return IPv4, true
	}
	return IPv6, afi == codec.AFI_IP6
}

// wire returns the codec's name of a family.
func (f Family) wire() codec.Family {
	if f == IPv6 {
		return codec.RF_IPv6_UC
	}
	return codec.RF_IPv4_UC
}
