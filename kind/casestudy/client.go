package casestudy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// every is the interval of the client's requests: how finely it sees what is lost.
const every = 10 * time.Millisecond

// requester sends requests to the application, each on a fresh connection from a host outside the
// nodes.
type requester struct {
	url    string
	client http.Client
}

func newRequester(host *netlab.Host, target netip.AddrPort, timeout time.Duration) *requester {
	return &requester{
		url: "http://" + target.String() + "/",
		client: http.Client{Timeout: timeout,
			Transport: &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}},
	}
}

// request sends a request with an ID. The result's Server is the pod that answered; an answer to
// another request is a failure.
func (a *requester) request(ctx context.Context, id string) netlab.Request {
	r := netlab.Request{Start: time.Now()}
	var err error
	if r.Server, r.Result, err = a.get(ctx, id); err != nil {
		r.Result = classify(err)
	}
	r.Took = time.Since(r.Start)
	return r
}

func (a *requester) get(ctx context.Context, id string) (pod, status string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return "", "", err
	}
	request.Header.Set("X-Request-Id", id)
	response, err := a.client.Do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	var answer struct{ Pod, RequestID string }
	err = json.NewDecoder(io.LimitReader(response.Body, 4096)).Decode(&answer)
	switch {
	case response.StatusCode != http.StatusOK:
		return "", fmt.Sprint(response.StatusCode), nil
	case err == nil && answer.RequestID != id:
		return answer.Pod, "another's answer", nil
	}
	return answer.Pod, "200", err
}

// classify turns an error into one of netlab's words.
func classify(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return netlab.FailedTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return netlab.FailedRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF):
		return netlab.FailedReset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return netlab.FailedRoute
	}
	return netlab.FailedOther
}

// Client asks at a fixed rate, whether or not earlier requests have been answered.
type Client struct {
	asker  *requester
	every  time.Duration
	cancel context.CancelFunc
	done   chan struct{}
	open   sync.WaitGroup

	mu   sync.Mutex
	reqs []netlab.Request // in the order they ended
}

// StartClient starts a client of the application at an address, on a host outside the nodes. A
// request begins each interval, and has timeout. Stop ends it.
func StartClient(host *netlab.Host, target netip.AddrPort, interval,
	timeout time.Duration) *Client {
	return startClientEvery(newRequester(host, target, timeout), interval)
}

func startClient(a *requester) *Client { return startClientEvery(a, every) }

func startClientEvery(a *requester, interval time.Duration) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{asker: a, every: interval, cancel: cancel, done: make(chan struct{})}
	go c.run(ctx)
	return c
}

func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for id := 0; ; id++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.open.Go(func() {
			r := c.asker.request(context.WithoutCancel(ctx), fmt.Sprint(id))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.reqs = append(c.reqs, r)
		})
	}
}

// Stop ends it and waits for the open requests.
func (c *Client) Stop() {
	c.cancel()
	<-c.done
	c.open.Wait()
}

// Requests returns the decided requests that began at or after an instant, in the order in which
// they began.
func (c *Client) Requests(since time.Time) (reqs []netlab.Request) {
	c.mu.Lock()
	for _, r := range c.reqs {
		if !r.Start.Before(since) {
			reqs = append(reqs, r)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(reqs, func(a, b netlab.Request) int { return a.Start.Compare(b.Start) })
	return reqs
}
