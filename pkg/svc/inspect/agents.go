package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/directhttp"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/speaker"
)

const (
	queryTimeout = 2 * time.Second
	maxAnswer    = 1 << 20 // bytes
)

// queryAgents queries all agents at once. A node may have a second Lease, from before a change of
// the leader's name: it is unreachable only if it responds by neither.
func queryAgents(
	ctx context.Context, leases []*svc.Lease, addresses map[string][]netip.Addr, service string,
) (answers []speaker.Report, unreachable map[string]string) {
	unreachable = map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, l := range leases {
		group.Go(func() {
			answer, err := queryNode(ctx, l.Info, addresses[l.Info.Node], service)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unreachable[l.Info.Node] = err.Error()
			} else {
				answers = append(answers, answer)
			}
		})
	}
	group.Wait()
	for _, answer := range answers {
		delete(unreachable, answer.Node)
	}
	slices.SortFunc(answers, func(a, b speaker.Report) int { return strings.Compare(a.Node, b.Node) })
	return answers, unreachable
}

// queryNode queries the agent of a node at the node's addresses, one after the other.
func queryNode(
	ctx context.Context, info svc.NodeInfo, addresses []netip.Addr, service string,
) (speaker.Report, error) {
	if info.StatusPort == 0 {
		return speaker.Report{}, errors.New("its agent serves no page (--metrics-address)")
	}
	err := fmt.Errorf("the Node %s has no address in its status: check its kubelet", info.Node)
	for _, addr := range addresses {
		page := url.URL{
			Scheme: "http", Host: net.JoinHostPort(addr.String(), strconv.Itoa(info.StatusPort)),
			Path: "/services", RawQuery: url.Values{"name": {service}}.Encode(),
		}
		var r speaker.Report
		r, err = queryPage(ctx, page.String())
		switch {
		case err != nil:
		case r.Node == info.Node:
			return r, nil
		default: // another host or another program has the address
			err = fmt.Errorf("query agent at %s: it answers for node %q", page.String(), r.Node)
		}
	}
	return speaker.Report{}, err
}

var direct = directhttp.NewClient()

func queryPage(ctx context.Context, page string) (report speaker.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return report, fmt.Errorf("query agent: %w", err)
	}
	response, err := direct.Do(request)
	if err != nil {
		return report, fmt.Errorf("query agent: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return report, fmt.Errorf("query agent at %s: %s", page, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&report); err != nil {
		return report, fmt.Errorf("read answer of agent at %s: %w", page, err)
	}
	return report, nil
}
