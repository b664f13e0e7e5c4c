package nftfilter

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// bufferSize in bytes limits a transaction and its acknowledgements in the kernel, which
// takes the memory only when it needs it. Some 100 000 elements fit.
const bufferSize = 8 << 20

// answerWithin ends the wait for a kernel that acknowledges less than was sent, as one does
// that is out of memory. It answers in milliseconds otherwise.
const answerWithin = 10 * time.Second

// socket is what is set on the netlink socket of a transaction.
type socket interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	SetDeadline(t time.Time) error
}

func prepare[S socket](s S) error {
	return errors.Join(s.SetReadBuffer(bufferSize), s.SetWriteBuffer(bufferSize), s.SetDeadline(time.Now().Add(answerWithin)))
}

// open returns a connection that opens a socket for each request, in the network namespace
// of the calling thread.
func open() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithSockOptions(prepare))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}

// transact sends what fill puts into a batch: all of it takes effect at once, or nothing.
func transact(fill func(*batch)) error {
	conn, err := open()
	if err != nil {
		return err
	}
	b := &batch{conn: conn}
	fill(b)
	if b.err != nil {
		return b.err
	}
	return explain(first(conn.Flush()))
}

// first returns what went wrong first: the kernel goes on and complains about everything that
// follows from one mistake.
func first(err error) error {
	var many interface{ Unwrap() []error }
	for errors.As(err, &many) {
		err = many.Unwrap()[0]
	}
	return err
}

// explain adds what to do about the errors that a host is to blame for.
func explain(err error) error {
	var advice string
	switch {
	case errors.Is(err, unix.EPERM):
		advice = "give kvip the capability NET_ADMIN"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		advice = "the kernel needs nf_tables, nf_conntrack, nft_ct and nft_reject_inet"
	case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS):
		advice = "raise net.core.wmem_max and net.core.rmem_max"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}
