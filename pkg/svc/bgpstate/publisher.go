package bgpstate

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
)

// Config configures a Publisher.
type Config struct {
	// Read returns the sessions, as advertiser.Advertiser.Status does. Required.
	Read func() []bgp.Status
	// Write stores the status of the node's BGPNodeState, as svc.WriteNodeState does. Required.
	Write func(ctx context.Context, s v1alpha1.BGPNodeStateStatus) error
	// OnFailure receives each failed request. Nil discards.
	OnFailure func(err error)
	// Clock is the clock of the sessions; nil means boottime.Now.
	Clock boottime.Clock
	// Log is the logger; nil discards.
	Log *slog.Logger
}

// Publisher writes the BGPNodeState of a node when its sessions change. Make it with New.
type Publisher struct {
	cfg     Config
	wake    backoff.Signal
	convert converter
	written *v1alpha1.BGPNodeStateStatus // nil: nothing was
	failing bool                         // the last write failed, and that was logged
	absent  bool                         // the same because of the definition or of a right
	retries int
}

const (
	// writeInterval is the least time between two writes.
	writeInterval = 5 * time.Second
	// readInterval is how often the sessions are compared with what was written.
	readInterval = 5 * time.Second
	// maxRetry limits the pause after failed writes, absentRetry is that without the definition of
	// the kind or without the right.
	maxRetry    = time.Minute
	absentRetry = 10 * time.Minute
	// requestTime limits a write, leaveTime the last one.
	requestTime = 5 * time.Second
	leaveTime   = time.Second
)

// New returns a Publisher. It starts nothing.
func New(cfg Config) (*Publisher, error) {
	if err := required.Fields("publisher of BGP sessions", map[string]bool{
		"Read": cfg.Read == nil, "Write": cfg.Write == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(error) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Publisher{cfg: cfg, wake: backoff.NewSignal()}, nil
}

// Changed reports that a session has begun or ended. It does not block, and is safe for concurrent
// use.
func (p *Publisher) Changed() { p.wake.Notify() }

// Run writes until ctx ends, and once more then: sessions that ended before are shown as such.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		if !backoff.Sleep(ctx, p.publish(ctx, requestTime)) {
			break
		}
		if p.wake.Wait(ctx, readInterval); ctx.Err() != nil {
			break
		}
	}
	if p.written != nil && !p.absent {
		p.publish(context.WithoutCancel(ctx), leaveTime)
	}
	return nil
}

// publish writes what changed. It returns the time until the next write may come. Before the first
// session there is nothing to write: most nodes have none.
func (p *Publisher) publish(ctx context.Context, timeout time.Duration) time.Duration {
	now := p.convert.convert(p.cfg.Read(), status.Instant{Boot: p.cfg.Clock(), Wall: time.Now()})
	if p.written == nil && len(now.Sessions) == 0 ||
		p.written != nil && reflect.DeepEqual(*p.written, now) {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := p.cfg.Write(ctx, now)
	if err == nil {
		p.succeeded()
		p.written = &now
		return writeInterval
	}
	p.cfg.OnFailure(err)
	return p.failed(err)
}

// succeeded ends a failure.
func (p *Publisher) succeeded() {
	if p.failing {
		p.cfg.Log.Info("the BGPNodeState is written again")
	}
	p.failing, p.absent, p.retries = false, false, 0
}

// failed logs a failure once, and returns the pause after it.
func (p *Publisher) failed(err error) time.Duration {
	absent := errors.Is(err, svc.ErrNodeStateAbsent)
	if !p.failing || absent != p.absent {
		p.cfg.Log.Warn("cannot write the BGPNodeState; trying again", "err", err)
	}
	p.failing, p.absent = true, absent
	p.retries++
	if absent {
		return absentRetry
	}
	return backoff.Backoff{Min: writeInterval, Max: maxRetry, Jitter: 0.25}.After(p.retries)
}
