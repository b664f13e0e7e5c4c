package netlab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// snapLen is how much of a frame a capture keeps: all headers, and the whole of ARP, ND and VRRP.
const snapLen = 160

// Capture writes every frame that a host sends into the switch, also one that is dropped there, to
// a pcap file for tcpdump and Wireshark.
type Capture struct {
	file *os.File
	out  *bufio.Writer
	sock *os.File
	done chan struct{}

	frames atomic.Int64

	mu  sync.Mutex
	err error
}

// StartCapture starts a capture in the lab's directory, without the segments of some TCP ports:
// etcd's peers alone send hundreds a second.
func (l *Lab) StartCapture(ports ...uint16) (*Capture, error) {
	return startCapture(l.Dir, l.sw.ns, ports)
}

// StartCapture starts a capture of every frame that the host receives, also over its loopback,
// without the segments of some TCP ports.
func (h *Host) StartCapture(ports ...uint16) (*Capture, error) {
	return startCapture(h.Dir, h.ns, ports)
}

func startCapture(dir string, ns netns, ports []uint16) (*Capture, error) {
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("capture-%d.pcap", time.Now().UnixNano())))
	if err != nil {
		return nil, fmt.Errorf("create capture: %w", err)
	}
	var fd int
	err = ns.do(func() (err error) {
		fd, err = captureSocket(ports)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open capture: %w", err), file.Close())
	}
	c := &Capture{file: file, out: bufio.NewWriter(file), sock: os.NewFile(uintptr(fd), "capture"),
		done: make(chan struct{})}
	if _, err := c.out.Write(pcapHeader()); err != nil {
		return nil, errors.Join(err, file.Close(), c.sock.Close())
	}
	go c.run()
	return c, nil
}

// captureSocket opens a packet socket for all links of the thread's namespace (packet(7)).
func captureSocket(ports []uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network byte order
	err = errors.Join(
		attachProgram(fd, captureProgram(ports)),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all}))
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// attachProgram attaches a classic BPF program to a socket.
func attachProgram(fd int, program []bpf.Instruction) error {
	ops, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(ops))
	for i, op := range ops {
		filter[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// captureProgram accepts received frames, each once, except those of the ports and the answers to a
// Sampler.
func captureProgram(ports []uint16) []bpf.Instruction {
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Val: binary.BigEndian.Uint32(wireMAC), SkipFalse: 3},
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Val: uint32(binary.BigEndian.Uint16(wireMAC[4:])), SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}
	prog = append(prog, transport(unix.ETH_P_IP, 23, ports4(ports, 0))...)
	prog = append(prog, transport(unix.ETH_P_IPV6, 20, ports6(ports, 0))...)
	return append(prog, bpf.RetConstant{Val: snapLen})
}

// pcapHeader is the file header of pcap with nanoseconds, Ethernet (pcap-savefile(5)).
func pcapHeader() []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, 0xa1b23c4d)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone, accuracy
	b = binary.LittleEndian.AppendUint32(b, snapLen)
	return binary.LittleEndian.AppendUint32(b, 1)
}

// pcapRecord is the header of one frame.
func pcapRecord(at time.Time, kept, length int) []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(kept))
	return binary.LittleEndian.AppendUint32(b, uint32(length))
}

func (c *Capture) run() {
	defer close(c.done)
	raw, err := c.sock.SyscallConn()
	if err != nil {
		c.fail(err)
		return
	}
	frame, control := make([]byte, snapLen), make([]byte, 128)
	for {
		var n, oobn int
		var recvErr error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, recvErr = unix.Recvmsg(int(fd), frame, control, unix.MSG_TRUNC)
			return recvErr != unix.EAGAIN
		})
		switch {
		case err != nil: // only if Stop has closed the socket
			return
		case recvErr == nil:
			c.write(stamp(control[:oobn]), frame[:min(n, len(frame))], n)
		case recvErr != unix.EINTR && recvErr != unix.ENETDOWN: // ENETDOWN: a port went down
			c.fail(fmt.Errorf("read capture: %w", recvErr))
			return
		}
	}
}

// stamp returns the kernel's timestamp of a frame, or the present time.
func stamp(control []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS &&
				len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)),
					int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

func (c *Capture) write(at time.Time, frame []byte, length int) {
	if _, err := c.out.Write(pcapRecord(at, len(frame), length)); err != nil {
		c.fail(err)
		return
	}
	if _, err := c.out.Write(frame); err != nil {
		c.fail(err)
	}
	c.frames.Add(1)
}

// Frames returns how many frames were captured so far.
func (c *Capture) Frames() int { return int(c.frames.Load()) }

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errors.Join(c.err, err)
}

// Stop ends the capture and removes its file, after copying it to keep unless that is empty.
func (c *Capture) Stop(keep string) error {
	_ = c.sock.Close() // ends run
	<-c.done
	err := errors.Join(c.err, c.out.Flush())
	if keep != "" {
		err = errors.Join(err, copyTo(keep, c.file))
	}
	return errors.Join(err, c.file.Close(), os.Remove(c.file.Name()))
}

func copyTo(path string, from *os.File) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	to, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keep capture: %w", err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return errors.Join(err, to.Close())
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
