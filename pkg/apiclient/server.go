package apiclient

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

const (
	dialTimeout = time.Second
	// An HTTP/2 ping after silence finds connections that died without a word.
	pingAfter   = 2 * time.Second
	pingTimeout = time.Second
	// No request waits longer for the beginning of its answer, not even a watch, whose
	// server may be alive and yet never begin.
	answerTimeout = 5 * time.Second
	// A connection that was replaced while it was in use ends by itself; all others are used
	// more often than this.
	idleTimeout = time.Minute
)

// Server is a client of one API server, with a connection of its own and no client-side
// rate limit (E11).
type Server struct {
	Host   string // address and port that are dialled
	Source string // of the credentials
	Kind   Kind   // of the credentials

	Coordination coordinationv1.CoordinationV1Interface
	Discovery    discoveryv1.DiscoveryV1Interface
	Core         corev1.CoreV1Interface
	KVIP         rest.Interface // kvip's own group, kvip.dev/v1alpha1

	transport *http.Transport
	dropped   chan struct{}
}

// Retired is closed when the Store uses other credentials: what lasts, such as a watch, should then
// begin anew with them.
func (s *Server) Retired() <-chan struct{} { return s.dropped }

// REST asks for any path of the API server.
func (s *Server) REST() rest.Interface { return s.Coordination.RESTClient() }

// Close ends the connections that are not in use.
func (s *Server) Close() { s.transport.CloseIdleConnections() }

// Server returns the client for host ("address:port") with the credentials in use. Keep
// it only for one request: after a change of credentials there is a new one.
func (s *Store) Server(host string) (*Server, error) { return s.ServerInPool("", host) }

// ServerInPool is Server with a connection that nobody on another lane uses.
func (s *Store) ServerInPool(lane, host string) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := join(lane, host)
	if c, ok := s.clients[key]; ok {
		return c, nil
	}
	creds, err := s.current()
	if err != nil {
		return nil, err
	}
	server, err := creds.Server(host)
	if err != nil {
		return nil, err
	}
	s.clients[key] = server
	return server, nil
}

// join makes the key of a client; split takes it apart.
func join(lane, host string) string {
	if lane == "" {
		return host
	}
	return lane + " " + host
}

func split(key string) (lane, host string) {
	if lane, host, ok := strings.Cut(key, " "); ok {
		return lane, host
	}
	return "", key
}

func newServer(host string, creds Credentials) (*Server, error) {
	cfg := &rest.Config{
		Host: "https://" + host, TLSClientConfig: creds.tls, BearerToken: creds.token, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"},
		UserAgent:     "kvip",
		// What a server warns of would go to stderr past kvip's log, in a format of its own.
		WarningHandler: rest.NoWarnings{},
	}
	transport, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	wrapped, err := rest.HTTPWrappersForConfig(cfg, transport)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: wrapped}
	server := &Server{Host: host, Source: creds.source, Kind: creds.kind, transport: transport, dropped: make(chan struct{})}
	if server.Coordination, err = coordinationv1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	if server.Discovery, err = discoveryv1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	if server.Core, err = corev1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	server.KVIP, err = ownGroup(*cfg, client)
	return server, err
}

// ownGroup returns a client for kvip's own types.
func ownGroup(cfg rest.Config, client *http.Client) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register kvip's types: %w", err)
	}
	version := v1alpha1.GroupVersion()
	cfg.APIPath, cfg.GroupVersion = "/apis", &version
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientForConfigAndClient(&cfg, client)
}

func newTransport(cfg *rest.Config) (*http.Transport, error) {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}
	return &http.Transport{
		TLSClientConfig: tlsConfig, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 2 * dialTimeout, ResponseHeaderTimeout: answerTimeout, IdleConnTimeout: idleTimeout,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}, nil
}

// Connect makes sure that a connection is open, so that the next request need not wait for
// a handshake.
func (s *Server) Connect(ctx context.Context) error {
	if err := s.Coordination.RESTClient().Get().AbsPath("/livez/ping").Do(ctx).Error(); err != nil {
		return fmt.Errorf("reach API server %s: %w", s.Host, err)
	}
	return nil
}

// IsDenied is whether err is an API server's 401 or 403: it does not take the credentials, or they
// lack a right.
func IsDenied(err error) bool { return apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) }
