package link

import (
	"encoding/binary"
	"errors"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxPorts bounds what is kept of a bond's ports.
const maxPorts = 16

// portMACs returns the Ethernet addresses of a master's ports, each once. The kernel lists the
// ports alone (IFLA_MASTER in the request, rtnetlink(7)): a node may have a thousand links.
func portMACs(master int) ([]net.HardwareAddr, error) {
	var messages [][]byte
	var err error
	for range dumpTries {
		request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		request.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
		messages, err = request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	var all []net.HardwareAddr
	for _, message := range messages {
		mac, of := parsePort(message)
		if of != master || len(mac) != 6 || containsMAC(all, mac) || len(all) == maxPorts {
			continue
		}
		all = append(all, mac)
	}
	return all, nil
}

// parsePort decodes the body of RTM_NEWLINK: the link's Ethernet address and its master.
func parsePort(b []byte) (mac net.HardwareAddr, master int) {
	if len(b) < unix.SizeofIfInfomsg {
		return nil, 0
	}
	eachAttr(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFLA_ADDRESS:
			mac = append(net.HardwareAddr(nil), value...)
		case kind == unix.IFLA_MASTER && len(value) >= 4:
			master = int(binary.NativeEndian.Uint32(value))
		}
	})
	return mac, master
}

func containsMAC(list []net.HardwareAddr, mac net.HardwareAddr) bool {
	for _, one := range list {
		if string(one) == string(mac) {
			return true
		}
	}
	return false
}
