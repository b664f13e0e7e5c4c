package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// batch is the number of requests in one write. The kernel processes all of them before
	// the write returns, so their answers must fit into the socket's receive buffer.
	batch = 64
	// answerTimeout ends the wait for a lost answer, in seconds.
	answerTimeout = 5
	// answerSize is large enough for one message with its attributes.
	answerSize = 1 << 16
)

// errNoAnswer: a request may or may not have been carried out.
var errNoAnswer = errors.New("the kernel's answer is missing")

// answer is the kernel's answer to one request: an error, or the body of a message.
type answer struct {
	body []byte
	err  error
}

// exchange sends requests that have one answer each over one socket of the protocol, and
// returns the answers in the same order. A system call for each request and answer, as the
// netlink package makes, takes twice the time for 5000 addresses.
func exchange(protocol int, requests []*nl.NetlinkRequest) []answer {
	answers := make([]answer, len(requests))
	for i := range answers {
		answers[i].err = errNoAnswer
	}
	fd, err := openNetlink(protocol)
	if err == nil {
		defer unix.Close(fd)
	}
	for at := 0; at < len(requests) && err == nil; at += batch {
		end := min(at+batch, len(requests))
		err = roundTrip(fd, requests[at:end], answers[at:end])
	}
	for i := range answers {
		if err != nil && errors.Is(answers[i].err, errNoAnswer) {
			answers[i].err = fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
	return answers
}

// openNetlink opens a blocking socket in the calling thread's network namespace.
func openNetlink(protocol int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return 0, fmt.Errorf("open netlink socket: %w", err)
	}
	timeout := unix.Timeval{Sec: answerTimeout}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("set up netlink socket: %w", err)
	}
	return fd, nil
}

// roundTrip sends one batch and waits until each request has its answer.
func roundTrip(fd int, requests []*nl.NetlinkRequest, answers []answer) error {
	var out []byte
	at := make(map[uint32]int, len(requests))
	for i, r := range requests {
		out = append(out, r.Serialize()...)
		at[r.Seq] = i
	}
	kernel := unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, out, 0, &kernel); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	in := make([]byte, answerSize)
	for len(at) > 0 {
		n, from, err := unix.Recvfrom(fd, in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // any process may write to the socket
		}
		messages, err := syscall.ParseNetlinkMessage(in[:n])
		if err != nil {
			return fmt.Errorf("parse answer: %w", err)
		}
		for _, m := range messages {
			if i, ok := at[m.Header.Seq]; ok {
				answers[i] = parseAnswer(m)
				delete(at, m.Header.Seq)
			}
		}
	}
	return nil
}

// parseAnswer decodes an acknowledgement, struct nlmsgerr with error 0 or a negative errno
// (netlink(7)), or copies the body of any other message.
func parseAnswer(m syscall.NetlinkMessage) answer {
	if m.Header.Type != unix.NLMSG_ERROR {
		return answer{body: append([]byte(nil), m.Data...)}
	}
	if len(m.Data) < 4 {
		return answer{err: errNoAnswer}
	}
	if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
		return answer{err: unix.Errno(-code)}
	}
	return answer{}
}
