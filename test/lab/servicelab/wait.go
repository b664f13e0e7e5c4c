package servicelab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/test/lab/wait"
)

// WaitIngress waits until a Service's status has that many addresses, and returns them.
func (l *Lab) WaitIngress(ctx context.Context, service string, count int) (list []netip.Addr,
	err error) {
	err = wait.For(ctx, fmt.Sprintf("%d addresses of service %s", count, service), func() bool {
		s, err := l.Read(ctx, service)
		if err != nil {
			return false
		}
		list = IngressOf(s)
		return len(list) == count
	})
	return list, err
}

// WaitOwner waits until exactly one node has the address and answers for it on the wire, and
// returns its name.
func (l *Lab) WaitOwner(ctx context.Context, addr netip.Addr) (name string, err error) {
	err = wait.For(ctx, "one owner of "+addr.String(), func() bool {
		holders := l.Holders(addr)
		if len(holders) != 1 {
			return false
		}
		name = holders[0]
		answering, err := l.Responders(addr)
		return err == nil && slices.Equal(answering, holders)
	})
	return name, err
}
