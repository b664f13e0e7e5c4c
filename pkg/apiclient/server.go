package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	// An HTTP/2 ping after this much silence finds broken connections.
	pingAfter   = 2 * time.Second
	pingTimeout = time.Second
	// responseTimeout bounds the wait for response headers, also of a watch.
	responseTimeout = 5 * time.Second
	// idleTimeout closes connections that were replaced while they were in use. All others are
	// used more often.
	idleTimeout = time.Minute
)

// Server is a client of one API server, with a connection of its own and without client-side rate
// limit (E11).
type Server struct {
	Host   string // address and port that are dialled
	Source string // of the credentials
	Kind   Kind   // of the credentials

	Coordination coordinationv1.CoordinationV1Interface
	Discovery    discoveryv1.DiscoveryV1Interface
	Core         corev1.CoreV1Interface
	KVIP         rest.Interface // group kvip.dev/v1alpha1
	KVIPRaw      rest.Interface // the same, with RawObjects for the kinds of BGP

	transport *http.Transport
	retired   chan struct{}
}

// Retired is closed when the Store has replaced the credentials or no longer needs the server.
// Long requests, such as a watch, then start again with another client.
func (s *Server) Retired() <-chan struct{} { return s.retired }

// REST returns a client for any path of the API server.
func (s *Server) REST() rest.Interface { return s.Coordination.RESTClient() }

// Close closes the connections that are not in use.
func (s *Server) Close() { s.transport.CloseIdleConnections() }

// retire closes Retired; connections close when their requests end.
func (s *Server) retire() {
	close(s.retired)
	s.Close()
}

// Connect opens a connection if none is open, so that the next request needs no handshake.
func (s *Server) Connect(ctx context.Context) error {
	if err := s.REST().Get().AbsPath("/livez/ping").Do(ctx).Error(); err != nil {
		return fmt.Errorf("reach API server %s: %w", s.Host, err)
	}
	return nil
}

func newServer(host string, creds Credentials) (*Server, error) {
	cfg := &rest.Config{
		Host: "https://" + host, TLSClientConfig: creds.tls, BearerToken: creds.token, QPS: -1,
		ContentConfig: rest.ContentConfig{
			ContentType: "application/json", AcceptContentTypes: "application/json",
		},
		UserAgent: "kvip",
		// client-go would write an API server's warnings to stderr, past kvip's log.
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
	server := &Server{
		Host: host, Source: creds.source, Kind: creds.kind,
		transport: transport, retired: make(chan struct{}),
	}
	if server.Coordination, err = coordinationv1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	if server.Discovery, err = discoveryv1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	if server.Core, err = corev1.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	if server.KVIP, err = groupClient(*cfg, client, v1alpha1.AddToScheme); err != nil {
		return nil, err
	}
	server.KVIPRaw, err = groupClient(*cfg, client, addRawToScheme)
	return server, err
}

// groupClient returns a client for kvip.dev, with the types that register adds.
func groupClient(
	cfg rest.Config, client *http.Client, register func(*runtime.Scheme) error,
) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := register(scheme); err != nil {
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
		TLSHandshakeTimeout: 2 * dialTimeout, ResponseHeaderTimeout: responseTimeout,
		IdleConnTimeout: idleTimeout,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}, nil
}

// IsDenied reports whether err is an API server's 401 or 403: it rejects the credentials, or they
// lack a permission.
func IsDenied(err error) bool { return apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) }

// IsNoResponse reports whether err means that no API server responded: it was not reached, timed
// out, or the connection broke. A request that the caller cancelled does not count.
func IsNoResponse(err error) bool {
	var status apierrors.APIStatus
	return err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, &status)
}

// IsUnreachable reports whether err means that no connection was made. Nothing was sent then, so a
// write may go to another server, or another address of the same one, without being applied twice.
func IsUnreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
