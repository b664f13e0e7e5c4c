package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// started runs an echo on a free port and returns its URL, a function that ends its context, and
// its result.
func started(t *testing.T, lameDuck time.Duration) (url string, term context.CancelFunc,
	ended <-chan error, said *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	said = &buffer{}
	go func() {
		done <- run(ctx, options{listen: "127.0.0.1:0", lameDuck: lameDuck, pod: "p", node: "n"}, said)
	}()
	address := regexp.MustCompile(`address=(\S+)`)
	for range 500 {
		if found := address.FindStringSubmatch(said.String()); found != nil {
			return "http://" + found[1], cancel, done, said
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it does not serve: %s", said.String())
	return "", nil, nil, nil
}

// get returns the status of a GET on a new connection, or 0.
func get(url string) int {
	client := http.Client{Timeout: 5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// TestLameDuckLosesNoRequest: after SIGTERM echo reports not ready, and answers every request.
func TestLameDuckLosesNoRequest(t *testing.T) {
	url, term, ended, _ := started(t, time.Second)
	if got := get(url + "/ready"); got != http.StatusOK {
		t.Fatalf("ready: %d", got)
	}
	term()
	refused := false
	for served := 0; ; {
		if status := get(url + "/ready"); status == http.StatusServiceUnavailable {
			refused = true
		} else if status == 0 {
			break // it has ended
		}
		status := get(url + "/")
		if status == 0 {
			break
		}
		if served++; status != http.StatusOK {
			t.Fatalf("request %d got %d", served, status)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !refused {
		t.Error("no request reported not ready")
	}
}

// TestOpenRequestIsAnswered: a request that is open when the listener closes gets its answer.
func TestOpenRequestIsAnswered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan bool), make(chan bool)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(http.StatusTeapot)
	})}
	go func() { _ = server.Serve(listener) }()
	status, ended := make(chan int, 1), make(chan error, 1)
	url := "http://" + listener.Addr().String()
	go func() { status <- get(url) }()
	<-arrived
	go func() { ended <- shutDown(t.Context(), server, untraced(), 0) }()
	for dial(listener.Addr().String()) { // until the port is closed
		time.Sleep(time.Millisecond)
	}
	close(release)
	if got := <-status; got != http.StatusTeapot {
		t.Errorf("the open request got %d", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// dial reports whether the port is open.
func dial(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = run(t.Context(), options{listen: taken.Addr().String()}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "listen: ") {
		t.Errorf("a port that is taken: %v", err)
	}
	t.Setenv("ECHO_TRACE", "syslog")
	err = run(t.Context(), options{listen: "127.0.0.1:0"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "ECHO_TRACE=syslog: want stdout") {
		t.Errorf("an unknown trace: %v", err)
	}
}

func TestParse(t *testing.T) {
	env := map[string]string{"POD_NAME": "echo-7", "NODE_NAME": "worker2"}
	o, err := parse([]string{"--listen=:9000", "--lame-duck=2s"},
		func(name string) string { return env[name] })
	if want := (options{":9000", 2 * time.Second, "echo-7", "worker2"}); err != nil || o != want {
		t.Errorf("%+v, %v; want %+v", o, err, want)
	}
	o, err = parse(nil, func(string) string { return "" })
	if err != nil || o.listen != ":8080" || o.lameDuck != 5*time.Second || o.pod == "" {
		t.Errorf("without anything: %+v, %v", o, err)
	}
	if _, err := parse([]string{"--help"}, nil); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}
