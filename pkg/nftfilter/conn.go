package nftfilter

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// bufferSize in bytes limits a transaction and its acknowledgements in the kernel, which
// allocates the memory on demand. About 100 000 elements fit.
const bufferSize = 8 << 20

// answerTimeout ends the wait if the kernel acknowledges less than was sent, as it does when it
// is out of memory. It normally answers in milliseconds.
const answerTimeout = 10 * time.Second

// socket is the netlink socket of a transaction.
type socket interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	SetDeadline(t time.Time) error
}

func configure[S socket](s S) error {
	return errors.Join(s.SetReadBuffer(bufferSize), s.SetWriteBuffer(bufferSize),
		s.SetDeadline(time.Now().Add(answerTimeout)))
}

// open returns a connection that opens a socket for each request, in the network namespace of
// the calling thread.
func open() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithSockOptions(configure))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}

// transact sends the messages that fill adds to a batch, as one transaction.
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

// first returns the first of joined errors: the kernel reports everything that follows from it
// as well.
func first(err error) error {
	var many interface{ Unwrap() []error }
	for errors.As(err, &many) {
		err = many.Unwrap()[0]
	}
	return err
}

// explain adds the remedy to errors that the host causes.
func explain(err error) error {
	var advice string
	switch {
	case errors.Is(err, unix.EPERM):
		advice = "give kvip the capability NET_ADMIN"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EPROTONOSUPPORT):
		advice = "the kernel needs nf_tables, nf_conntrack, nft_ct and nft_reject_inet"
	case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS):
		advice = "raise net.core.wmem_max and net.core.rmem_max"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}
