// Package etcd moves the leadership of the etcd of a test's cluster.
package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// Member sends a request to the maintenance API of an etcd member, at its JSON gateway: body to
// /v3/maintenance/ followed by method. It returns the body of the answer.
type Member func(ctx context.Context, method string, body []byte) ([]byte, error)

// Lead makes a member the leader and waits until it is.
func Lead(ctx context.Context, to Member, members []Member) error {
	return wait.Until(ctx, "etcd's leader on the wanted node", 100*time.Millisecond, func() error {
		wanted, err := to.state(ctx)
		if err != nil || wanted.leads() {
			return err
		}
		body, err := json.Marshal(map[string]string{"targetID": wanted.Header.Member})
		if err != nil {
			return err
		}
		for _, m := range members {
			if s, err := m.state(ctx); err != nil || !s.leads() {
				continue
			}
			if _, err := m(ctx, "transfer-leadership", body); err != nil {
				return err
			}
		}
		return errors.New("the leadership is being transferred")
	})
}

// state is what a member knows: the identifiers of itself and of the leader.
type state struct {
	Header struct {
		Member string `json:"member_id"`
	} `json:"header"`
	Leader string `json:"leader"`
}

func (s state) leads() bool { return s.Leader == s.Header.Member }

func (m Member) state(ctx context.Context) (s state, err error) {
	text, err := m(ctx, "status", []byte("{}"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("decode the status of an etcd member: %w", err)
	}
	return s, nil
}
